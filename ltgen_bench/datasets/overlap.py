"""Which images of two sets are the same, pixel by pixel."""

from __future__ import annotations

import numpy as np

from ltgen_bench.core.storage import sha256_arrays
from ltgen_bench.datasets.base import ImageSet, take


def rows_of_equal_images(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each of `images` (N, ...) the row of one of `others` with the same pixels, or -1; int64 (N,)."""
    row_of = {sha256_arrays(image=image): row for row, image in enumerate(others)}
    return np.array([row_of.get(sha256_arrays(image=image), -1) for image in images], np.int64)


def not_trained_on(held_out: ImageSet | None, train: ImageSet) -> ImageSet | None:
    """The held-out images whose pixels are those of no training image; None where none is left.

    A data set's files may hold an image on both sides, and its distance of 0 would pull the threshold of memorisation
    down. The images are copied only where some are left out.
    """
    if held_out is None:
        return None
    new = np.flatnonzero(rows_of_equal_images(held_out.images, train.images) < 0)
    if len(new) == len(held_out):
        return held_out
    return take(held_out.images, held_out.labels, new) if len(new) else None
