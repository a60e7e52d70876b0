"""Nearest neighbours and pair decisions that equal those of float64 distances, without an N x N matrix.

Almost every decision is safe from float32 inner products of centred rows, and most of those already from bfloat16
ones, which some processors multiply twice as fast. The error of such a squared distance is bounded by a band
proportional to |x|^2 + |y|^2; only pairs whose decision could flip within it are computed again: where there are many
of them with inner products of the next higher precision, and what is then still open as the float64 sum of
(x_i - y_i)^2, which is the definition that everything here is exact with respect to. Collapsed generators, whose
near-copies make float32 distances wrong, cost time that way but never digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.errors import DeviceError, SamplesError
from ltgen_bench.metrics.inputs import Float64Array, FloatArray, IntArray

if TYPE_CHECKING:
    import torch

# A tile is this many rows of one set against as many of the other.
_TILE = {"cpu": 1024, "cuda": 8192}
# Neighbours kept beyond k, so that rounding seldom pushes a true neighbour off the list.
_SPARE = {"bfloat16": 12, "float32": 4, "float64": 4}
# bfloat16 pays from this many rows and columns on.
_COARSE_ROWS = 1024
_COARSE_COLUMNS = 64
# It is tried on so many rows first, and left out when more than this share of them stays open.
_TRIAL_ROWS = 256
_TRIAL_SHARE = 0.3
# Values held at once while differences are summed: 16 MB, which stays in the cache of most processors.
_DIFFERENCE_VALUES = 1 << 21
# Part of every error bound, in the frame's unit: squares below float32's range vanish.
ABSOLUTE_ERROR = 1e-30


def pair_squared_distances(x: FloatArray, y: FloatArray, rows: IntArray, columns: IntArray) -> Float64Array:
    """|x[rows[i]] - y[columns[i]]|^2 in float64, (P,), from the sum of squared differences.

    A pair's value does not depend on which pairs are computed with it, nor on their order, so ties stay ties.
    """
    distances = np.empty(len(rows))
    step = max(1, _DIFFERENCE_VALUES // x.shape[1])

    def fill(start: int) -> None:
        part = slice(start, start + step)
        difference: Float64Array = x[rows[part]].astype(np.float64)
        difference -= y[columns[part]]
        np.multiply(difference, difference, out=difference)
        difference.sum(axis=1, out=distances[part])

    starts = range(0, len(rows), step)
    if len(starts) < 2:
        for start in starts:
            fill(start)
    else:
        import torch

        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            list(threads.map(fill, starts))
    return distances


@dataclass(frozen=True, eq=False)
class DistinctRows:
    """The different rows of an array: `points` (U, D), how often each occurs (`weights`, (U,)), and for every row of
    the array which of the points it is (`index`, (N,))."""

    points: FloatArray
    weights: IntArray
    index: IntArray
    first: IntArray

    def __len__(self) -> int:
        return len(self.points)


def distinct_rows(x: FloatArray) -> DistinctRows:
    """The different rows of x (N, D), in order of first occurrence; x itself, uncopied, when all of them differ."""
    # Equal rows have equal sums; bytes are compared only where sums agree.
    sums = x.sum(axis=1, dtype=np.float64)
    _, group, group_size = np.unique(sums, return_inverse=True, return_counts=True)
    index = np.arange(len(x))
    seen: dict[bytes, int] = {}
    for row in np.flatnonzero(group_size[group] > 1):
        index[row] = seen.setdefault((x[row] + 0.0).tobytes(), int(row))  # + 0.0 turns -0.0 into 0.0
    first, inverse, weights = np.unique(index, return_inverse=True, return_counts=True)
    points = x if len(first) == len(x) else x[first]
    return DistinctRows(points, weights.astype(np.int64), inverse.astype(np.int64), first.astype(np.int64))


@contextmanager
def full_precision() -> Iterator[None]:
    """Inner products in true float32: TF32 or bfloat16 products, which a training run may have switched on, would
    break the error bound. The setting found is put back."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def check_device(device: str) -> None:
    """Raises `DeviceError` when `device` ("cpu", "cuda", "cuda:1") is not there."""
    import torch

    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise DeviceError(f"device {device!r} is not available here; use 'cpu'")


