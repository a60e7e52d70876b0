"""Nearest neighbours and pair decisions that equal those of float64 distances, without an N x N matrix.

Almost every decision is safe from float32 inner products of centred rows, and most of those already from bfloat16
ones, which some processors multiply twice as fast. The error of such a squared distance is bounded by a band
proportional to |x|^2 + |y|^2; only pairs whose decision could flip within it are computed again: where there are many
of them with inner products of the next higher precision, and what is then still open as the float64 sum of
(x_i - y_i)^2, which is the definition that everything here is exact with respect to. Collapsed generators, whose
near-copies make float32 distances wrong, cost time that way but never digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.inputs import Float64Array, FloatArray, IntArray
from ltgen_bench.metrics.numerics.distances import (
    ABSOLUTE_ERROR,
    DistinctRows,
    Frame,
    PreparedRows,
    RowPrecision,
    check_metrics_device,
    coarse_pays,
    exact_float32,
    pair_squared_distances,
    prepare_rows,
    squared_distance_tile,
    tile_size,
)

if TYPE_CHECKING:
    import torch

# Neighbours kept beyond k, so that rounding seldom pushes a true neighbour off the list; of bfloat16 three times k
# where that is more, since a row that stays open costs a finer product and a longer list almost nothing.
_SPARE = {"bfloat16": 12, "float32": 4, "float64": 4}
# It is tried on so many rows first, and left out when more than this share of them stays open.
_TRIAL_ROWS = 256
_TRIAL_SHARE = 0.3


class SmallestSoFar:
    """The `keep` smallest values and their column numbers of every row, from tiles in any order."""

    def __init__(self, count: int, keep: int, like: torch.Tensor) -> None:
        import torch

        self.values = torch.full((count, keep), float("inf"), dtype=like.dtype, device=like.device)
        self.indices = torch.zeros((count, keep), dtype=torch.int64, device=like.device)

    def add(self, rows: slice, tile: torch.Tensor, first_column: int) -> None:
        """Take in a tile (rows, columns) whose first column has the number `first_column`."""
        import torch

        keep = self.values.shape[1]
        values, indices = torch.topk(tile, min(keep, tile.shape[1]), dim=1, largest=False)
        values = torch.cat([self.values[rows], values], dim=1)
        indices = torch.cat([self.indices[rows], indices + first_column], dim=1)
        best, where = torch.topk(values, keep, dim=1, largest=False)
        self.values[rows] = best
        self.indices[rows] = torch.gather(indices, 1, where)

    def as_numpy(self) -> tuple[NDArray[Any], IntArray]:
        """Values and column numbers (count, keep), ascending along a row."""
        import torch

        values, order = torch.sort(self.values, dim=1)
        return values.double().cpu().numpy(), torch.gather(self.indices, 1, order).cpu().numpy()


def _smallest_within(x: PreparedRows, keep: int, tile: int) -> tuple[NDArray[Any], IntArray]:
    """Lower bounds of the squared distances to other rows of `x`, the `keep` smallest of every row.

    Each pair of tiles is multiplied once.
    """
    smallest = SmallestSoFar(len(x), keep, x.norms)
    for i in range(0, len(x), tile):
        rows = slice(i, min(i + tile, len(x)))
        for j in range(i, len(x), tile):
            columns = slice(j, min(j + tile, len(x)))
            distances = squared_distance_tile(x, x, rows, columns, shrink=x.error)
            if i == j:
                distances.fill_diagonal_(float("inf"))
            else:
                smallest.add(columns, distances.T.contiguous(), i)
            smallest.add(rows, distances, j)
    return smallest.as_numpy()


def _smallest_between(
    x: PreparedRows, x_rows: IntArray | None, y: PreparedRows, keep: int, tile: int, *, skip_self: bool
) -> tuple[NDArray[Any], IntArray]:
    """The same for the distances to the rows of `y` from the rows `x_rows` of `x` (all when None)."""
    import torch

    if x_rows is not None:
        chosen = torch.from_numpy(x_rows).to(x.rows.device)
        x = PreparedRows(x.points[x_rows], x.rows[chosen], x.norms[chosen], x.frame, x.error)
    own = np.arange(len(x)) if x_rows is None else x_rows
    smallest = SmallestSoFar(len(x), keep, x.norms)
    for i in range(0, len(x), tile):
        rows = slice(i, min(i + tile, len(x)))
        for j in range(0, len(y), tile):
            columns = slice(j, min(j + tile, len(y)))
            distances = squared_distance_tile(x, y, rows, columns, shrink=max(x.error, y.error))
            if skip_self:
                hit = np.flatnonzero((own[rows] >= columns.start) & (own[rows] < columns.stop))
                distances[torch.from_numpy(hit), torch.from_numpy(own[rows][hit] - j)] = float("inf")
            smallest.add(rows, distances, j)
    return smallest.as_numpy()


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Float64 squared distances and the row numbers they belong to: (N, k) nearest first, or (N,) of the k-th."""

    squared_distances: Float64Array
    indices: IntArray


def kth_neighbours(x: FloatArray, y: FloatArray | None, k: int, *, device: str = "cpu") -> Neighbours:
    """The last column of `nearest_neighbours`."""
    found = nearest_neighbours(x, y, k, device=device)
    return Neighbours(found.squared_distances[:, -1], found.indices[:, -1])


