"""How far a Fréchet distance moves when the same model is sampled again.

With more samples than dimensions: the variance of the distance's influence function, x -> (x - m)^T G (x - m) +
2 (m - m_ref)^T (x - m), with G the gradient of the distance with respect to the covariance. It also counts, twice, what
the distance owes to the noise of mean and covariance themselves; that of the mean is taken off once. With fewer samples
the distance is not smooth: then a delete-a-group jackknife of exact distances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ltgen_bench.metrics.frechet import frechet_distances_without
from ltgen_bench.metrics.inputs import Float64Array, FloatArray, IntArray
from ltgen_bench.metrics.numerics.content_order import content_order, deal
from ltgen_bench.metrics.numerics.statistics import GaussianStatistics
from ltgen_bench.metrics.uncertainty import StandardError, error_of_mean, residuals

MOST_INFLUENCES = 4096  # a standard deviation from so many is known within 1 %
FID_GROUPS = 10


def influence_error(
    features: FloatArray,
    statistics: GaussianStatistics,
    reference_mean: Float64Array,
    gradient: Float64Array,
    strata: IntArray | None,
) -> StandardError:
    """The standard error of the distance of `features` (N, D), whose `statistics` and `gradient` (D, D) are known."""
    count = len(features)
    rows = np.arange(count) if count <= MOST_INFLUENCES else np.sort(content_order(features)[:MOST_INFLUENCES])
    centred = features[rows].astype(np.float64) - statistics.mean
    influence = np.einsum("ij,ij->i", centred @ gradient, centred)
    influence += 2 * centred @ (statistics.mean - reference_mean)
    error = error_of_mean(influence, None if strata is None else strata[rows], count)
    rest, dof = residuals(centred, None if strata is None else strata[rows])
    twice = 2 * float(np.square(rest.T @ rest / dof).sum()) / count**2
    variance = max(error.value**2 - twice, error.value**2 / 2)
    return StandardError(math.sqrt(variance), "influence function of the distance", error.dof)


def jackknife_error(values: Sequence[float]) -> StandardError:
    """The standard error from the numbers without each of some equal groups of samples (Shao and Tu 1995, 2.3)."""
    numbers = np.asarray(values)
    groups = len(numbers)
    variance = (groups - 1) / groups * float(np.square(numbers - numbers.mean()).sum())
    return StandardError(math.sqrt(variance), f"delete-a-group jackknife, {groups} groups", groups - 1)


def gram_error(features: FloatArray, reference: FloatArray, strata: IntArray | None) -> StandardError | None:
    """The jackknife error of `frechet_distance_gram` of `features` (n, D) and `reference` (m, D); None for few rows."""
    if len(features) < 2 * FID_GROUPS:
        return None
    return jackknife_error(frechet_distances_without(features, reference, deal(features, strata, FID_GROUPS)))
