"""Warn when the labels of generated samples do not belong to their images, which no other number would reveal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltgen_bench.metrics import FeatureArrays

_SHARE_OF_REAL = 0.1  # of how far real images are above chance; less is suspicious
_STANDARD_ERRORS = 3.0  # what lies within them could be luck
_NAMES_SHOWN = 10


def label_warning(generated: FeatureArrays, real: FeatureArrays, class_names: Sequence[str]) -> str | None:
    """What is suspicious about the samples' labels, one line; None where they fit the reference's classes.

    Each sample is assigned to the nearest of the reference's class means. Labels that agree with that no better than
    if they were dealt out at random are in another order than the data set's, or belong to a generator that ignores
    them. Also None where the features do not tell the classes of the real images apart.
    """
    assert generated.labels is not None  # an evaluation has labels
    assert real.labels is not None
    present = np.unique(real.labels)
    if len(present) < 2:
        return None
    means = np.stack([real.features[real.labels == index].mean(axis=0, dtype=np.float64) for index in present])
    centre = means.mean(axis=0)
    means -= centre
    half_norms = np.square(means).sum(axis=1) / 2 + means @ centre
    slopes = means.T.astype(real.features.dtype)

    def agreement(arrays: FeatureArrays) -> tuple[float, float]:
        """The share of images nearest to the mean of their own class, and what chance would make of it."""
        assert arrays.labels is not None
        nearest = present[np.argmin(half_norms - arrays.features @ slopes, axis=1)]
        shares = [np.bincount(values, minlength=len(class_names)) / len(arrays) for values in (nearest, arrays.labels)]
        return float((nearest == arrays.labels).mean()), float(shares[0] @ shares[1])

    (ours, chance), (theirs, their_chance) = agreement(generated), agreement(real)
    if theirs - their_chance < 0.1 or ours - chance > _SHARE_OF_REAL * (theirs - their_chance):
        return None
    if theirs - ours < _STANDARD_ERRORS * np.sqrt(theirs * (1 - theirs) / len(generated)) or len(generated) < 20:
        return None
    order = ", ".join(f"{index} {name}" for index, name in enumerate(class_names[:_NAMES_SHOWN]))
    order += ", ..." if len(class_names) > _NAMES_SHOWN else ""
    return (
        f"the labels do not fit the images: {100 * ours:.1f} % of the samples are nearest to the mean of their own "
        f"class (by chance {100 * chance:.1f} %, real images {100 * theirs:.1f} %). Are they numbered as the data "
        f"set's classes ({order})? If so, the generator ignores its labels"
    )