def nearest_neighbours(x: FloatArray, y: FloatArray | None, k: int, *, device: str = "cpu") -> Neighbours:
    """The k nearest rows of y (M, D) of every row of x (N, D); with y None, of the other rows of x.

    Exact: equal to sorting float64 squared distances; among equal distances the lower row number goes first.
    O(N M D) time, O(tile^2) memory besides one centred float32 copy of the inputs. Needs k rows to choose from
    (`SamplesError`).
    """
    check_metrics_device(device)
    within = y is None
    database = x if y is None else y
    others = len(database) - within
    if others < k:
        raise SamplesError(f"the {k} nearest neighbours need at least {k + within} samples, got {len(database)}")
    if x.shape[1] != database.shape[1]:
        raise SamplesError(f"features: {x.shape[1]} columns against {database.shape[1]}; both need the same extractor")
    frame = Frame.around(database, x)
    result = Neighbours(np.full((len(x), k), np.nan), np.zeros((len(x), k), dtype=np.int64))
    open_rows: IntArray = np.arange(len(x))
    with exact_float32():
        for precision in _precisions(coarse_pays(x, database, device)):
            keep = min(k + max(_SPARE[precision], 3 * k if precision == "bfloat16" else 0), others)
            prepared = prepare_rows(database, frame, device=device, precision=precision)
            queries = prepared if within else prepare_rows(x, frame, device=device, precision=precision)
            tile = tile_size(device)
            if precision == "bfloat16":
                trial = np.linspace(0, len(x) - 1, _TRIAL_ROWS).astype(np.int64)
                bounds, indices = _smallest_between(queries, trial, prepared, keep, tile, skip_self=within)
                still = _settle(result, queries, prepared, trial, bounds, indices, k, all_kept=keep == others)
                if len(still) > _TRIAL_SHARE * len(trial):
                    continue
            if within and 2 * len(open_rows) > len(x) and precision != "float64":
                bounds, indices = _smallest_within(prepared, keep, tile)
                bounds, indices = bounds[open_rows], indices[open_rows]
            else:
                bounds, indices = _smallest_between(queries, open_rows, prepared, keep, tile, skip_self=within)
            open_rows = _settle(result, queries, prepared, open_rows, bounds, indices, k, all_kept=keep == others)
            if not len(open_rows):
                return result
    for row in open_rows:  # near-copies that even float64 products cannot tell apart
        columns = np.delete(np.arange(len(database)), row) if within else np.arange(len(database))
        distances = pair_squared_distances(x, database, np.full(len(columns), row), columns)
        chosen = np.lexsort((columns, distances))[:k]
        result.squared_distances[row], result.indices[row] = distances[chosen], columns[chosen]
    return result


def point_neighbours(x: FloatArray, distinct: DistinctRows, k: int, *, device: str = "cpu") -> Neighbours:
    """The k nearest other rows of x (N, D) of every one of its distinct points, (U, k), named by their points' numbers.

    Of a point that occurs often only k + 1 copies take part, which leaves every distance as it is.
    """
    if len(distinct) == len(x):
        return nearest_neighbours(x, None, k, device=device)
    order = np.argsort(distinct.index, kind="stable")
    first = np.cumsum(distinct.weights) - distinct.weights
    copy_number = np.arange(len(x)) - np.repeat(first, distinct.weights)
    kept = order[copy_number <= k]
    found = nearest_neighbours(x[kept], None, k, device=device)
    of_point = np.empty(len(distinct), dtype=np.int64)
    of_point[distinct.index[kept]] = np.arange(len(kept))
    return Neighbours(found.squared_distances[of_point], distinct.index[kept[found.indices[of_point]]])


def _precisions(coarse: bool) -> tuple[RowPrecision, ...]:
    return ("bfloat16", "float32", "float64") if coarse else ("float32", "float64")


def _settle(
    result: Neighbours,
    x: PreparedRows,
    y: PreparedRows,
    rows: IntArray,
    bounds: NDArray[Any],
    indices: IntArray,
    k: int,
    *,
    all_kept: bool,
) -> IntArray:
    """Fill in the rows whose k neighbours the kept candidates decide; returns the others.

    `bounds` (R, keep): lower bounds of the candidates' squared distances, ascending.
    """
    x_norms, y_norms = x.norms.double().cpu().numpy(), y.norms.double().cpu().numpy()
    error = max(x.error, y.error)
    low = bounds - ABSOLUTE_ERROR
    high = bounds + 2 * error * (x_norms[rows][:, None] + y_norms[indices]) + ABSOLUTE_ERROR
    kth_high = np.partition(high, k - 1, axis=1)[:, k - 1]
    # A row that is not on the list is at least as far away as the last bound on it.
    decided = np.full(len(rows), all_kept) | (low[:, -1] > kth_high)
    candidate = (low <= kth_high[:, None]) & decided[:, None]
    where, slot = np.nonzero(candidate)
    distances = pair_squared_distances(x.points, y.points, rows[where], indices[where, slot])
    order = np.lexsort((indices[where, slot], distances, where))
    starts = np.searchsorted(where, np.flatnonzero(decided))  # `where` is ascending
    chosen = order[starts[:, None] + np.arange(k)]
    result.squared_distances[rows[decided]] = distances[chosen]
    result.indices[rows[decided]] = indices[where[chosen], slot[chosen]]
    return np.asarray(rows[~decided])
