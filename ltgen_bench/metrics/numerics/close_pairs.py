"""Pairs of rows of two sets that lie within given radii of each other, found tile by tile and decided exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.metrics.inputs import Float64Array, FloatArray, IntArray
from ltgen_bench.metrics.numerics.distances import (
    ABSOLUTE_ERROR,
    Frame,
    PreparedRows,
    coarse_pays,
    pair_squared_distances,
    prepare_rows,
    squared_distance_tile,
    tile_size,
)

# From this many undecided pairs in a tile on, a float64 product is cheaper than summing their differences.
_MANY_PAIRS = 20_000
# After so many tiles that bfloat16 could not decide, if they are most of those tried, it is not tried again.
_FAILED_TILES = 8


_Pairs = tuple[IntArray, IntArray, Float64Array]


def pairs_by_tiles(
    x_points: FloatArray, y_points: FloatArray, x_radii: Float64Array, y_radii: Float64Array, device: str
) -> Iterator[_Pairs]:
    """The pairs of x and y points within one of their squared radii, tile by tile: rows, columns, squared distances.

    `x_radii` (N,) or (N, R), one or several of every point, and `y_radii` alike. A distance is exact wherever the
    comparison with any of them could depend on it, and else on the right side. bfloat16 products are used where they
    decide most.
    """
    x_radii, y_radii = x_radii.reshape(len(x_points), -1), y_radii.reshape(len(y_points), -1)
    frame = Frame.around(x_points, y_points)
    coarse = coarse_pays(x_points, y_points, device)
    x, y = (
        prepare_rows(points, frame, device=device, precision="bfloat16" if coarse else "float32")
        for points in (x_points, y_points)
    )
    tile = tile_size(device)
    tried = failed = 0
    for i in range(0, len(x), tile):
        rows = slice(i, min(i + tile, len(x)))
        for j in range(0, len(y), tile):
            columns = slice(j, min(j + tile, len(y)))
            pairs = _close_pairs(x, y, x_radii, y_radii, rows, columns, give_up=coarse)
            tried += 1
            if pairs is None:
                failed += 1
                a, b = (prepare_rows(s.points[part], frame, device=device) for s, part in ((x, rows), (y, columns)))
                pairs = _close_pairs(
                    a, b, x_radii[rows], y_radii[columns], slice(0, len(a)), slice(0, len(b)), give_up=False
                )
                if pairs is None:
                    raise RuntimeError("float32 tiles do not give up")
                pairs = pairs[0] + i, pairs[1] + j, pairs[2]
                if failed > _FAILED_TILES and 2 * failed > tried:
                    coarse = False
                    x, y = (prepare_rows(points, frame, device=device) for points in (x_points, y_points))
            yield pairs


def _close_pairs(
    x: PreparedRows,
    y: PreparedRows,
    x_radii: Float64Array,
    y_radii: Float64Array,
    rows: slice,
    columns: slice,
    *,
    give_up: bool,
) -> _Pairs | None:
    """The pairs of a tile that may lie within one of their two squared radii: rows, columns, squared distances.

    A distance is exact wherever the comparison with either radius could depend on it, and else on the right side.
    None with `give_up` when so many pairs are undecided that a finer product is the cheaper way.
    """
    import torch

    device = x.rows.device
    unit = np.ldexp(1.0, -2 * x.frame.exponent)
    # The tile holds lower bounds, so a plain comparison finds every pair that may be inside.
    error = max(x.error, y.error)
    lower = squared_distance_tile(x, y, rows, columns, shrink=error)
    x_limit, y_limit = (
        torch.from_numpy(np.nextafter((radii * unit + ABSOLUTE_ERROR).astype(np.float32), np.float32(np.inf))).to(
            device
        )
        for radii in (x_radii[rows].max(axis=1), y_radii[columns].max(axis=1))
    )
    maybe = (lower <= x_limit[:, None]).logical_or_(lower <= y_limit[None, :])
    found = torch.nonzero(maybe)
    approximate = lower[found[:, 0], found[:, 1]].double()
    band = error * (x.norms[rows][found[:, 0]].double() + y.norms[columns][found[:, 1]].double())
    row: IntArray = found[:, 0].cpu().numpy() + rows.start
    column: IntArray = found[:, 1].cpu().numpy() + columns.start
    distances = (approximate + band).cpu().numpy() / unit
    bands = (band.cpu().numpy() + ABSOLUTE_ERROR) / unit
    undecided = _undecided(distances, bands, x_radii[row], y_radii[column])
    if len(undecided) > _MANY_PAIRS and give_up:
        return None
    if len(undecided) > _MANY_PAIRS:
        distances[undecided], bands = _float64_distances(x, y, row[undecided], column[undecided])
        still = _undecided(distances[undecided], bands, x_radii[row[undecided]], y_radii[column[undecided]])
        undecided = undecided[still]
    distances[undecided] = pair_squared_distances(x.points, y.points, row[undecided], column[undecided])
    return row, column, distances


def _undecided(distances: Float64Array, band: Float64Array, x_radii: Float64Array, y_radii: Float64Array) -> IntArray:
    """Indices of the pairs whose distance (P,) is within `band` (P,) of one of their squared radii (P, R)."""
    near = np.zeros(len(distances), dtype=bool)
    for radii in (*x_radii.T, *y_radii.T):
        near |= np.abs(distances - radii) <= band
    return np.flatnonzero(near)


def _float64_distances(
    x: PreparedRows, y: PreparedRows, row: IntArray, column: IntArray
) -> tuple[Float64Array, Float64Array]:
    """Squared distances of pairs from a float64 product of the rows and columns that occur, and their error bounds."""
    x_used, x_place = np.unique(row, return_inverse=True)
    y_used, y_place = np.unique(column, return_inverse=True)
    device = str(x.rows.device)
    x64 = prepare_rows(x.points[x_used], x.frame, device=device, precision="float64")
    y64 = prepare_rows(y.points[y_used], x.frame, device=device, precision="float64")
    tile: NDArray[Any] = squared_distance_tile(x64, y64, slice(0, len(x64)), slice(0, len(y64))).cpu().numpy()
    x_norms, y_norms = x64.norms.cpu().numpy(), y64.norms.cpu().numpy()
    unit = np.ldexp(1.0, -2 * x.frame.exponent)
    return tile[x_place, y_place] / unit, (x64.error * (x_norms[x_place] + y_norms[y_place]) + ABSOLUTE_ERROR) / unit
