"""A data set that lies in arrays: what a plug-in of twenty lines makes of a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ltgen_bench.core.errors import DataError
from ltgen_bench.datasets.base import Dataset, Groups, ImageSet, Indices, ReferenceInfo, as_counts
from ltgen_bench.datasets.longtail import groups_by_thirds
from ltgen_bench.datasets.options import refuse_unknown_options
from ltgen_bench.datasets.overlap import not_trained_on
from ltgen_bench.datasets.small import own_recipe

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ltgen_bench.core.config import DatasetConfig


class ArrayDataset(Dataset):
    """Images and labels that are given: `train` and `reference` are pairs of images and labels.

    Images are uint8 (N, C, H, W), square, with 1 or 3 channels; labels are integers, the position of the class in
    `class_names`. Every class needs a training image and a reference image. The name is that of `options`, under which
    the data set was registered; options that it does not know are refused. Head, medium and tail are thirds of the
    classes by their number of training images, or `groups`. `held_out` are reference images that nobody trained on.

    Raises DataError for arrays that are none of this, ConfigError for options.
    """

    def __init__(
        self,
        options: DatasetConfig,
        *,
        train: tuple[ArrayLike, ArrayLike],
        reference: tuple[ArrayLike, ArrayLike],
        class_names: Sequence[str],
        title: str = "",
        groups: Groups | None = None,
        horizontal_flip: bool = True,
        default_protocol: str = "images-50k.v2",
        licence: str = "not stated",
        citation: str = "",
    ):
        refuse_unknown_options(options, ())
        self.name = options.name
        self.class_names = tuple(class_names)
        self._images = self._checked("train", train)
        self._balanced = self._checked("reference", reference)
        if self._balanced.images.shape[1:] != self._images.images.shape[1:]:
            raise DataError(
                f"data set {self.name}: training images are {self._images.images.shape[1:]} and reference images "
                f"{self._balanced.images.shape[1:]}"
            )
        self.class_counts = as_counts(self._images.counts(self.class_count))
        head_to_tail = sorted(range(self.class_count), key=lambda index: -self.class_counts[index])
        self.groups = groups or groups_by_thirds(self.class_count, head_to_tail)
        self.reference = ReferenceInfo(
            f"{self.name}-reference", as_counts(self._balanced.counts(self.class_count)), "as the plug-in gives them"
        )
        self.title, self.licence, self.citation = title or self.name, licence, citation or "not stated"
        self.horizontal_flip, self.default_protocol = horizontal_flip, default_protocol
        self.recipe = own_recipe(self.total)

    def _checked(self, what: str, pair: tuple[ArrayLike, ArrayLike]) -> ImageSet:
        """The pair as an image set with every class in it."""
        images, labels = (np.asarray(part) for part in pair)
        if labels.dtype.kind not in "iu":
            raise DataError(f"data set {self.name}: {what} labels must be integers, got {labels.dtype}")
        if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
            raise DataError(
                f"data set {self.name}: {what} images are {images.shape}, channels last; give "
                "images.transpose(0, 3, 1, 2)"
            )
        try:
            found = ImageSet(np.ascontiguousarray(images), labels.astype(np.int64))
            counts = found.counts(self.class_count)
        except DataError as error:
            raise DataError(f"data set {self.name}: {what}: {error}") from None
        if not counts.all():
            empty = self.class_names[int(np.argmin(counts))]
            raise DataError(f"data set {self.name}: {what} has no image of class {empty!r}")
        return found

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self._images.images.shape
        return channels, height, width

    def load_train(self) -> tuple[Indices, ImageSet]:
        """The training images as they are given."""
        return np.arange(len(self._images), dtype=np.int64), self._images

    def load_reference(self) -> ImageSet:
        """The reference images as they are given."""
        return self._balanced

    def load_held_out(self) -> ImageSet | None:
        """The reference images whose pixels are those of no training image."""
        return not_trained_on(self._balanced, self._images)
