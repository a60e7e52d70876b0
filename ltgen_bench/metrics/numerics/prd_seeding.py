"""Where the k-means of PRD starts: greedy k-means++ from a random subset, in bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.metrics.inputs import FloatArray, IntArray

Float32Array = NDArray[np.float32]

# Of the subset, for up to as many clusters.
_SUBSET_ROWS = 3 * 1024
# Up to so many points all their distances stand in memory at once: 38 MB.
_ROWS_AT_ONCE = 3 * 1024
# Values of distance rows that are computed together for pruning: 34 MB.
_VALUES_PER_BLOCK = 1 << 23
# Pairs of points whose distances are kept after pruning: 268 MB.
_MOST_PAIRS = 1 << 25


def seed_centres(points: FloatArray, cluster_count: int, generator: np.random.Generator) -> FloatArray:
    """Greedy k-means++ centres (K, D) (Arthur and Vassilvitskii 2007) from a random subset of `points`.

    What scikit-learn does for mini-batches, whose subset has 3,072 rows (or 3 K where K is larger): 2 + log K
    candidates a step, drawn in proportion to the squared distance to the nearest centre; the one that lowers the
    sum most is kept.
    """
    size = _SUBSET_ROWS if cluster_count <= _SUBSET_ROWS else 3 * cluster_count
    rows = np.sort(generator.choice(len(points), min(size, len(points)), replace=False))
    subset = points[rows]
    distances = _SquaredDistances(subset)
    trials = 2 + int(np.log(cluster_count))
    chosen = [int(generator.integers(len(subset)))]
    nearest = distances.rows(np.array(chosen))[0]
    # With t centres about n / t points are nearer to a point than its centre is; four times as many may be.
    prune_at = 4 * len(subset) ** 2 // _MOST_PAIRS + 1
    for step in range(1, cluster_count):
        if step == prune_at and not distances.keep_below(nearest):
            prune_at *= 2
        cumulative = np.cumsum(nearest, dtype=np.float64)
        drawn = np.searchsorted(cumulative, generator.random(trials) * cumulative[-1])
        drawn = np.minimum(drawn, len(subset) - 1)
        candidates = np.minimum(distances.rows(drawn), nearest)
        best = int(candidates.sum(axis=1, dtype=np.float64).argmin())
        chosen.append(int(drawn[best]))
        nearest = candidates[best]
    return np.asarray(subset[chosen])


class _SquaredDistances:
    """Squared distances between `points` (n, D), by rows (n,): all at once for few points, else when asked for.

    Computing them again at every step takes many times as long as once. `keep_below` does it once for all further
    steps and keeps only what can still matter, a small part of n^2 as soon as there are centres near all points.
    """

    def __init__(self, points: FloatArray) -> None:
        self._points = points
        self._norms = np.einsum("ij,ij->i", points, points)
        self._all = self._computed(slice(None)) if len(points) <= _ROWS_AT_ONCE else None
        self._kept: list[tuple[IntArray, Float32Array]] = []

    def rows(self, which: IntArray) -> FloatArray:
        """(len(which), n); infinite where `keep_below` found a distance that cannot matter."""
        if self._all is not None:
            return self._all[which]
        if not self._kept:
            return self._computed(which)
        found = np.full((len(which), len(self._points)), np.inf, dtype=np.float32)
        for row, point in zip(found, which, strict=True):
            columns, values = self._kept[point]
            row[columns] = values
        return found

    def keep_below(self, nearest: FloatArray) -> bool:
        """Keep the distances of point i to point j below `nearest`[j] (n,) for good, which from now on may only fall.

        False, with nothing kept, where those are more than `_MOST_PAIRS`: in dense clusters without centres.
        """
        if self._all is not None:
            return True
        kept: list[tuple[IntArray, Float32Array]] = []
        pairs = 0
        step = max(1, _VALUES_PER_BLOCK // len(self._points))
        for start in range(0, len(self._points), step):
            for row in self._computed(slice(start, start + step)):
                columns = np.flatnonzero(row < nearest)
                pairs += len(columns)
                if pairs > _MOST_PAIRS:
                    return False
                kept.append((columns.astype(np.int32), row[columns]))
        self._kept = kept
        return True

    def _computed(self, which: slice | IntArray) -> FloatArray:
        squared = self._points[which] @ self._points.T
        squared *= -2
        squared += self._norms[which, None]
        squared += self._norms[None, :]
        return np.maximum(squared, 0, out=squared)
