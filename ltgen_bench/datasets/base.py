"""What a data set is: a training set, a balanced reference set, names, counts, groups and fingerprints.

Everything that needs no pixels (names, counts, groups, where files come from) is known as soon as a `Dataset` exists;
pixels are read when they are asked for, once for each object.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.core.choices import Group
from ltgen_bench.core.errors import ConfigError, DataError, MissingFileError
from ltgen_bench.core.storage import MissingFile, sha256_arrays

Images = NDArray[np.uint8]  # (N, C, H, W)
Labels = NDArray[np.int64]  # (N,)
Indices = NDArray[np.int64]  # (N,) positions in a source that holds more images than a training set
Tell = Callable[[str], None]  # takes one line for the user; it never goes to stdout
Tick = Callable[[int, int], None]  # takes how many of how many are done


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Square images with their class labels.

    `images` is uint8 (N, C, H, W), an array or a memory map, with C = 1 (grey) or 3 (RGB) and H = W; `labels` is
    int64 (N,), none negative. Raises DataError for any other dtype or shape, and for an empty set.
    """

    images: Images
    labels: Labels

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            raise DataError(f"images must be a uint8 array, got {_kind(images)}")
        if not isinstance(labels, np.ndarray) or labels.dtype != np.int64:
            raise DataError(f"labels must be an int64 array, got {_kind(labels)}")
        if images.ndim != 4 or images.shape[1] not in (1, 3) or images.shape[2] != images.shape[3]:
            raise DataError(f"images must be (N, C, H, W) with C = 1 or 3 and H = W, got the shape {images.shape}")
        if images.shape[2] == 0 or len(images) == 0:
            raise DataError(f"an image set must hold at least one pixel of one image, got the shape {images.shape}")
        if labels.shape != (len(images),):
            raise DataError(f"labels must be one for each of the {len(images)} images, got the shape {labels.shape}")
        if labels.min() < 0:
            raise DataError(f"labels must not be negative, got {labels.min()} at position {labels.argmin()}")

    def __len__(self) -> int:
        return len(self.labels)

    def counts(self, class_count: int) -> NDArray[np.int64]:
        """Images of each class, int64 (class_count,); raises DataError if a label is `class_count` or more."""
        if self.labels.max() >= class_count:
            position = int(self.labels.argmax())
            raise DataError(f"label {self.labels[position]} at position {position} is not below {class_count}")
        return np.bincount(self.labels, minlength=class_count).astype(np.int64, copy=False)

    def fingerprint(self) -> str:
        """Sha256 over pixels and labels in their order, 64 hexadecimal digits."""
        return self._fingerprint

    def hashes(self) -> tuple[str, ...]:
        """Sha256 of each image's pixels, in their order; computed once."""
        return self._hashes

    @cached_property
    def _fingerprint(self) -> str:
        return sha256_arrays(images=self.images, labels=self.labels)

    @cached_property
    def _hashes(self) -> tuple[str, ...]:
        return tuple(sha256_arrays(image=image) for image in self.images)


@dataclass(frozen=True)
class Groups:
    """Class indices by how many training images they have: head (`many`), `medium` and tail (`few`).

    `rule` says in words how they were divided. A group may be empty.
    """

    many: tuple[int, ...]
    medium: tuple[int, ...]
    few: tuple[int, ...]
    rule: str

    def as_dict(self) -> dict[str, tuple[int, ...]]:
        """The three groups by the keys `many`, `medium`, `few`, in this order."""
        return {Group.MANY: self.many, Group.MEDIUM: self.medium, Group.FEW: self.few}


@dataclass(frozen=True)
class ReferenceInfo:
    """The images that generated ones are compared with: a name that never changes meaning, counts, and words."""

    name: str
    class_counts: tuple[int, ...]
    description: str

    @property
    def total(self) -> int:
        """Number of reference images."""
        return sum(self.class_counts)


