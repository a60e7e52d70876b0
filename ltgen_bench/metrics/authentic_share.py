"""AuthPct: the share of samples that are no nearer to a training image than other training images are.

Alaa et al. 2022, "How Faithful is your Synthetic Data?"; as a percentage in dgm-eval (Stein et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ltgen_bench.metrics.inputs import BoolArray, Float64Array, FloatArray, IntArray
from ltgen_bench.metrics.numerics.distances import distinct_rows
from ltgen_bench.metrics.numerics.neighbours import kth_neighbours


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """How near other training images are to some training images.

    Arguments:
        different: (n,) float64, the distance to the nearest one that differs; infinite where none does.
        repeated: (n,) bool, whether the image occurs more than once.
    """

    different: Float64Array
    repeated: BoolArray

    @property
    def others(self) -> Float64Array:
        """The distance to the nearest other one, (n,): 0 for an image that occurs more than once."""
        return np.where(self.repeated, 0.0, self.different)


def neighbourhoods(training: FloatArray, rows: IntArray | None = None, *, device: str = "cpu") -> Neighbourhoods:
    """Those of the `rows` (n,) of `training` (T, D), of all when None; exact. O(n T D) time."""
    distinct = distinct_rows(training)
    wanted = distinct.index if rows is None else distinct.index[rows]
    used, place = np.unique(wanted, return_inverse=True)
    if len(distinct) < 2:
        squared = np.full(len(used), np.inf)
    elif 2 * len(used) > len(distinct):  # among all of them a pair is looked at once only
        squared = kth_neighbours(distinct.points, None, 1, device=device).squared_distances[used]
    else:  # the nearest one is the image itself
        squared = kth_neighbours(distinct.points[used], distinct.points, 2, device=device).squared_distances
    return Neighbourhoods(np.sqrt(squared)[place], distinct.weights[wanted] > 1)


def authentic_share(distances: Float64Array, neighbours: Float64Array) -> float:
    """Share of samples g with d(g, x) > d(x, x'), x the nearest training image of g, x' the nearest other one of x.

    `distances` (N,) are d(g, x), `neighbours` (N,) are d(x, x') (`Neighbourhoods.others`). A training image that occurs
    twice makes every sample near it authentic, as in the definition.
    """
    return float((distances > neighbours).mean())