@dataclass(frozen=True, eq=False)
class Frame:
    """A common shift and a power of two that bring two sets near 1, so that float32 neither overflows nor loses an
    offset. Neither changes which distance is the larger."""

    centre: Float64Array
    exponent: int

    @classmethod
    def around(cls, *sets: FloatArray) -> Frame:
        """The frame centred on the mean of the first set that covers all `sets`."""
        centre: Float64Array = sets[0].mean(axis=0, dtype=np.float64)
        ends = [end for values in sets for end in (values.max(axis=0), values.min(axis=0))]
        if not np.isfinite(centre).all() or max(float(np.abs(end).max()) for end in ends) > 1e150:
            raise SamplesError("features: values beyond 1e150; their squared distances overflow float64")
        largest = max(float(np.abs(end - centre).max()) for end in ends)
        return cls(centre, int(np.frexp(largest)[1]) if largest > 0 else 0)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows in a frame: `points` (N, D) as given, `rows` (N, D) as a device tensor of bfloat16, float32 or float64,
    their squared `norms` (N,) in float32 or float64, and the relative error bound of a squared distance: it is wrong by
    at most `error` (|x|^2 + |y|^2)."""

    points: FloatArray
    rows: torch.Tensor
    norms: torch.Tensor
    frame: Frame
    error: float

    def __len__(self) -> int:
        return len(self.points)


Precision = Literal["bfloat16", "float32", "float64"]


def prepare(points: FloatArray, frame: Frame, *, device: str, precision: Precision = "float32") -> Prepared:
    """`points` (N, D) shifted and scaled by `frame`, rounded to `precision`, on `device`."""
    import torch

    dtype = torch.float64 if precision == "float64" else torch.float32
    rows = torch.empty(points.shape, dtype=getattr(torch, precision))
    norms = np.empty(len(points))
    rounding = 0.0  # the largest |x - rounded x| / |x|
    centre = torch.from_numpy(frame.centre)
    for start in range(0, len(points), 2048):
        part = slice(start, start + 2048)
        block = torch.from_numpy(points[part].astype(np.float64)).sub_(centre).mul_(2.0**-frame.exponent).to(dtype)
        norms[part] = np.einsum("ij,ij->i", block.numpy(), block.numpy(), dtype=np.float64)
        rows[part] = block
        if precision == "bfloat16":
            block -= rows[part]
            lost = np.einsum("ij,ij->i", block.numpy(), block.numpy(), dtype=np.float64)
            share = np.divide(lost, norms[part], out=np.zeros(len(lost)), where=norms[part] > 0)
            rounding = max(rounding, float(np.sqrt(share.max())))
    # 16 eps (|x|^2 + |y|^2) covers the rounding of products of a few hundred terms; longer sums accumulate like a
    # random walk. The rounding of the centred rows themselves is part of it.
    error = torch.finfo(dtype).eps * max(16.0, float(np.sqrt(points.shape[1])))
    if precision == "bfloat16":
        # |x.y - x'.y'| <= |x - x'| |y| + |x'| |y - y'| by Cauchy and Schwarz; the product, summed up in float32, is
        # rounded to bfloat16 once at the end; and 2 |x| |y| <= |x|^2 + |y|^2.
        error = 2 * error + 1.01 * (2 * rounding + rounding**2) + 2.0**-9 * (1 + rounding) ** 2
    return Prepared(points, rows.to(device), torch.from_numpy(norms).to(dtype).to(device), frame, error)


def coarse_pays(x: FloatArray, y: FloatArray, device: str) -> bool:
    """Whether bfloat16 products come first: on processors that have them, for sets that are not small.

    Not on CUDA, where partial sums may be rounded to bfloat16, which the error bound does not allow for.
    """
    if device != "cpu" or min(len(x), len(y)) < _COARSE_ROWS or x.shape[1] < _COARSE_COLUMNS:
        return False
    import torch

    supported = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")]
    one_dnn: Any = torch.backends.mkldnn
    return bool(one_dnn.is_available()) and any(has is not None and has() for has in supported)


def tile_size(device: str) -> int:
    """Rows of a tile on `device`."""
    return _TILE["cpu" if device == "cpu" else "cuda"]


def squared_distance_tile(x: Prepared, y: Prepared, rows: slice, columns: slice, shrink: float = 0.0) -> torch.Tensor:
    """Approximate squared distances (rows, columns) in the frame's unit, minus `shrink` (|x|^2 + |y|^2)."""
    import torch

    a, b = x.rows[rows], y.rows[columns]
    column_norms = y.norms[columns][None, :] * (1 - shrink)
    if a.dtype == torch.bfloat16:
        tile = torch.mm(a, b.T).float()
        torch.add(column_norms, tile, alpha=-2, out=tile)
    elif a.device.type == "cpu":
        # NumPy's product is faster than torch's on processors without MKL's preferred instructions, and halves the
        # work of a tile on the diagonal, where both factors are the same memory.
        tile = torch.from_numpy(np.matmul(a.numpy(), b.numpy().T))
        torch.add(column_norms, tile, alpha=-2, out=tile)
    else:
        tile = torch.addmm(column_norms, a, b.T, alpha=-2)
    return tile.add_(x.norms[rows][:, None] * (1 - shrink))


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


