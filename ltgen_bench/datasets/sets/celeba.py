"""CelebA-5, faces by hair colour at 64 px: the exclusive set of the CORAL paper and the lists of Kim et al. 2020."""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ltgen_bench.core.errors import DataError, MissingFileError
from ltgen_bench.datasets.base import ImageSet, Labels, ReferenceInfo, Tell, as_counts, take
from ltgen_bench.datasets.image_folders import plain
from ltgen_bench.datasets.image_lists import ListEntry, find, parse, read_text
from ltgen_bench.datasets.longtail import select_balanced_indices
from ltgen_bench.datasets.prepared import FILES, Plan, is_prepared, open_prepared
from ltgen_bench.datasets.prepared_dataset import PreparedDataset, refuse_options
from ltgen_bench.datasets.source_manifest import SourceFile, load_source_manifest

if TYPE_CHECKING:
    from ltgen_bench.core.config import DatasetConfig

ATTRIBUTES = "list_attr_celeba.txt"
LISTS = ("celebA_train_orig.txt", "celebA_val_orig.txt", "celebA_test_orig.txt")
_ATTRIBUTE_OF = {
    "black": "Black_Hair", "brown": "Brown_Hair", "blond": "Blond_Hair", "gray": "Gray_Hair", "bald": "Bald",
}  # fmt: skip
_M2M_ORDER = ("bald", "black", "blond", "brown", "gray")  # its labels 0 ... 4
_LIST_PLACES = (".", "Anno", "M2m", "etc")
_IMAGE_PLACES = (".", "Img", "img_align_celeba")  # the last: archives that unpack into a folder of the same name
_NAME = re.compile(r"\d{6}\.jpg")
_M2M_PATH = re.compile(r"(?:[A-Za-z0-9_./-]*/)?(\d{6}\.jpg)")  # the lists have their authors' own folders in front
_ROW = re.compile(r"(\d{6}\.jpg)((?:\s+-?1)+)\s*")


def read_attributes(path: Path, official: SourceFile, tell: Tell) -> tuple[list[str], dict[str, np.ndarray]]:
    """CelebA's attribute file: image names, and for each of the five hair attributes a bool array (N,).

    The first line is the number of images, the second the names of the attributes; then one image a line with 1 or -1
    for each. Raises DataError, with the line's number, for a file that is not so.
    """
    lines = read_text(path, official, tell).splitlines()
    header = lines[1].split() if len(lines) > 1 else []
    missing = [attribute for attribute in _ATTRIBUTE_OF.values() if attribute not in header]
    if not lines or lines[0].strip() != str(len(lines) - 2) or missing:
        what = f"no attribute {missing[0]}" if missing else f"{max(0, len(lines) - 2)} images, not {lines[0][:20]!r}"
        raise DataError(f"{plain(path)} is not CelebA's attribute file: it has {what}")
    columns = [header.index(attribute) for attribute in _ATTRIBUTE_OF.values()]
    names, values = [], np.zeros((len(lines) - 2, len(columns)), dtype=bool)
    for i, line in enumerate(lines[2:]):
        row = _ROW.fullmatch(line)
        fields = row.group(2).split() if row else []
        if row is None or len(fields) != len(header):
            raise DataError(f"{plain(path)}, line {i + 3}: it is not '<image>.jpg' and {len(header)} times 1 or -1")
        names.append(row.group(1))
        values[i] = [fields[column] == "1" for column in columns]
    if len(set(names)) != len(names):
        raise DataError(f"{plain(path)} names an image twice; it is not CelebA's attribute file")
    return names, {colour: values[:, i] for i, colour in enumerate(_ATTRIBUTE_OF)}


class _CelebA(PreparedDataset):
    """What both variants share: where CelebA's files are."""

    def _attribute_file(self, source: Path) -> Path:
        return find(source, _LIST_PLACES, ATTRIBUTES, self.name, self.manifest.file(ATTRIBUTES).source)

    def _image_folder(self, source: Path) -> Path:
        folder = find(source, _IMAGE_PLACES, "img_align_celeba", self.name, "img_align_celeba.zip of CelebA")
        inner = folder / "img_align_celeba"
        return inner if inner.is_dir() else folder


