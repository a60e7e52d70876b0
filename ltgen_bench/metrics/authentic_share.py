"""AuthPct: the share of samples that are no nearer to a training image than other training images are.

Alaa et al. 2022, "How Faithful is your Synthetic Data?"; as a percentage in dgm-eval (Stein et al. 2023).
"""

from __future__ import annotations

import numpy as np

from ltgen_bench.metrics.inputs import Float64Array, FloatArray
from ltgen_bench.metrics.memorisation import NearestTraining
from ltgen_bench.metrics.numerics.neighbours import kth_neighbours


def neighbour_distances(training: FloatArray, *, device: str = "cpu") -> Float64Array:
    """The distance of every training row (T, D) to its nearest other one, (T,) float64, exact."""
    distances: Float64Array = np.sqrt(kth_neighbours(training, None, 1, device=device).squared_distances)
    return distances


def authentic_share(nearest: NearestTraining, neighbours: Float64Array) -> float:
    """Share of samples g with d(g, x) > d(x, x'), x the nearest training image of g, x' the nearest other one of x.

    `nearest`: of the samples; `neighbours`: `neighbour_distances` of the training images. A training image that occurs
    twice makes every sample near it authentic, as in the definition.
    """
    return float((nearest.distances > neighbours[nearest.indices]).mean())
