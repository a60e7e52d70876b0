"""Mean and covariance in one pass, in float64, from any number of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.inputs import Float64Array, FloatArray
from ltgen_bench.metrics.numerics.lapack import add_scatter
from ltgen_bench.metrics.numerics.threads import map_in_threads

# Rows turned to float64 at a time: large enough that the matrix product dominates, 34 MB at D = 2048.
_ROWS_PER_BLOCK = 2048
# Rows that one core sums up by itself: merging the sums then costs next to nothing, and several cores get some.
_ROWS_PER_PART = 8192


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

    Attributes:
        count: samples so far.
        mean: (D,) float64.
        scatter: (D, D) float64 in Fortran order, the sum of (x - mean)(x - mean)^T. Only its upper triangle is filled,
            with half of a matrix product's operations; below the diagonal are zeros.
    """

    def __init__(self, dimension: int) -> None:
        self.count = 0
        self.mean: Float64Array = np.zeros(dimension)
        self.scatter: Float64Array = np.zeros((dimension, dimension), order="F")

    def update(self, features: FloatArray) -> StatisticsAccumulator:
        """Add a batch (n, D); returns the accumulator itself. Raises `SamplesError` when D differs."""
        if features.ndim != 2 or features.shape[1] != self.mean.size:
            raise SamplesError(f"features: got shape {features.shape}, expected (n, {self.mean.size})")
        if not len(features):
            return self
        mean: Float64Array = features.mean(axis=0, dtype=np.float64)
        buffer = np.empty((min(len(features), _ROWS_PER_BLOCK), self.mean.size))
        for start in range(0, len(features), _ROWS_PER_BLOCK):
            block = features[start : start + _ROWS_PER_BLOCK]
            centred = buffer[: len(block)]
            centred[...] = block
            centred -= mean
            add_scatter(centred, self.scatter)
        self._shift(len(features), mean)
        return self

    def merge(self, other: StatisticsAccumulator) -> StatisticsAccumulator:
        """Add everything that `other` has seen; returns the accumulator itself."""
        if other.mean.size != self.mean.size:
            raise SamplesError(
                f"statistics of dimension {other.mean.size} do not merge with dimension {self.mean.size}"
            )
        if other.count:
            self.scatter += other.scatter
            self._shift(other.count, other.mean)
        return self

    def _shift(self, count: int, mean: Float64Array) -> None:
        """Take in `count` samples with their own `mean`, whose scatter about it has been added already."""
        from scipy.linalg.blas import dsyr

        total = self.count + count
        difference = mean - self.mean
        if self.count:
            self.scatter = dsyr(self.count * count / total, difference, a=self.scatter, overwrite_a=1)
        self.mean = self.mean + difference * (count / total)
        self.count = total

    def result(self) -> GaussianStatistics:
        """The statistics so far. Raises `SamplesError` with fewer than 2 samples."""
        if self.count < 2:
            raise SamplesError(f"a covariance needs at least 2 samples, got {self.count}")
        return GaussianStatistics(self.mean.copy(), symmetric(self.scatter) / (self.count - 1), self.count)


def symmetric(upper: Float64Array) -> Float64Array:
    """The symmetric matrix with this upper triangle; there are zeros below its diagonal."""
    full: Float64Array = upper + upper.T
    full[np.diag_indices_from(full)] = np.diagonal(upper)
    return full


def gaussian_statistics(batches: FloatArray | Iterable[FloatArray]) -> GaussianStatistics:
    """Mean and covariance of features (N, D), or of an iterable of batches (n, D) that is read once."""
    if isinstance(batches, np.ndarray):
        return statistics_side_by_side([batches])[0]
    accumulator: StatisticsAccumulator | None = None
    for batch in batches:
        if accumulator is None:
            accumulator = StatisticsAccumulator(batch.shape[1])
        accumulator.update(batch)
    if accumulator is None:
        raise SamplesError("features: is empty; a covariance needs at least 2 samples")
    return accumulator.result()


def statistics_side_by_side(sets: Sequence[FloatArray]) -> list[GaussianStatistics]:
    """The statistics of several sets of features (N, D), cut into parts of which every core takes one at a time."""
    parts = [parts_of(features) for features in sets]
    sums = sum_up([part for of_set in parts for part in of_set])
    totals = [merged(islice(sums, len(of_set))) for of_set in parts]
    return list(map_in_threads(StatisticsAccumulator.result, totals))


# Features and a run of their rows.
Selection = tuple[FloatArray, slice]


def sum_up(selections: Sequence[Selection]) -> Iterator[StatisticsAccumulator]:
    """The sums of each selection, side by side and in order."""

    def of(selection: Selection) -> StatisticsAccumulator:
        features, rows = selection
        return StatisticsAccumulator(features.shape[1]).update(features[rows])

    return map_in_threads(of, selections)


def parts_of(features: FloatArray) -> list[Selection]:
    """Equal runs of rows: as many for any number of cores, so that rounding does not depend on it.

    Raises `SamplesError` for features that are not (N, D).
    """
    if features.ndim != 2:
        raise SamplesError(f"features: got shape {features.shape}, expected (N, D)")
    count = max(1, len(features) // _ROWS_PER_PART)
    edges = [len(features) * i // count for i in range(count + 1)]
    return [(features, slice(start, stop)) for start, stop in pairwise(edges)]


def merged(sums: Iterable[StatisticsAccumulator]) -> StatisticsAccumulator:
    """The sums of everything that `sums`, one or more, have seen. They stay as they are."""
    total: StatisticsAccumulator | None = None
    for part in sums:
        if total is None:
            total = StatisticsAccumulator(part.mean.size)
        total.merge(part)
    if total is None:
        raise ValueError("expected the sums of at least one part")
    return total