class CelebA5(_CelebA):
    """Every image with exactly one of five hair colours.

    Its class counts follow from CelebA's attribute file. Until that file, or the prepared set, is there, asking for
    `class_counts` or `reference` raises MissingFileError with where to get it; names and groups are known before.
    """

    @cached_property
    def class_counts(self) -> tuple[int, ...]:  # type: ignore[override]
        """Images of each class, from the prepared set or the attribute file in the data root."""
        if is_prepared(self.folder):
            prepared = open_prepared(self.folder)
            return as_counts(np.bincount(prepared.labels[prepared.train], minlength=self.class_count))
        if not self.default_source.is_dir():
            raise MissingFileError(
                f"data set {self.name}: its class counts follow from {ATTRIBUTES}, so it needs {self._not_prepared()}"
            )
        return as_counts(np.bincount(self._labelled(self.default_source, lambda line: None)[2], minlength=5))

    @cached_property
    def reference(self) -> ReferenceInfo:  # type: ignore[override]
        """A balanced subset: as many images of each class as the smallest has."""
        return self._reference_info((min(self.class_counts),) * self.class_count)

    def plan(self, source: Path, tell: Tell) -> Plan:
        """The exclusive images, those of the balanced reference first, so that both parts are one run each."""
        names, positions, labels = self._labelled(source, tell)
        counts = as_counts(np.bincount(labels, minlength=self.class_count))
        if min(counts) == 0:
            raise DataError(f"{ATTRIBUTES} has no image that is only {self.class_names[int(np.argmin(counts))]}")
        self.__dict__["class_counts"] = counts  # of this source, whatever lies in the data root
        self.__dict__.pop("reference", None)
        balanced = select_balanced_indices(labels, min(counts), self.class_count)
        order = np.concatenate([balanced, np.setdiff1d(np.arange(len(labels)), balanced)])
        folder = self._image_folder(source)
        chosen = [names[i] for i in positions[order]]
        ratio = max(counts) / min(counts)
        tell(f"{len(chosen):,} images have exactly one hair colour: {counts}, largest / smallest {ratio:.1f}")
        return Plan(
            names=chosen,
            files=[folder / name for name in chosen],
            labels=labels[order],
            indices=positions[order],
            train=(0, len(order)),
            reference=(0, len(balanced)),
            facts={"class_counts": dict(zip(self.class_names, counts, strict=True))},
        )

    def _labelled(self, source: Path, tell: Tell) -> tuple[list[str], Labels, Labels]:
        """All image names, positions of the exclusive ones among them, and their labels."""
        names, attributes = read_attributes(self._attribute_file(source), self.manifest.file(ATTRIBUTES), tell)
        table = np.stack([attributes[colour] for colour in self.class_names], axis=1)
        positions = np.flatnonzero(table.sum(axis=1) == 1).astype(np.int64)
        return names, positions, table[positions].argmax(axis=1).astype(np.int64)


class CelebA5M2M(_CelebA):
    """The training list of Kim et al. in its order; the reference is their validation and test lists together.

    The lists are taken as they are, with images that are listed twice, under two colours or in two splits; how many is
    checked and reported.
    """

    def plan(self, source: Path, tell: Tell) -> Plan:
        """The three lists, their overlaps counted, and where CelebA holds their images."""
        train, val, test = (self._entries(source, name, tell) for name in LISTS)
        entries = train + val + test
        names = [match.group(1) for match, _ in entries]
        facts = overlaps([[match.group(1) for match, _ in part] for part in (train, val, test)])
        for key, expected in self.manifest.facts.items():
            if facts[key] != expected:
                words = key.replace("_", " ")
                raise DataError(f"the lists of {self.name} have {facts[key]} {words}, not {expected}; not the official")
        tell(
            f"the lists name {facts['distinct_files']:,} images, {facts['listed_twice']} of them twice and "
            f"{facts['across_splits']} in two splits; they are taken as they are"
        )
        labels = np.array([self.class_names.index(_M2M_ORDER[label]) for _, label in entries], np.int64)
        self._check_colours(source, names, labels, tell)
        folder = self._image_folder(source)
        return Plan(
            names=names,
            files=[folder / name for name in names],
            labels=labels,
            indices=np.arange(len(entries), dtype=np.int64),
            train=(0, len(train)),
            reference=(len(train), len(entries)),
            facts=facts,
        )

    def _entries(self, source: Path, name: str, tell: Tell) -> list[ListEntry]:
        official = self.manifest.file(name)
        path = find(source, _LIST_PLACES, name, self.name, official.source)
        return parse(path, read_text(path, official, tell), _M2M_PATH, self.class_count, official.lines)

    def _check_colours(self, source: Path, names: list[str], labels: Labels, tell: Tell) -> None:
        """Compare the meaning of the labels with the attribute file, where there is one: no source states it."""
        try:
            path = self._attribute_file(source)
        except MissingFileError:
            tell(f"{ATTRIBUTES} is not there: what the lists' labels mean is taken from the order of the attributes")
            return
        known, attributes = read_attributes(path, self.manifest.file(ATTRIBUTES), tell)
        row = {name: i for i, name in enumerate(known)}
        for label, colour in enumerate(self.class_names):
            rows = [row[name] for name, own in zip(names, labels, strict=True) if own == label and name in row]
            shares = {other: float(values[rows].mean()) for other, values in attributes.items()} if rows else {}
            likely = max(shares, key=lambda other: (shares[other], other == colour), default=colour)
            if likely != colour:
                raise DataError(
                    f"the images listed as {colour} are mostly {likely} in {ATTRIBUTES}; not the same lists"
                )

    def load_held_out(self) -> ImageSet | None:
        """The reference images that are not in the training list as well."""
        names = (self.folder / FILES).read_text(encoding="utf-8").splitlines()
        trained = set(names[self._prepared.train])
        reference = self.reference_set()
        new = np.flatnonzero([name not in trained for name in names[self._prepared.reference]])
        return take(reference.images, reference.labels, new) if len(new) else None


def overlaps(splits: list[list[str]]) -> dict[str, int]:
    """How many distinct files the lists name, how many of them more than once, and how many in several lists."""
    times = Counter(name for split in splits for name in split)
    across = Counter(name for split in splits for name in set(split))
    return {
        "distinct_files": len(times),
        "listed_twice": sum(count > 1 for count in times.values()),
        "across_splits": sum(count > 1 for count in across.values()),
    }


def celeba5(options: DatasetConfig, data_root: Path) -> CelebA5:
    """`celeba5`: exactly one hair colour; it takes no options."""
    refuse_options(options)
    return CelebA5(load_source_manifest("celeba5"), data_root)


def celeba5_m2m(options: DatasetConfig, data_root: Path) -> CelebA5M2M:
    """`celeba5-m2m`: the lists of Kim et al.; it takes no options."""
    refuse_options(options)
    return CelebA5M2M(load_source_manifest("celeba5-m2m"), data_root)
