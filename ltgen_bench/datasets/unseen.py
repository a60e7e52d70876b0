"""Real images that nobody trained on: all of them, and as the reference of protocols of version 2."""

from __future__ import annotations

import numpy as np

from ltgen_bench.core.errors import DataError
from ltgen_bench.datasets.base import Dataset, ImageSet, ReferenceInfo, as_counts, take
from ltgen_bench.datasets.overlap import not_trained_on, rows_of_equal_images

# A class with fewer unseen images than this does not pull the others down to its own number.
FEWEST_A_CLASS = 20


def unseen_reference(dataset: Dataset) -> tuple[ReferenceInfo, ImageSet]:
    """The held-out images of a data set that are no training images, pixel by pixel, drawn to equal classes.

    Of every class as many as the smallest has, or `FEWEST_A_CLASS` where that has fewer; a class that has fewer keeps
    all. Those with the lowest sha256 are drawn, so that the order of the source does not matter. Raises DataError where
    no unseen image is left.
    """
    held_out = not_trained_on(dataset.held_out(), dataset.train())
    if held_out is None:
        raise DataError(
            f"data set {dataset.name} has no images that nobody trained on, which this protocol compares with; choose "
            "one of version 1, or give held-out images (--reference-path)"
        )
    available = held_out.counts(dataset.class_count)
    wanted = max(int(available.min()), min(FEWEST_A_CLASS, int(available.max())))
    if (available > wanted).any():
        hashes = np.array(held_out.hashes())
        order = np.lexsort((hashes, held_out.labels))
        starts = np.concatenate([[0], np.cumsum(available)[:-1]])
        kept = [order[start : start + min(wanted, count)] for start, count in zip(starts, available, strict=True)]
        held_out = take(held_out.images, held_out.labels, np.sort(np.concatenate(kept)))
    counts = as_counts(held_out.counts(dataset.class_count))
    words = f"images that nobody trained on, {min(counts)} to {max(counts)} of every class"
    return ReferenceInfo(f"{dataset.name}-unseen", counts, words), held_out


def unseen_images(dataset: Dataset) -> ImageSet | None:
    """Every real image of a data set that is in no training set of it, each once; None where there is none."""
    reference, held_out = dataset.reference_set(), dataset.held_out()
    parts = [part for part in (reference, held_out) if part is not None]
    images = np.concatenate([part.images for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    whole = not_trained_on(ImageSet(images, labels), dataset.train())
    if whole is None:
        return None
    first = np.flatnonzero(rows_of_equal_images(whole, whole) == np.arange(len(whole)))
    return take(whole.images, whole.labels, first)
