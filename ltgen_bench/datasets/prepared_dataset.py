"""Data sets that are made from a user's own download, in one preparation pass."""

from __future__ import annotations

import abc
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltgen_bench.core.digests import digest_note
from ltgen_bench.core.errors import DataError, MissingFileError
from ltgen_bench.core.storage import MissingFile
from ltgen_bench.datasets.base import Dataset, Groups, ImageSet, Indices, ReferenceInfo, Tell, Tick, as_counts
from ltgen_bench.datasets.longtail import groups_by_counts, groups_by_thirds
from ltgen_bench.datasets.options import refuse_unknown_options
from ltgen_bench.datasets.prepared import (
    IMAGES,
    Plan,
    Prepared,
    check_prepared,
    is_prepared,
    open_prepared,
    prepare,
    what_has_changed,
)
from ltgen_bench.datasets.prepared import read_note as read_prepared_note
from ltgen_bench.datasets.source_manifest import SourceManifest

if TYPE_CHECKING:
    from ltgen_bench.core.config import DatasetConfig

_PROGRESS_LINES = 20  # a preparation without a bar reports so often


@dataclass(frozen=True)
class NotPrepared(MissingFile):
    """The images of a data set that was not prepared yet; `source` is the command that does it."""

    layout: str = ""

    def __str__(self) -> str:
        return f"{self.path} ({self.reason}): run '{self.source}', where FOLDER holds {self.layout}"


