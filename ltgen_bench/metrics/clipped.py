"""Clipped density and clipped coverage (Salvy et al. 2025, arXiv 2507.01761).

Density can exceed 1 and rewards samples that crowd where real images are dense: blurred images score 2.8 on digits.
Clipped, no ball is larger than the median one and no sample counts more than once, and both numbers are brought to a
scale on which s is what a set scores of which the share s is good and the rest far away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, gammaln

from ltgen_bench.metrics.inputs import Float64Array, FloatArray, IntArray
from ltgen_bench.metrics.numerics.distances import exact_float32
from ltgen_bench.metrics.precision_recall import check_manifold_sets, pairs_by_tiles, squared_radii


@dataclass(frozen=True, eq=False)
class ClippedScores:
    """Both numbers and what they are made of.

    Arguments:
        density: min(1, mean a / mean b).
        coverage: the share of good samples whose expected coverage is that of the set.
        sample_density: (M,) a_s = min(1, clipped reference balls around sample s / k).
        reference_density: (N,) b_j, the same of reference images among themselves.
        reference_coverage: (N,) c_i = min(k, samples nearer than the k-th neighbour of image i) / k.
    """

    density: float
    coverage: float
    sample_density: Float64Array
    reference_density: Float64Array
    reference_coverage: Float64Array


def clipped_scores(generated: FloatArray, reference: FloatArray, *, k: int = 5, device: str = "cpu") -> ClippedScores:
    """Clipped density and coverage of generated (M, D) against reference (N, D), their equations 4 to 8.

    Every decision is that of float64 distances. O(N (N + M) D) time. Raises `SamplesError` when a set has k or fewer
    samples or D differs.
    """
    check_manifold_sets(generated, reference, k)
    radii = squared_radii(reference, k, device=device)
    clipped = np.minimum(radii, np.square(np.median(np.sqrt(radii))))
    around_samples, in_balls = np.zeros(len(generated), np.int64), np.zeros(len(reference), np.int64)
    around_references = np.zeros(len(reference), np.int64)
    never_s, never_r = np.full(len(generated), -np.inf), np.full(len(reference), -np.inf)
    with exact_float32():
        for rows, _, distances in pairs_by_tiles(reference, generated, radii, never_s, device):
            np.add.at(in_balls, rows[distances < radii[rows]], 1)
        for rows, columns, distances in pairs_by_tiles(reference, generated, clipped, never_s, device):
            np.add.at(around_samples, columns[distances <= clipped[rows]], 1)
        for rows, columns, distances in pairs_by_tiles(reference, reference, clipped, never_r, device):
            np.add.at(around_references, columns[(distances <= clipped[rows]) & (rows != columns)], 1)
    a, b, c = (np.minimum(1.0, counts / k) for counts in (around_samples, around_references, in_balls))
    norm = float(b.mean())
    return ClippedScores(
        density=min(1.0, float(a.mean()) / norm) if norm > 0 else 0.0,
        coverage=equivalent_share(float(c.mean()), len(generated), len(reference), k),
        sample_density=a,
        reference_density=b,
        reference_coverage=c,
    )


def equivalent_share(coverage: float, samples: int, references: int, k: int) -> float:
    """The share of good samples, of `samples`, at which the expected mean of c_i is `coverage`: their equation 8.

    Of m good samples (real images by another name) J lie nearer to an image than its k-th of N - 1 others, J
    beta-binomial with (m, k, N - k); the expectation is E min(J, k) / k for m >= k, and 0 below.
    """
    m: IntArray = np.arange(samples + 1)
    expected = np.zeros(samples + 1)
    below = np.zeros(samples + 1)
    for j in range(k):
        usable = m >= j
        n = m[usable].astype(float)
        choose = gammaln(n + 1) - gammaln(j + 1) - gammaln(n - j + 1)
        chance = np.exp(choose + betaln(k + j, references - k + n - j) - betaln(k, references - k))
        expected[usable] += j * chance
        below[usable] += chance
    expected = (expected + k * (1 - below)) / k
    expected[:k] = 0.0
    return float((expected < coverage).sum()) / (samples + 1)