def _smallest_within(x: Prepared, keep: int, tile: int) -> tuple[NDArray[Any], IntArray]:
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
    x: Prepared, x_rows: IntArray | None, y: Prepared, keep: int, tile: int, *, skip_self: bool
) -> tuple[NDArray[Any], IntArray]:
    """The same for the distances to the rows of `y` from the rows `x_rows` of `x` (all when None)."""
    import torch

    if x_rows is not None:
        chosen = torch.from_numpy(x_rows).to(x.rows.device)
        x = Prepared(x.points[x_rows], x.rows[chosen], x.norms[chosen], x.frame, x.error)
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
    """The k-th smallest float64 squared distance (N,) of every row and the row number (N,) it belongs to."""

    squared_distances: Float64Array
    indices: IntArray


def kth_neighbours(x: FloatArray, y: FloatArray | None, k: int, *, device: str = "cpu") -> Neighbours:
    """The k-th nearest row of y (M, D) of every row of x (N, D); with y None, of the other rows of x.

    Exact: equal to sorting float64 squared distances; among equal distances the lowest row number is reported.
    O(N M D) time, O(tile^2) memory besides one centred float32 copy of the inputs. Needs more than k rows to choose
    from (`SamplesError`).
    """
    check_device(device)
    within = y is None
    database = x if y is None else y
    others = len(database) - within
    if others < k:
        raise SamplesError(f"the {k} nearest neighbours need at least {k + within} samples, got {len(database)}")
    if x.shape[1] != database.shape[1]:
        raise SamplesError(f"features: {x.shape[1]} columns against {database.shape[1]}; both need the same extractor")
    frame = Frame.around(database, x)
    result = Neighbours(np.full(len(x), np.nan), np.zeros(len(x), dtype=np.int64))
    open_rows: IntArray = np.arange(len(x))
    with full_precision():
        for precision in _precisions(coarse_pays(x, database, device)):
            keep = min(k + _SPARE[precision], others)
            prepared = prepare(database, frame, device=device, precision=precision)
            queries = prepared if within else prepare(x, frame, device=device, precision=precision)
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
        chosen = np.lexsort((columns, distances))[k - 1]
        result.squared_distances[row], result.indices[row] = distances[chosen], columns[chosen]
    return result


def _precisions(coarse: bool) -> tuple[Precision, ...]:
    return ("bfloat16", "float32", "float64") if coarse else ("float32", "float64")


def _settle(
    result: Neighbours,
    x: Prepared,
    y: Prepared,
    rows: IntArray,
    bounds: NDArray[Any],
    indices: IntArray,
    k: int,
    *,
    all_kept: bool,
) -> IntArray:
    """Fill in the rows whose k-th neighbour the kept candidates decide; returns the others.

    `bounds` (R, keep): lower bounds of the candidates' squared distances, ascending.
    """
    x_norms, y_norms = x.norms.double().cpu().numpy(), y.norms.double().cpu().numpy()
    error = max(x.error, y.error)
    low = bounds - ABSOLUTE_ERROR
    high = bounds + 2 * error * (x_norms[rows][:, None] + y_norms[indices]) + ABSOLUTE_ERROR
    kth_low = np.partition(low, k - 1, axis=1)[:, k - 1]
    kth_high = np.partition(high, k - 1, axis=1)[:, k - 1]
    # A row that is not on the list is at least as far away as the last bound on it.
    decided = np.full(len(rows), all_kept) | (low[:, -1] > kth_high)
    below = high < kth_low[:, None]
    candidate = (low <= kth_high[:, None]) & ~below & decided[:, None]
    where, slot = np.nonzero(candidate)
    distances = pair_squared_distances(x.points, y.points, rows[where], indices[where, slot])
    order = np.lexsort((indices[where, slot], distances, where))
    starts = np.searchsorted(where, np.flatnonzero(decided))  # `where` is ascending
    chosen = order[starts + (k - 1 - below.sum(axis=1)[decided])]
    result.squared_distances[rows[decided]] = distances[chosen]
    result.indices[rows[decided]] = indices[where[chosen], slot[chosen]]
    return np.asarray(rows[~decided])
