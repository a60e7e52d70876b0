"""Mean and covariance in one pass, in float64, from any number of batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.errors import SamplesError
from ltgen_bench.metrics.inputs import FloatArray

Float64Array = NDArray[np.float64]

# Rows turned to float64 at a time: large enough that the matrix product dominates, 34 MB at D = 2048.
_ROWS_PER_BLOCK = 2048


@dataclass(frozen=True, eq=False)
class GaussianStatistics:
    """The Gaussian that FID compares.

    Arguments:
        mean: (D,) float64.
        covariance: (D, D) float64, symmetric, with the n - 1 denominator.
        count: samples behind it, or None where a file does not say.

    Raises `SamplesError` for shapes that do not fit, NaN or infinity, a covariance that is not symmetric, or a count
    below 2.
    """

    mean: Float64Array
    covariance: Float64Array
    count: int | None

    def __post_init__(self) -> None:
        mean = np.asarray(self.mean, dtype=np.float64)
        covariance = np.asarray(self.covariance, dtype=np.float64)
        if mean.ndim != 1 or mean.size == 0:
            raise SamplesError(f"mean: expected shape (D,), got {mean.shape}")
        if covariance.shape != (mean.size, mean.size):
            raise SamplesError(
                f"covariance: has shape {covariance.shape}, expected ({mean.size}, {mean.size}) to go with the mean"
            )
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise SamplesError("statistics: mean or covariance holds NaN or infinity; every value must be finite")
        scale = float(np.abs(covariance).max())
        if float(np.abs(covariance - covariance.T).max()) > 1e-6 * scale:
            raise SamplesError("covariance: is not symmetric; expected numpy.cov(features, rowvar=False)")
        if self.count is not None and self.count < 2:
            raise SamplesError(f"count: is {self.count}, but a covariance needs at least 2 samples")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", covariance)


class StatisticsAccumulator:
    """Sums up batches of features (n, D) of float32 or float64; accumulators of parts merge into that of the whole.

    Every batch is centred on its own mean in float64 and combined by the pairwise update of Chan, Golub and LeVeque
    (1983), so a large common offset costs no digits and the result depends on the batches by rounding only.
    """

    def __init__(self, dimension: int) -> None:
        self.count = 0
        self.mean: Float64Array = np.zeros(dimension)
        self.scatter: Float64Array = np.zeros((dimension, dimension))

    def update(self, features: FloatArray) -> StatisticsAccumulator:
        """Add a batch (n, D); returns the accumulator itself. Raises `SamplesError` when D differs."""
        if features.ndim != 2 or features.shape[1] != self.mean.size:
            raise SamplesError(f"features: got shape {features.shape}, expected (n, {self.mean.size})")
        if len(features):
            mean: Float64Array = features.mean(axis=0, dtype=np.float64)
            self._combine(len(features), mean, _scatter(features, mean))
        return self

    def merge(self, other: StatisticsAccumulator) -> StatisticsAccumulator:
        """Add everything that `other` has seen; returns the accumulator itself."""
        if other.mean.size != self.mean.size:
            raise SamplesError(
                f"statistics of dimension {other.mean.size} do not merge with dimension {self.mean.size}"
            )
        if other.count:
            self._combine(other.count, other.mean, other.scatter)
        return self

    def _combine(self, count: int, mean: Float64Array, scatter: Float64Array) -> None:
        total = self.count + count
        difference = mean - self.mean
        self.scatter += scatter
        if self.count:
            self.scatter += np.outer(difference * (self.count * count / total), difference)
        self.mean = self.mean + difference * (count / total)
        self.count = total

    def result(self) -> GaussianStatistics:
        """The statistics so far. Raises `SamplesError` with fewer than 2 samples."""
        if self.count < 2:
            raise SamplesError(f"a covariance needs at least 2 samples, got {self.count}")
        return GaussianStatistics(self.mean.copy(), self.scatter / (self.count - 1), self.count)


def _scatter(features: FloatArray, mean: Float64Array) -> Float64Array:
    """The sum of (x - mean)(x - mean)^T over the rows, (D, D), with half of a matrix product's operations."""
    from scipy.linalg.blas import dsyrk

    dimension = features.shape[1]
    upper: Float64Array = np.zeros((dimension, dimension), order="F")
    buffer = np.empty((min(len(features), _ROWS_PER_BLOCK), dimension))
    for start in range(0, len(features), _ROWS_PER_BLOCK):
        block = features[start : start + _ROWS_PER_BLOCK]
        centred = np.subtract(block, mean, out=buffer[: len(block)])
        upper = dsyrk(1.0, centred.T, beta=1.0, c=upper, overwrite_c=1)  # .T is Fortran order: nothing is copied
    diagonal = np.diagonal(upper).copy()
    full: Float64Array = upper + upper.T
    np.fill_diagonal(full, diagonal)
    return full


def gaussian_statistics(batches: FloatArray | Iterable[FloatArray]) -> GaussianStatistics:
    """Mean and covariance of features (N, D), or of an iterable of batches (n, D) that is read once."""
    iterator: Iterable[Any] = [batches] if isinstance(batches, np.ndarray) else batches
    accumulator: StatisticsAccumulator | None = None
    for batch in iterator:
        if accumulator is None:
            accumulator = StatisticsAccumulator(batch.shape[1])
        accumulator.update(batch)
    if accumulator is None:
        raise SamplesError("features: is empty; a covariance needs at least 2 samples")
    return accumulator.result()
