"""Clipped density and clipped coverage (Salvy et al. 2025, arXiv 2507.01761).

Density can exceed 1 and rewards samples that crowd where real images are dense: blurred images score 2.8 on digits.
Clipped, no ball is larger than the median one and no sample counts more than once, and both numbers are brought to a
scale on which s is what a set scores of which the share s is good and the rest far away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ltgen_bench.metrics.inputs import Float64Array, FloatArray, IntArray, check_manifold_sets
from ltgen_bench.metrics.numerics.close_pairs import pairs_by_tiles
from ltgen_bench.metrics.numerics.distances import DistinctRows, distinct_rows, exact_float32
from ltgen_bench.metrics.numerics.neighbours import Neighbours, point_neighbours


@dataclass(frozen=True, eq=False)
class ClippedScores:
    """Both numbers and what they are made of.

    Arguments:
        density: min(1, mean a / mean b).
        coverage: the share of good samples whose expected coverage is that of the set.
        sample_density: (M,) a_s = min(1, clipped reference balls around sample s / k).
        reference_density: (N,) b_j, the same of reference images among themselves.
        reference_coverage: (N,) c_i = min(k, samples nearer than the k-th neighbour of image i) / k.
        without_parts: (G,) the coverage without each of G parts of the samples, for its error; None without parts.
    """

    density: float
    coverage: float
    sample_density: Float64Array
    reference_density: Float64Array
    reference_coverage: Float64Array
    without_parts: Float64Array | None = None


def clipped_scores(generated: FloatArray, reference: FloatArray, *, k: int = 5, device: str = "cpu") -> ClippedScores:
    """Clipped density and coverage of generated (M, D) against reference (N, D), their equations 4 to 8.

    Every decision is that of float64 distances. O(N (N + M) D) time. Raises `SamplesError` when a set has k or fewer
    samples or D differs.
    """
    check_manifold_sets(generated, reference, k)
    real, fake = distinct_rows(reference), distinct_rows(generated)
    near = point_neighbours(reference, real, min(k + 1, len(reference) - 1), device=device)
    sweep = ClippedSweep(real, near, fake, k, device)
    never = np.full(len(fake), -np.inf)
    with exact_float32():
        for rows, columns, distances in pairs_by_tiles(real.points, fake.points, sweep.limits, never, device):
            sweep.add(rows, columns, distances)
    return sweep.scores()


class ClippedSweep:
    """Both numbers from one sweep over the pairs of reference and generated points.

    Arguments:
        real, fake: the distinct rows of the two sets.
        near: of every reference point its nearest other rows, more than k where there are (`point_neighbours`).
        k: neighbours.
        device: for what the lists do not decide.
        part: (M,) which part of the samples each sample belongs to, 0, 1, ..., for `ClippedScores.without_parts`.
    """

    def __init__(
        self,
        real: DistinctRows,
        near: Neighbours,
        fake: DistinctRows,
        k: int,
        device: str,
        part: IntArray | None = None,
    ) -> None:
        self._real, self._fake, self._k = real, fake, k
        self._radii = near.squared_distances[:, k - 1]
        self._clipped = np.minimum(self._radii, _squared_median(self._radii[real.index]))
        self._around_reference = self._reference_density(near, device)
        self._around_samples = np.zeros(len(fake), dtype=np.int64)
        # one column a part: how many of its samples every point stands for, and how many lie in every ball
        self._sizes = np.bincount(part) if part is not None else np.array([len(fake.index)])
        self._weights = np.zeros((len(fake), len(self._sizes)), dtype=np.int64)
        np.add.at(self._weights, (fake.index, np.zeros(len(fake.index), np.int64) if part is None else part), 1)
        self._in_balls = np.zeros((len(real), len(self._sizes)), dtype=np.int64)

    @property
    def limits(self) -> Float64Array:
        """The squared radii (U, 2) about which the sweep has to be exact."""
        return np.column_stack([self._radii, self._clipped])

    def add(self, rows: IntArray, columns: IntArray, distances: Float64Array) -> None:
        """Take in pairs of reference `rows` and generated `columns` with their squared `distances`, each (P,)."""
        nearer = distances < self._radii[rows]
        np.add.at(self._in_balls, rows[nearer], self._weights[columns[nearer]])
        within = distances <= self._clipped[rows]
        np.add.at(self._around_samples, columns[within], self._real.weights[rows[within]])

    def _reference_density(self, near: Neighbours, device: str) -> IntArray:
        """How many clipped balls of other reference images lie around every reference point."""
        real, k = self._real, self._k
        found = near.squared_distances
        if len(real) == len(real.index) and (found.shape[1] == k or (found[:, k] > self._radii).all()):
            # no ball holds more than the k nearest, so the lists know all of them
            inside = found[:, :k] <= self._clipped[:, None]
            return np.bincount(near.indices[:, :k][inside], minlength=len(real))
        counts = real.weights - 1  # copies lie in each other's balls
        never = np.full(len(real), -np.inf)
        with exact_float32():
            for rows, columns, distances in pairs_by_tiles(real.points, real.points, self._clipped, never, device):
                inside = (distances <= self._clipped[rows]) & (rows != columns)
                np.add.at(counts, columns[inside], real.weights[rows[inside]])
        return counts

    def scores(self) -> ClippedScores:
        """Both numbers, after the last pair."""
        samples, references = self._fake.index, self._real.index
        held = self._in_balls.sum(axis=1)
        a, b, c = (
            np.minimum(1.0, counts[index] / self._k)
            for counts, index in (
                (self._around_samples, samples),
                (self._around_reference, references),
                (held, references),
            )
        )
        norm = float(b.mean())
        curve = expected_coverage(len(samples), len(references), self._k)
        without = None
        if len(self._sizes) > 1:
            kept = np.minimum(1.0, (held[:, None] - self._in_balls)[references] / self._k).mean(axis=0)
            numbers = len(samples) - self._sizes
            without = np.array([_share(value, curve[: n + 1]) for value, n in zip(kept, numbers, strict=True)])
        return ClippedScores(
            density=min(1.0, float(a.mean()) / norm) if norm > 0 else 0.0,
            coverage=_share(float(c.mean()), curve),
            sample_density=a,
            reference_density=b,
            reference_coverage=c,
            without_parts=without,
        )


def _squared_median(squared: Float64Array) -> float:
    """The square of the median root of `squared`; of an odd number of values one of them, to the bit."""
    low, high = np.quantile(squared, 0.5, method="lower"), np.quantile(squared, 0.5, method="higher")
    return float(low) if low == high else float((np.sqrt(low) + np.sqrt(high)) / 2) ** 2


def equivalent_share(coverage: float, samples: int, references: int, k: int) -> float:
    """The share of good samples, of `samples`, at which the expected mean of c_i is `coverage`: their equation 8."""
    return _share(coverage, expected_coverage(samples, references, k))


def _share(coverage: float, curve: Float64Array) -> float:
    return float((curve < coverage).sum()) / len(curve)


def expected_coverage(samples: int, references: int, k: int) -> Float64Array:
    """The expected mean of c_i with m = 0 ... `samples` good samples, (samples + 1,).

    Of m good samples (real images by another name) J lie nearer to an image than its k-th of N - 1 others, J
    beta-binomial with (m, k, N - k); the expectation is E min(J, k) / k for m >= k, and 0 below.
    """
    from scipy.special import betaln, gammaln

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
    return expected
