"""What a perfect generator would score: the floor of distances and the ceiling of shares, from real images alone.

A Fréchet distance of two finite samples of one distribution is not 0 but about a (1/n + 1/m), as the means' part is
exactly; a is found on halves of the reference. Coverage of a perfect generator has a closed form. What recall,
precision and F8 of one would be depends on the images, so real halves say it, at their own numbers.
"""

from __future__ import annotations

import numpy as np

from ltgen_bench.metrics.frechet import fid
from ltgen_bench.metrics.inputs import FloatArray, IntArray
from ltgen_bench.metrics.numerics.content_order import content_order

FLOOR_SPLITS = 6


def random_halves(features: FloatArray, labels: IntArray | None, seed: int) -> tuple[IntArray, IntArray]:
    """Row numbers of two random halves of `features` (M, D), of equal size in every class.

    An odd class leaves one image out. Whatever the order of the rows.
    """
    order = content_order(features)
    order = order[np.random.default_rng(seed).permutation(len(order))]
    of_class = np.zeros(len(order), dtype=np.int64) if labels is None else labels[order]
    sides: tuple[list[IntArray], list[IntArray]] = [], []
    for c in np.unique(of_class):
        rows = order[of_class == c]
        half = len(rows) // 2
        sides[0].append(rows[:half])
        sides[1].append(rows[half : 2 * half])
    return np.concatenate(sides[0]), np.concatenate(sides[1])


def floor_constant(
    reference: FloatArray, labels: IntArray | None, *, seed: int, splits: int = FLOOR_SPLITS
) -> float | None:
    """a of the floor a (1/n + 1/m), the mean over random halves of `reference` (M, D).

    How near it comes is in `tests/statistics/floor_of_distances.md`. None where a half has fewer than two
    images a dimension: there the law does not hold.
    """
    if len(reference) < 4 * reference.shape[1]:
        return None
    values = []
    for split in range(splits):
        first, second = random_halves(reference, labels, seed + split)
        if min(len(first), len(second)) < 2:
            return None
        values.append(fid(reference[first], reference[second]) / (1 / len(first) + 1 / len(second)))
    return float(np.mean(values))


def coverage_ceiling(generated: int, reference: int, k: int) -> float:
    """The expected coverage of a perfect generator: 1 - prod_i (M - i) / (N + M - i), i = 1 ... k (Naeem et al. 2020).

    `generated` is N, `reference` M: a ball reaches to the k-th of the M - 1 others, and holds none of the N samples
    with the probability that the k nearest of all N + M - 1 are reference images.
    """
    missed = 1.0
    for i in range(1, k + 1):
        missed *= max(0, reference - i) / max(1, generated + reference - i)
    return 1 - missed
