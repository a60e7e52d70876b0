"""The Fréchet distance between Gaussians (FID), by routes that never take a matrix square root.

FID (Heusel et al. 2017, Eq. 6) is |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2). The last trace is the sum of the
square roots of the eigenvalues of S1 S2, which are those of the symmetric R^T S1 R for any R with R R^T = S2. With
fewer samples than dimensions it is the nuclear norm of Xc Yc^T / sqrt((n - 1)(m - 1)), which needs no covariance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.inputs import Float64Array, FloatArray, IntArray
from ltgen_bench.metrics.numerics.distances import check_metrics_device
from ltgen_bench.metrics.numerics.gram_on_device import frechet_distance_on
from ltgen_bench.metrics.numerics.lapack import add_scatter, cholesky, congruence, eigen
from ltgen_bench.metrics.numerics.statistics import (
    GaussianStatistics,
    StatisticsAccumulator,
    gaussian_statistics,
    statistics_side_by_side,
    symmetric,
)
from ltgen_bench.metrics.numerics.threads import map_in_threads

_COLUMNS_PER_BLOCK = 8192


class FrechetSolver:
    """Fréchet distances of many Gaussians to one `reference`, whose covariance is factored once.

    Cholesky when the covariance is positive definite; otherwise an eigendecomposition restricted to its range.
    """

    def __init__(self, reference: GaussianStatistics) -> None:
        self.reference = reference
        self._trace = float(np.trace(reference.covariance))
        self._factor, self._rank, self._lower = _factor(reference)

    def distance(self, statistics: GaussianStatistics) -> float:
        """The squared Fréchet distance (the FID), never negative. Raises `SamplesError` when dimensions differ."""
        return self._distance(statistics, eigen(self._product(statistics))[0])

    def distance_and_gradient(self, statistics: GaussianStatistics) -> tuple[float, Float64Array]:
        """`distance`, and its gradient (D, D) with respect to the covariance of `statistics`.

        I - R (R^T S R)^(-1/2) R^T, from the derivative of a trace function: d tr f(M) = tr f'(M) dM. The gradient with
        respect to the mean is 2 (m1 - m2). Directions in which R^T S R vanishes take no part.
        """
        eigenvalues, vectors = eigen(self._product(statistics), vectors=True)
        assert vectors is not None
        first = max(0, eigenvalues.size - self._rank_with(statistics))
        noise = len(eigenvalues) * np.finfo(np.float64).eps * float(eigenvalues[-1:].sum())
        first = max(first, int(np.searchsorted(eigenvalues, max(0.0, noise), side="right")))
        half = self._times(vectors[:, first:] * eigenvalues[first:] ** -0.25)
        upper: Float64Array = np.zeros(statistics.covariance.shape, order="F")
        add_scatter(np.ascontiguousarray(half.T), upper)
        gradient = -symmetric(upper)
        gradient[np.diag_indices_from(gradient)] += 1
        return self._distance(statistics, eigenvalues), gradient

    def _product(self, statistics: GaussianStatistics) -> Float64Array:
        """R^T S R in C order, of which only the lower triangle counts."""
        if statistics.mean.size != self.reference.mean.size:
            raise SamplesError(
                f"statistics: dimension {statistics.mean.size} against {self.reference.mean.size}; "
                "both sets need features of the same extractor"
            )
        if self._lower:
            return congruence(self._factor, statistics.covariance)
        return np.ascontiguousarray(self._factor.T @ statistics.covariance @ self._factor)

    def _times(self, columns: Float64Array) -> Float64Array:
        """R V; with half of the operations where R is lower triangular."""
        if not self._lower:
            return np.asarray(self._factor @ columns)
        from scipy.linalg.blas import dtrmm

        # Fortran sees the transpose of R, and is asked to transpose it back.
        return np.asarray(dtrmm(1.0, self._factor.T, columns, lower=0, trans_a=1))

    def _rank_with(self, statistics: GaussianStatistics) -> int:
        return self._rank if statistics.count is None else min(self._rank, statistics.count - 1)

    def _distance(self, statistics: GaussianStatistics, eigenvalues: Float64Array) -> float:
        # Beyond the rank that the sample counts allow the eigenvalues are rounding noise, whose square roots add up.
        kept = eigenvalues[max(0, eigenvalues.size - self._rank_with(statistics)) :]  # ascending
        cross = float(np.sqrt(np.maximum(kept, 0)).sum())
        difference = statistics.mean - self.reference.mean
        distance = float(difference @ difference) + float(np.trace(statistics.covariance)) + self._trace - 2 * cross
        return max(0.0, distance)


def _factor(statistics: GaussianStatistics) -> tuple[Float64Array, int, bool]:
    """R (D, r) with R R^T = covariance, its rank r, and whether only its lower triangle counts."""
    covariance = statistics.covariance
    dimension = len(covariance)
    tolerance = dimension * np.finfo(np.float64).eps
    if statistics.count is None or statistics.count > dimension:
        factor = cholesky(covariance)
        if factor is not None:
            diagonal = np.diagonal(factor)
            # A pivot at rounding level passes for positive, but everything after it is noise.
            if diagonal.min() ** 2 > tolerance * diagonal.max() ** 2:
                return factor, dimension, True
    eigenvalues, vectors = np.linalg.eigh(covariance)
    keep = eigenvalues > max(0.0, tolerance * float(eigenvalues[-1]))
    if statistics.count is not None:
        keep[: max(0, dimension - (statistics.count - 1))] = False
    return vectors[:, keep] * np.sqrt(eigenvalues[keep]), int(keep.sum()), False


def frechet_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """The FID of two Gaussians, symmetric up to rounding. Raises `SamplesError` when their dimensions differ."""
    return FrechetSolver(b).distance(a)


def frechet_distance_gram(x: FloatArray, y: FloatArray, *, device: str = "cpu") -> float:
    """The FID of features x (n, D) and y (m, D) through the n x m matrix of their centred inner products.

    Exact for any n, m >= 2; the fast and the more accurate route when n or m is at most D. On a `device` other than
    "cpu" in about seven digits. Raises `SamplesError` for fewer than two rows or for different D.
    """
    _check_pair(x, y)
    if device != "cpu":
        return frechet_distance_on(x, y, device)
    if len(x) > len(y):
        x, y = y, x
    mean_x, mean_y = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    x_centred = x.astype(np.float64) - mean_x
    trace = float(np.einsum("ij,ij->", x_centred, x_centred)) / (len(x) - 1)
    inner = np.empty((len(x), len(y)))
    for start in range(0, len(y), _COLUMNS_PER_BLOCK):
        y_centred = y[start : start + _COLUMNS_PER_BLOCK].astype(np.float64)
        y_centred -= mean_y
        trace += float(np.einsum("ij,ij->", y_centred, y_centred)) / (len(y) - 1)
        np.matmul(x_centred, y_centred.T, out=inner[:, start : start + len(y_centred)])
    inner /= np.sqrt((len(x) - 1) * (len(y) - 1))
    nuclear = float(np.linalg.svd(inner.T, compute_uv=False).sum())  # tall, which LAPACK does a third faster than wide
    difference = mean_x - mean_y
    return max(0.0, float(difference @ difference) + trace - 2 * nuclear)


def frechet_distances_without(x: FloatArray, y: FloatArray, fold: IntArray) -> list[float]:
    """`frechet_distance_gram` of x (n, D) without each of its folds (`fold` (n,) numbers from 0 on) and y (m, D).

    The inner products are computed once for all folds, and singular values as roots of eigenvalues, whose rounding
    error of about 1e-8 does not matter for an interval.
    """
    _check_pair(x, y)
    mean_x, mean_y = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    few_x = len(x) <= len(y)
    # Of the matrix K of inner products, K K^T is needed where x has fewer rows, else K^T K over the rows of every fold.
    outer = np.zeros((len(x), len(x)) if few_x else (0, 0))
    sums = [StatisticsAccumulator(0 if few_x else len(y)) for _ in range(int(fold.max()) + 1)]
    short, long, mean_short, mean_long = (x, y, mean_x, mean_y) if few_x else (y, x, mean_y, mean_x)
    centred = short.astype(np.float64) - mean_short
    for start in range(0, len(long), _COLUMNS_PER_BLOCK):
        part = slice(start, start + _COLUMNS_PER_BLOCK)
        inner = (long[part].astype(np.float64) - mean_long) @ centred.T
        if few_x:
            outer += inner.T @ inner
        else:
            for g, of_fold in enumerate(sums):
                of_fold.update(inner[fold[part] == g])
    variance_y = float(y.var(axis=0, ddof=1, dtype=np.float64).sum())
    distances = []
    for left_out in range(len(sums)):
        kept = np.flatnonzero(fold != left_out)
        if few_x:
            product = outer[np.ix_(kept, kept)]
            product -= product.mean(axis=0)
            product -= product.mean(axis=1)[:, None]
            product /= len(kept) - 1
        else:
            rest = StatisticsAccumulator(len(y))
            for g, of_fold in enumerate(sums):
                if g != left_out:
                    rest.merge(of_fold)
            product = rest.result().covariance
        rank = min(len(kept) - 1, len(y) - 1, x.shape[1])
        eigenvalues = np.maximum(np.linalg.eigvalsh(product)[-rank:], 0)
        nuclear = float(np.sqrt(eigenvalues / (len(y) - 1)).sum())
        mean, variance = (getattr(x[kept], name)(axis=0, dtype=np.float64) for name in ("mean", "var"))
        trace = float(variance.sum()) * len(kept) / (len(kept) - 1) + variance_y
        difference = mean - mean_y
        distances.append(max(0.0, float(difference @ difference) + trace - 2 * nuclear))
    return distances


def fid(x: FloatArray, y: FloatArray, *, device: str = "cpu") -> float:
    """The FID of features x (n, D) and y (m, D), float32 or float64, by the route that suits their size.

    `device` is where the route for few samples runs; the other one runs on the CPU. Raises `SamplesError` for fewer
    than two rows or for different D.
    """
    _check_pair(x, y)
    if min(len(x), len(y)) <= x.shape[1]:
        return frechet_distance_gram(x, y, device=device)
    return frechet_distance(*statistics_side_by_side((x, y)))


def _check_pair(x: FloatArray, y: FloatArray) -> None:
    if x.shape[1] != y.shape[1]:
        raise SamplesError(f"features: {x.shape[1]} columns against {y.shape[1]}; both sets need the same extractor")
    if min(len(x), len(y)) < 2:
        raise SamplesError(f"FID needs at least 2 samples in each set, got {len(x)} and {len(y)}")


def per_class_fid(
    generated: FloatArray,
    generated_rows: Sequence[IntArray],
    reference: FloatArray,
    reference_rows: Sequence[IntArray],
    *,
    device: str = "cpu",
) -> list[float | None]:
    """The FID of every class; None where a class has fewer than two samples on one side.

    `generated` (N, D) and `reference` (M, D); `*_rows[c]` are the row numbers of class c (`inputs.rows_of_classes`).
    Raises `DeviceError` when `device` is not there.
    """
    check_metrics_device(device)

    def of_class(rows: tuple[IntArray, IntArray]) -> float | None:
        g, r = rows
        return fid(generated[g], reference[r], device=device) if min(len(g), len(r)) >= 2 else None

    return list(map_in_threads(of_class, list(zip(generated_rows, reference_rows, strict=True))))


def floor_split(reference_count: int, count: int, *, seed: int) -> tuple[IntArray, IntArray] | None:
    """Row numbers (n,) that stand in for generated samples, and the remaining (M - n,), for `fid_floor`; ascending.

    n = min(`count`, M // 2) random ones of M = `reference_count`; None when n < 2.
    """
    size = min(count, reference_count // 2)
    if size < 2:
        return None
    order = np.random.default_rng(seed).permutation(reference_count)
    return np.sort(order[:size]), np.sort(order[size:])


def fid_floor(reference: FloatArray, count: int, *, seed: int, device: str = "cpu") -> tuple[float, int] | None:
    """The FID of real images in place of generated ones, and their number n.

    n = min(`count`, M // 2) random rows of `reference` (M, D) against the M - n others. FID has a bias that falls with
    the size of either set, so this is about what a perfect generator scores with n samples against all M. It lies too
    high the more, the nearer n comes to M / 2, for the n rows are missing on the other side; and where M < 2 `count`,
    also because n is smaller than `count`. None when M < 4 or `count` < 2.
    """
    split = floor_split(len(reference), count, seed=seed)
    if split is None:
        return None
    return fid(reference[split[0]], reference[split[1]], device=device), len(split[0])


def fid_infinity(generated: FloatArray, reference: GaussianStatistics, *, seed: int, points: int = 15) -> float:
    """FID extrapolated to infinitely many generated samples (Chong and Forsyth 2020, Section 4).

    A straight line in 1/n is fitted to the FID of random subsets of `generated` (N, D) with n from N/10 to N in
    `points` equal steps; the value is its intercept, which may be negative. Raises `SamplesError` when N < 20.
    """
    if len(generated) < 20:
        raise SamplesError(f"FID-infinity needs at least 20 generated samples, got {len(generated)}")
    generator = np.random.default_rng(seed)
    sizes = np.unique(np.linspace(len(generated) / 10, len(generated), points).astype(int))
    solver = FrechetSolver(reference)
    distances = []
    for size in sizes:
        rows = np.sort(generator.choice(len(generated), size, replace=False))
        distances.append(solver.distance(gaussian_statistics(generated[rows])))
    return float(np.polyfit(1 / sizes, distances, 1)[1])
