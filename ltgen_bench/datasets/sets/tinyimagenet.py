"""TinyImageNet-LT: TinyImageNet-200 cut exponentially to 500 ... 5 images a class, at its own 64 px."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ltgen_bench.core.errors import DataError, MissingFileError
from ltgen_bench.datasets.base import ImageSet, Labels, Tell, as_counts
from ltgen_bench.datasets.cut import Cut
from ltgen_bench.datasets.image_folders import plain, refuse_other_classes, scan
from ltgen_bench.datasets.longtail import select_longtail_indices
from ltgen_bench.datasets.options import CUT_OPTIONS
from ltgen_bench.datasets.prepared import Plan
from ltgen_bench.datasets.prepared_dataset import PreparedDataset, refuse_options
from ltgen_bench.datasets.source_manifest import SourceManifest, load_source_manifest

if TYPE_CHECKING:
    from ltgen_bench.core.config import DatasetConfig

FULL_COUNT = 500  # training images a class in TinyImageNet-200
_ANNOTATIONS = "val_annotations.txt"


class TinyImageNetLT(PreparedDataset):
    """21,549 training images, classes by wnid from head to tail; the reference is the validation set.

    From the whole TinyImageNet-200 the shared index rule chooses (RandomState(0), files by name). Class folders whose
    counts are those of the cut already are taken as they are: whoever cut them chose the images, and the
    fingerprint tells such a set from ours. Another `cut` is made from the whole TinyImageNet-200 only, and is prepared
    beside the papers' one under its own name.
    """

    def __init__(self, manifest: SourceManifest, data_root: Path, cut: Cut | None = None):
        super().__init__(manifest, data_root)
        self._cut = cut = cut or Cut()
        self.name, self.title = self.name + cut.suffix, self.title + cut.words
        self.class_counts = cut.by_class(manifest.class_counts)
        self.groups = cut.groups(len(self.class_names))
        if cut.seed:
            self.index_rule += f"; here with seed {cut.seed}"

    def plan(self, source: Path, tell: Tell) -> Plan:
        """The files of `source`/train and `source`/val, in either layout."""
        train_files, train_labels = self._listed(source / "train", inner="images")
        counts = as_counts(np.bincount(train_labels, minlength=self.class_count))
        if counts == self.manifest.class_counts and self._cut == Cut():
            chosen = np.arange(len(train_files), dtype=np.int64)
            selection = "as it was cut elsewhere"
            tell(f"{plain(source / 'train')} is cut already: its images are taken as they are")
        else:
            for name, count in zip(self.class_names, counts, strict=True):
                if count != FULL_COUNT:
                    raise DataError(
                        f"{plain(source / 'train')} has {count} images of {name}; the whole TinyImageNet-200 has "
                        f"{FULL_COUNT} of each class{self._elsewhere()}"
                    )
            chosen = select_longtail_indices(train_labels, self.class_counts, self._cut.seed)
            selection = f"shared index rule, RandomState({self._cut.seed})"
        if (source / "val" / _ANNOTATIONS).is_file():
            val_files, val_labels = self._annotated(source / "val")
        else:
            val_files, val_labels = self._listed(source / "val", inner="images")
        files = [train_files[i] for i in chosen] + val_files
        return Plan(
            names=[file.relative_to(source).as_posix() for file in files],
            files=files,
            labels=np.concatenate([train_labels[chosen], val_labels]),
            indices=np.concatenate([chosen, np.arange(len(val_files), dtype=np.int64)]),
            train=(0, len(chosen)),
            reference=(len(chosen), len(files)),
            facts={"selection": selection},
        )

    def _elsewhere(self) -> str:
        """What else than the whole may be prepared, in words."""
        counts = self.manifest.class_counts
        return f", and its cut {counts[0]} ... {counts[-1]}" if self._cut == Cut() else ", from which this cut is made"

    def _listed(self, root: Path, inner: str) -> tuple[list[Path], Labels]:
        """Images of class folders, class by class and by name; those of TinyImageNet-200 hold a folder `images`."""
        wnids = [name.split()[0] for name in self.class_names]
        if not root.is_dir():
            raise MissingFileError(
                f"data set {self.name} needs {plain(root)} (missing): {self.manifest.source_layout} belong there"
            )
        files: list[Path] = []
        labels: list[int] = []
        if (root / wnids[0] / inner).is_dir():
            refuse_other_classes([p.name for p in root.iterdir() if p.is_dir()], wnids, plain(root), "TinyImageNet-200")
            found = {wnid: scan(root / wnid).get(inner, ()) for wnid in wnids}
        else:
            found = scan(root)
            refuse_other_classes(tuple(found), wnids, plain(root), "TinyImageNet-200")
        for label, wnid in enumerate(wnids):
            files += found[wnid]
            labels += [label] * len(found[wnid])
        return files, np.array(labels, np.int64)

    def _annotated(self, root: Path) -> tuple[list[Path], Labels]:
        """The validation images of TinyImageNet-200 by class and name, as class folders of them would be listed."""
        label_of = {name.split()[0]: label for label, name in enumerate(self.class_names)}
        images = {file.name: file for file in scan(root).get("images", ())}  # so no line can name another file
        entries: list[tuple[int, str]] = []
        path = root / _ANNOTATIONS
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read {plain(path)}: {error}") from error
        for number, line in enumerate(lines, start=1):
            name, wnid = [*line.split("\t"), "", ""][:2]
            if name not in images or wnid not in label_of:
                raise DataError(f"{plain(path)}, line {number}: {line[:80]!r} names no image of val/images or no class")
            entries.append((label_of[wnid], name))
        entries.sort()
        return [images[name] for _, name in entries], np.array([label for label, _ in entries], np.int64)

    def load_held_out(self) -> ImageSet:
        """The validation images, which no training set contains."""
        return self.reference_set()


def tinyimagenet_lt(options: DatasetConfig, data_root: Path) -> TinyImageNetLT:
    """`tinyimagenet-lt`: imbalance 0.01, by the papers' cut or another."""
    refuse_options(options, CUT_OPTIONS)
    return TinyImageNetLT(load_source_manifest("tinyimagenet-lt"), data_root, Cut.of(options))
