"""Distances between rows of features: tiles of squared Euclidean distances, exact where it matters."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.inputs import Float64Array, FloatArray, IntArray

if TYPE_CHECKING:
    import torch

# A tile is this many rows of one set against as many of the other.
_TILE = {"cpu": 1024, "cuda": 8192}

# bfloat16 pays from this many rows and columns on.
_COARSE_ROWS = 1024

_COARSE_COLUMNS = 64

# Values held at once while differences are summed: 16 MB, which stays in the cache of most processors.
_DIFFERENCE_VALUES = 1 << 21

# Part of every error bound, in the frame's unit: squares below float32's range vanish.
ABSOLUTE_ERROR = 1e-30

RowPrecision = Literal["bfloat16", "float32", "float64"]


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
def exact_float32() -> Iterator[None]:
    """Inner products in true float32: TF32 or bfloat16 products, which a training run may have switched on, would
    break the error bound. The previous setting is restored."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def check_metrics_device(device: str) -> None:
    """Raises `DeviceError` when `device` ("cpu", "cuda", "cuda:1") is not there, or has no float64."""
    if device != "cpu":  # so that metrics on the CPU do not wait for PyTorch to be imported
        from ltgen_bench.core.devices import resolve_device

        resolve_device(device, what="device", kinds=("cpu", "cuda"))


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
class PreparedRows:
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


def prepare_rows(points: FloatArray, frame: Frame, *, device: str, precision: RowPrecision = "float32") -> PreparedRows:
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
    return PreparedRows(points, rows.to(device), torch.from_numpy(norms).to(dtype).to(device), frame, error)


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


def squared_distance_tile(
    x: PreparedRows, y: PreparedRows, rows: slice, columns: slice, shrink: float = 0.0
) -> torch.Tensor:
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
