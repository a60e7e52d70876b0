"""Equal images of two sets, pixel by pixel; each image is hashed once, however often it is asked about."""

from __future__ import annotations

import numpy as np

from ltgen_bench.datasets.base import ImageSet, Indices, take


def rows_of_equal_images(images: ImageSet, others: ImageSet) -> Indices:
    """For each of the N `images` the row of one of `others` with the same pixels, or -1; int64 (N,)."""
    row_of = {digest: row for row, digest in enumerate(others.hashes())}
    return np.array([row_of.get(digest, -1) for digest in images.hashes()], np.int64)


def not_trained_on(held_out: ImageSet | None, train: ImageSet) -> ImageSet | None:
    """The held-out images whose pixels are those of no training image; None where none is left.

    A data set's files may hold an image on both sides, and its distance of 0 would pull the threshold of memorisation
    down. The images are copied only where some are left out.
    """
    if held_out is None:
        return None
    new = np.flatnonzero(rows_of_equal_images(held_out, train) < 0)
    if len(new) == len(held_out):
        return held_out
    return take(held_out.images, held_out.labels, new) if len(new) else None
