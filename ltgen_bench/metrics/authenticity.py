"""Whether samples can be what they are said to be: draws of a generator that saw the training set and nothing else.

Four questions that need the samples alone. Each answer is a number with the limit that honest generators keep; how
often honest ones break it, and what it finds, is measured in `tests/statistics/authenticity.md`.

* **Exchange** (a permutation test in the spirit of the two-sample test for data copying of Meehan, Chaudhuri and
  Dasgupta 2020): training images and unseen images of a class are draws of one distribution. To a generator that
  never saw the unseen ones, a sample's nearest real image is one of them as often as there are such images among all;
  less often where it learnt the training images by heart. More often means that it was made from them, whatever was
  done to them since.
* **Proximity**: an honest sample is seldom nearer to an unseen image than unseen images are to each other.
* **Opinion**: a distance in features that nobody could tune to agrees with the one in the protocol's features, both
  measured in units of real images against real images.
* **Seeds**: the samples of two seeds are not nearer to each other than those of one seed are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ltgen_bench.metrics.inputs import FloatArray, IntArray
from ltgen_bench.metrics.numerics.neighbours import kth_neighbours

NEAR_QUANTILE = 0.01  # of the distances of unseen images to each other: what counts as near
MOST_QUERIES = 5000  # unseen images whose nearest one is looked for
FEWEST_UNSEEN = 50  # a quantile of 1 % of fewer says nothing


@dataclass(frozen=True, eq=False)
class Proximity:
    """Shares of samples nearer to an unseen image than all but 1 % of the unseen images are to another one."""

    share: float
    by_class: dict[int, float]
    threshold: float  # the distance, in the units of the features


def unseen_proximity(
    samples: FloatArray,
    labels: IntArray | None,
    unseen: FloatArray,
    *,
    quantile: float = NEAR_QUANTILE,
    device: str = "cpu",
) -> Proximity | None:
    """`samples` (N, D), their classes (N,) and `unseen` (M, D) in one space; None where M < `FEWEST_UNSEEN`.

    Unseen images that equal another one take no part in the threshold: a source may hold an image twice.
    """
    if len(unseen) < FEWEST_UNSEEN:
        return None
    if len(unseen) <= MOST_QUERIES:
        own = kth_neighbours(unseen, None, 1, device=device).squared_distances
    else:  # the quantile of some is that of all; the nearest row of each is itself
        own = kth_neighbours(unseen[:: len(unseen) // MOST_QUERIES + 1], unseen, 2, device=device).squared_distances
    apart = np.sqrt(own[own > 0])
    if len(apart) < FEWEST_UNSEEN:
        return None
    threshold = float(np.quantile(apart, quantile))
    near = np.sqrt(kth_neighbours(samples, unseen, 1, device=device).squared_distances) < threshold
    classes = {} if labels is None else {int(c): float(near[labels == c].mean()) for c in np.unique(labels)}
    return Proximity(float(near.mean()), classes, threshold)


@dataclass(frozen=True)
class Exchange:
    """How often the nearest real image is an unseen one, how often it would be by chance, and how far that is apart."""

    share: float
    expected: float
    z: float  # standard deviations, under permutation, of `share` above `expected`


def exchange_test(
    samples: FloatArray,
    labels: IntArray | None,
    training: FloatArray,
    training_labels: IntArray | None,
    unseen: FloatArray,
    unseen_labels: IntArray | None,
    *,
    device: str = "cpu",
) -> Exchange | None:
    """Permutation test of "samples know nothing of `unseen` (M, D) that they do not know of `training` (T, D)".

    Within a class (or over all, without labels) every sample votes for its nearest real image. Were the names
    "training" and "unseen" exchanged at random, their numbers kept, the votes for unseen images would have the mean
    and the variance of a draw without replacement, which are known in closed form. At equal distance the first image
    has the vote. A generator that leans to its training images makes the test more cautious. None where no class has
    images of both kinds.
    """
    observed, expected, variance, votes = 0.0, 0.0, 0.0, 0
    for mine, seen, other in _by_class(
        labels, training_labels, unseen_labels, (len(samples), len(training), len(unseen))
    ):
        if min(len(mine), len(seen), len(other)) == 0:
            continue
        pooled = np.concatenate([training[seen], unseen[other]])
        size, drawn = len(pooled), len(other)
        count = np.bincount(kth_neighbours(samples[mine], pooled, 1, device=device).indices, minlength=size)
        observed += float(count[len(seen) :].sum())
        expected += len(mine) * drawn / size
        variance += drawn * (size - drawn) / (size - 1) * float(count.var())
        votes += len(mine)
    if votes == 0:
        return None
    z = (observed - expected) / variance**0.5 if variance > 0 else 0.0
    return Exchange(observed / votes, expected / votes, z)


def _by_class(
    labels: IntArray | None, training: IntArray | None, unseen: IntArray | None, sizes: tuple[int, int, int]
) -> list[tuple[IntArray, IntArray, IntArray]]:
    if labels is None or training is None or unseen is None:
        return [(np.arange(sizes[0]), np.arange(sizes[1]), np.arange(sizes[2]))]
    return [
        (np.flatnonzero(labels == c), np.flatnonzero(training == c), np.flatnonzero(unseen == c))
        for c in np.unique(labels)
    ]


@dataclass(frozen=True)
class Opinion:
    """Distances in units of real images against real images: in the protocol's features, and in others (median)."""

    main: float
    others: float

    @property
    def ratio(self) -> float:
        """How many times worse the others find the samples."""
        return self.others / self.main


def second_opinion(main: float, others: Sequence[float]) -> Opinion:
    """`main` and `others`: a Fréchet distance of samples over that of real images, each in its own features."""
    return Opinion(main, float(np.median(others)))


def seed_overlap(
    samples: FloatArray, others: FloatArray, *, quantile: float = NEAR_QUANTILE, device: str = "cpu"
) -> float:
    """Share of `samples` (N, D) nearer to one of `others` (M, D) than all but 1 % of the samples are to each other.

    Independent draws of one generator have about M / N times the quantile. Repeated samples of a collapsed generator
    count as apart by nothing, so nothing can be nearer.
    """
    own = np.sqrt(kth_neighbours(samples, None, 1, device=device).squared_distances)
    across = np.sqrt(kth_neighbours(samples, others, 1, device=device).squared_distances)
    return float((across < np.quantile(own, quantile)).mean())