class Dataset(abc.ABC):
    """One data set. A subclass sets the attributes below and implements `image_shape` and the `load_...` methods.

    `name` is the canonical id in run folders and recipes: it holds the imbalance or the size of a subset where they
    are not the default (`cifar10lt-0.001`, `cifar10-500`).
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]  # of the training set
    groups: Groups
    reference: ReferenceInfo
    horizontal_flip: bool  # whether a mirrored image is still of the same distribution
    default_protocol: str
    licence: str
    citation: str
    index_rule: str = ""  # which images of the source are in the training set, in words
    control: str = ""  # the name of the balanced set of the tail's size (`cut.tail_size`), empty where there is none
    recipe: str = ""  # settings that suit the set, among the recipes; those of its own name win
    manifest_name: str = ""  # the manifest that states this set's hashes, empty where there is none

    @property
    def class_count(self) -> int:
        """Number of classes, C."""
        return len(self.class_names)

    @property
    def total(self) -> int:
        """Number of training images."""
        return sum(self.class_counts)

    @property
    @abc.abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""

    def remarks(self) -> list[str]:
        """What a user should know of the images as they lie there, such as what is not used; one line each."""
        return []

    def missing_files(self) -> list[MissingFile]:
        """Files that are needed and not on disk (existence only); empty when `train` can start without a network."""
        return []

    def fetch(self, progress: Tell | None = None) -> None:
        """Make the files available and check them, with a download where needed; does nothing when all is there.

        Raises MissingFileError when a file is not there and cannot be downloaded, DataError when one is corrupt.
        """
        if files := self.missing_files():
            raise MissingFileError(f"data set {self.name} needs {files[0]}")

    def prepare(self, source: Path | None, tell: Tell, tick: Tick | None = None) -> None:
        """Do once what takes long: here the same as `fetch`; sets made from a user's download decode it.

        `source` is the folder of that download, None for its place in the data root; `tell` takes lines for the user
        and `tick` the numbers (done, total). Raises as `fetch` does, and ConfigError for a `source` without a meaning.
        """
        if source is not None:
            raise ConfigError(f"data set {self.name} is made from no download of yours; leave out --path")
        self.fetch(tell)

    def check_files(self, tell: Tell) -> list[tuple[str, str]]:
        """Check the files on disk against their known checksums: (what was checked, its hash or a word) of each.

        Raises MissingFileError or DataError, one line, for the first file that is missing or differs.
        """
        if files := self.missing_files():
            raise MissingFileError(f"data set {self.name} needs {files[0]}")
        return []

    @abc.abstractmethod
    def load_train(self) -> tuple[Indices, ImageSet]:
        """Read the training set and the positions of its images in the source; called once."""

    @abc.abstractmethod
    def load_reference(self) -> ImageSet:
        """Read the reference set; called once."""

    def load_held_out(self) -> ImageSet | None:
        """Read the images that no training set of this family contains, None where there are none; called once."""
        return None

    def train(self) -> ImageSet:
        """The training set; raises MissingFileError or DataError when it cannot be read."""
        return self._train[1]

    def train_indices(self) -> Indices:
        """Positions of the training images in their source (the full balanced set, or the sorted list of files)."""
        return self._train[0]

    def reference_set(self) -> ImageSet:
        """The balanced reference set that `reference` names."""
        return self._reference

    def held_out(self) -> ImageSet | None:
        """Images of the same distribution that no training set contains, for memorisation checks, or None."""
        return self._held_out

    def fingerprint(self) -> str | None:
        """Sha256 over training indices, pixels and labels; None when the pixels are not on disk."""
        return None if self.missing_files() else self._fingerprint

    def reference_fingerprint(self) -> str | None:
        """Sha256 over the reference set's pixels and labels; None when the pixels are not on disk."""
        return None if self.missing_files() else self._reference.fingerprint()

    def summary(self) -> dict[str, Any]:
        """What `data show --json` prints, as JSON values; pixels are read only where they are on disk.

        Counts are None, and `unknown` says why, where they follow from a file that is not there.
        """
        try:
            counts, reference, unknown = list(self.class_counts), list(self.reference.class_counts), None
        except MissingFileError as error:
            counts, reference, unknown = None, None, str(error)
        return {
            "name": self.name,
            "title": self.title,
            "class_names": list(self.class_names),
            "class_counts": counts,
            "total": None if counts is None else sum(counts),
            "unknown": unknown,
            "image_shape": list(self.image_shape),
            "groups": {key: list(classes) for key, classes in self.groups.as_dict().items()},
            "groups_rule": self.groups.rule,
            "index_rule": self.index_rule,
            "control": self.control,
            "reference": None
            if reference is None
            else {
                "name": self.reference.name,
                "class_counts": reference,
                "total": sum(reference),
                "description": self.reference.description,
            },
            "missing": [str(file) for file in self.missing_files()],
            "remarks": self.remarks(),
            "fingerprint": self.fingerprint(),
            "reference_fingerprint": self.reference_fingerprint(),
            "licence": self.licence,
            "citation": self.citation,
        }

    @cached_property
    def _train(self) -> tuple[Indices, ImageSet]:
        indices, images = self.load_train()
        counts = tuple(int(count) for count in images.counts(self.class_count))
        if counts != tuple(self.class_counts):
            raise DataError(f"data set {self.name}: read {counts} images by class where {self.class_counts} belong")
        return indices, images

    @cached_property
    def _reference(self) -> ImageSet:
        return self.load_reference()

    @cached_property
    def _held_out(self) -> ImageSet | None:
        return self.load_held_out()

    @cached_property
    def _fingerprint(self) -> str:
        indices, images = self._train
        return sha256_arrays(indices=indices, images=images.images, labels=images.labels)


def take(images: Images, labels: Labels, indices: Indices) -> ImageSet:
    """The images at `indices`, in that order; a run of neighbours stays a view, so a memory map is not read."""
    first, last = int(indices[0]), int(indices[-1])
    if last - first + 1 == len(indices) and bool(np.all(np.diff(indices) == 1)):
        return ImageSet(images[first : last + 1], labels[first : last + 1])
    return ImageSet(np.ascontiguousarray(images[indices]), labels[indices])


def as_counts(counts: Sequence[int] | NDArray[np.int64]) -> tuple[int, ...]:
    """Counts as a tuple of plain integers, which JSON takes."""
    return tuple(int(count) for count in counts)


def _kind(value: object) -> str:
    return f"{value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