class PreparedDataset(Dataset):
    """A data set whose images lie in `data_root`/prepared/<name>, made from a download that `plan` lists.

    The download itself may lie anywhere (`prepare` takes its folder) or in the data root, in the folder that the
    manifest names. Names, counts and groups come from the manifest and need no files.
    """

    def __init__(self, manifest: SourceManifest, data_root: Path):
        self.manifest, self._data_root = manifest, data_root
        self.name, self.title, self.class_names = manifest.name, manifest.title, manifest.class_names
        self.horizontal_flip, self.default_protocol = manifest.horizontal_flip, manifest.default_protocol
        self.licence, self.citation = manifest.licence, manifest.citation
        self.manifest_name, self.index_rule = manifest.name, manifest.index_rule
        if manifest.class_counts:
            self.class_counts = manifest.class_counts
            self.reference = self._reference_info((manifest.reference_per_class,) * len(self.class_names))
        self.groups = self._groups()

    @abc.abstractmethod
    def plan(self, source: Path, tell: Tell) -> Plan:
        """Which files of the download `source` are needed, from its checked lists and folders.

        Raises MissingFileError for a list or folder that is not there and DataError for one that is not the official
        one.
        """

    @property
    def folder(self) -> Path:
        """Where the prepared images are or will be."""
        return self._data_root / "prepared" / self.name

    @property
    def default_source(self) -> Path:
        """Where the download is looked for when no folder is given."""
        return self._data_root / self.manifest.source_folder

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) as the manifest says."""
        return self.manifest.image_shape

    def missing_files(self) -> list[MissingFile]:
        """The prepared images, until there are any; a download that is not prepared does not count."""
        if not is_prepared(self.folder):
            return [self._not_prepared()]
        changed = what_has_changed(self.folder, digest_note(self._data_root))
        return [] if changed is None else [replace(self._not_prepared(), reason=changed)]

    def fetch(self, progress: Tell | None = None) -> None:
        """Prepare from the download in the data root when there is one; nothing is downloaded."""
        if not is_prepared(self.folder):
            if not self.default_source.is_dir():
                raise MissingFileError(f"data set {self.name} needs {self._not_prepared()}")
            self.prepare(None, progress or (lambda line: None))

    def prepare(self, source: Path | None, tell: Tell, tick: Tick | None = None) -> None:
        """Make the prepared images from the download in `source` (None: in the data root), once."""
        root = self.default_source if source is None else source
        if not root.is_dir():
            if source is None and is_prepared(self.folder):
                tell(f"{self.folder} is prepared already")
                return
            if source is None:
                raise MissingFileError(f"data set {self.name} needs {self._not_prepared()}")
            raise MissingFileError(f"there is no folder {root}; it has to hold {self.manifest.source_layout}")
        plan = self.plan(root, tell)
        self._check_counts(plan)
        tell(f"preparing {len(plan.files):,} images of {self.name} into {self.folder}")
        prepare(plan, self.folder, self.image_shape[1], tell, tick or _lines(tell))
        self.__dict__.pop("_prepared", None)

    def check_files(self, tell: Tell) -> list[tuple[str, str]]:
        """Hash the prepared files again and compare with their note."""
        super().check_files(tell)
        tell(f"checking {self.folder}")
        return check_prepared(self.folder)

    def facts(self) -> dict[str, Any]:
        """What the preparation noted, such as overlaps of the lists; empty before it."""
        if not is_prepared(self.folder):
            return {}
        noted: dict[str, Any] = read_prepared_note(self.folder)["facts"]
        return noted

    def summary(self) -> dict[str, Any]:
        """As for every data set; the reference's name and words, and the rules, are known without its counts."""
        manifest = self.manifest
        reference = {
            "name": manifest.reference_name,
            "class_counts": None,
            "total": None,
            "description": manifest.reference_description,
        }
        values = super().summary()
        return {
            **values,
            "reference": values["reference"] or reference,
            "pixel_rule": manifest.pixel_rule,
            "facts": self.facts(),
        }

    @cached_property
    def _prepared(self) -> Prepared:
        if not is_prepared(self.folder):
            raise MissingFileError(f"data set {self.name} needs {self._not_prepared()}")
        return open_prepared(self.folder)

    def load_train(self) -> tuple[Indices, ImageSet]:
        """The training images, mapped from the disk, and their positions in the source's list."""
        part = self._prepared.train
        return self._prepared.indices[part], ImageSet(self._prepared.images[part], self._prepared.labels[part])

    def load_reference(self) -> ImageSet:
        """The reference images, mapped from the disk."""
        part = self._prepared.reference
        reference = ImageSet(self._prepared.images[part], self._prepared.labels[part])
        counts = as_counts(reference.counts(self.class_count))
        if counts != self.reference.class_counts:
            raise DataError(
                f"{self.folder} holds {counts} reference images by class, not {self.reference.class_counts}"
            )
        return reference

    def _groups(self) -> Groups:
        if self.manifest.groups == "counts":
            return groups_by_counts(self.manifest.class_counts)
        return groups_by_thirds(len(self.class_names))

    def _reference_info(self, counts: tuple[int, ...]) -> ReferenceInfo:
        return ReferenceInfo(self.manifest.reference_name, counts, self.manifest.reference_description)

    def _check_counts(self, plan: Plan) -> None:
        """Raise DataError when the lists give other counts than the manifest states."""
        for what, part, expected in (
            ("training", plan.train, self.class_counts),
            ("reference", plan.reference, self.reference.class_counts),
        ):
            counts = plan.counts(part, self.class_count)
            for name, found, wanted in zip(self.class_names, counts, expected, strict=True):
                if found != wanted:
                    raise DataError(
                        f"data set {self.name}: the source has {found} {what} images of {name}, not {wanted}; it is "
                        f"not the official set"
                    )

    def _not_prepared(self) -> NotPrepared:
        root = "" if str(self._data_root) == "data" else f" --data-root {self._data_root}"
        command = f"ltgen-bench data prepare {self.name} --path FOLDER{root}"
        return NotPrepared(self.folder / IMAGES, command, "not prepared", self.manifest.source_layout)


def refuse_options(options: DatasetConfig, known: tuple[str, ...] = ()) -> None:
    """Raise ConfigError for any option but the `known` ones: these sets are what they are."""
    hint = "; the folder of the download is given to 'ltgen-bench data prepare' only, so that it is not part of a run"
    refuse_unknown_options(options, known, hint if options.path is not None else "")


def _lines(tell: Tell) -> Tick:
    """Progress as lines, for whoever has no bar."""
    said = [0]

    def tick(done: int, total: int) -> None:
        if done * _PROGRESS_LINES // total > said[0]:
            said[0] = done * _PROGRESS_LINES // total
            tell(f"{done:,} of {total:,} images")

    return tick
