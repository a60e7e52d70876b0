"""The embedded data set: scikit-learn's 1,797 handwritten digits, long-tailed or balanced, without any download."""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.core.errors import DataError
from ltgen_bench.datasets.base import Dataset, Images, ImageSet, Indices, Labels, ReferenceInfo, as_counts, take
from ltgen_bench.datasets.cut import Cut, refuse_uncut, tail_size
from ltgen_bench.datasets.longtail import exponential_counts, select_longtail_indices
from ltgen_bench.datasets.manifest import load_manifest
from ltgen_bench.datasets.options import CUT_OPTIONS, check_imbalance, check_per_class, refuse_unknown_options, suffix

if TYPE_CHECKING:
    from ltgen_bench.core.config import DatasetConfig

HEAD_COUNT = 120  # the smallest class has 174 images, so at least 54 of each stay out of every training set
DIGITS_IMBALANCE = 0.05


def _rows() -> NDArray[np.float64]:
    """64 values from 0 to 16 and the digit, (1797, 65): scikit-learn's file, without an import of two seconds."""
    found = find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or ():
        if (file := Path(folder) / "datasets" / "data" / "digits.csv.gz").is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # wherever else it keeps them

    return np.column_stack(load_digits(return_X_y=True))


class Digits(Dataset):
    """Digits of 8x8 px, uint8 = round(value * 255 / 16), cut by the shared index rule with seed 0.

    Exactly one of `imbalance` (counts 120 ... 120 * imbalance) and `per_class` (a balanced subset) is given.
    The reference is all 1,797 images; the held-out images are those behind the first 120 of each class in the index
    rule's order, which no imbalance, no subset and no `cut` reaches: another cut seed draws among those first 120.
    """

    def __init__(self, imbalance: float | None = None, per_class: int | None = None, cut: Cut | None = None):
        self._cut = cut = cut or Cut()
        manifest = load_manifest("digits")
        self.class_names = manifest.class_names
        self._source_counts = manifest.train_counts
        if imbalance is not None:
            self.name = "digits-lt" if imbalance == DIGITS_IMBALANCE else f"digits-lt-{suffix(imbalance)}"
            self.title = f"{manifest.title}, long-tailed with imbalance {suffix(imbalance)}"
            self.class_counts = cut.by_class(exponential_counts(HEAD_COUNT, imbalance, len(self.class_names)))
        else:
            per_class = HEAD_COUNT if per_class is None else per_class
            self.name = "digits" if per_class == HEAD_COUNT else f"digits-{per_class}"
            self.title = f"{manifest.title}, {per_class} a class"
            self.class_counts = (per_class,) * len(self.class_names)
        self.name, self.title = self.name + cut.suffix, self.title + cut.words
        self.groups = cut.groups(len(self.class_names))
        if imbalance is not None:
            self.control = f"digits-{tail_size(self.class_counts, self.groups.few)}{cut.suffix}"
        self.reference = ReferenceInfo("digits-all", manifest.train_counts, "all 1,797 images of the source")
        self.horizontal_flip = False  # a mirrored 2 is not a digit
        self.default_protocol = "digits-1k.v2"
        self.licence, self.citation = manifest.licence, manifest.citation
        self.manifest_name, self.index_rule = manifest.name, manifest.index_rule
        if cut.seed:
            self.index_rule += f"; cut seed {cut.seed} draws among the first {HEAD_COUNT} of each class"
        self._image_shape = manifest.image_shape

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(1, 8, 8)."""
        return self._image_shape

    @cached_property
    def _source(self) -> tuple[Images, Labels]:
        rows = _rows()
        images = np.rint(rows[:, :-1].reshape(-1, *self._image_shape) * 255 / 16).astype(np.uint8)
        labels = rows[:, -1].astype(np.int64)
        if as_counts(np.bincount(labels)) != self._source_counts:
            raise DataError(f"scikit-learn's digits are not the known 1,797 images: {np.bincount(labels)} by class")
        return images, labels

    def load_train(self) -> tuple[Indices, ImageSet]:
        """The images that the index rule keeps, class by class."""
        images, labels = self._source
        if not self._cut.seed:
            indices = select_longtail_indices(labels, self.class_counts)
        else:
            pool = self._pool(labels)
            indices = pool[select_longtail_indices(labels[pool], self.class_counts, self._cut.seed)]
        return indices, take(images, labels, indices)

    def _pool(self, labels: Labels) -> Indices:
        """The images that some training set may hold."""
        return select_longtail_indices(labels, [HEAD_COUNT] * len(self.class_names))

    def load_reference(self) -> ImageSet:
        """All images of the source, in its order."""
        return ImageSet(*self._source)

    def load_held_out(self) -> ImageSet:
        """The images, in the source's order, that no training set contains: 54 to 63 of each class."""
        images, labels = self._source
        unused = np.setdiff1d(np.arange(len(labels)), self._pool(labels))
        return take(images, labels, unused)


def digits_lt(options: DatasetConfig, data_root: Path) -> Digits:
    """`digits-lt`: imbalance 0.05 (120 ... 6 images a class) or as `options` say."""
    refuse_unknown_options(options, ("imbalance", *CUT_OPTIONS), "; balanced subsets are made from 'digits'")
    imbalance = check_imbalance(DIGITS_IMBALANCE if options.imbalance is None else options.imbalance)
    return Digits(imbalance=imbalance, cut=Cut.of(options))


def digits(options: DatasetConfig, data_root: Path) -> Digits:
    """`digits`: balanced, 120 images a class, or `per_class` of them."""
    refuse_unknown_options(options, ("per_class", *CUT_OPTIONS), "; long-tailed sets are made from 'digits-lt'")
    per_class = HEAD_COUNT if options.per_class is None else options.per_class
    refuse_uncut(options, per_class < HEAD_COUNT)
    return Digits(per_class=check_per_class(per_class, HEAD_COUNT, options.name), cut=Cut.of(options))
