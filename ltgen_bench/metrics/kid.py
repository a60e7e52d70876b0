"""Kernel Inception Distance: the unbiased squared maximum mean discrepancy (Bińkowski et al. 2018, Section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.inputs import Float64Array, FloatArray, IntArray
from ltgen_bench.metrics.numerics.content_order import content_order
from ltgen_bench.metrics.uncertainty import StandardError, residuals

_ROWS_PER_BLOCK = 2048
# Sets that span more than this are multiplied in float64, because float32 products could overflow.
_LARGEST_SINGLE = 1e15


def squared_mmd(x: FloatArray, y: FloatArray) -> float:
    """The unbiased squared MMD of x (n, D) and y (m, D) with the kernel (x.y / D + 1)^3.

    Inner products are those of centred rows, whose shift is undone in float64: in float32 when both sets are
    float32, and summed up in float64. An inner product is then wrong by some 1e-7 |u| |v| for centred u and v, in
    either direction, which leaves the mean over n m pairs within 1e-6 of itself for a squared MMD that can be told
    from 0 (tested against float64: within 1e-10 of a mean kernel of order 1). float64 inputs stay float64.
    Unbiased, so the value may be negative. Blocked: no n x m array. Raises `SamplesError` for fewer than two rows
    or for different D.
    """
    if x.shape[1] != y.shape[1]:
        raise SamplesError(f"features: {x.shape[1]} columns against {y.shape[1]}; both sets need the same extractor")
    if min(len(x), len(y)) < 2:
        raise SamplesError(f"KID needs at least 2 samples in each set, got {len(x)} and {len(y)}")
    single = x.dtype == y.dtype == np.float32 and max(np.ptp(x), np.ptp(y)) < _LARGEST_SINGLE
    centre = y.mean(axis=0, dtype=np.float64) if single else np.zeros(x.shape[1])
    a, b = (_centred(values, centre, np.float32 if single else np.float64) for values in (x, y))
    within_x = _kernel_sum(a, a) / (len(x) * (len(x) - 1))
    within_y = _kernel_sum(b, b) / (len(y) * (len(y) - 1))
    return within_x + within_y - 2 * _kernel_sum(a, b) / (len(x) * len(y))


@dataclass(frozen=True, eq=False)
class _Centred:
    """x = c + u: the rows `u` (n, D), and c.u + |c|^2 / 2 (n,), so that x.y is u.v plus the two numbers of x and y."""

    rows: FloatArray
    shifts: Float64Array


def _centred(values: FloatArray, centre: Float64Array, dtype: Any) -> _Centred:
    rows = np.empty(values.shape, dtype=dtype)
    shifts = np.empty(len(values))
    for start in range(0, len(values), _ROWS_PER_BLOCK):
        part = slice(start, start + _ROWS_PER_BLOCK)
        block = values[part] - centre
        rows[part] = block
        shifts[part] = block @ centre
    return _Centred(rows, shifts + centre @ centre / 2)


def _kernel_sum(x: _Centred, y: _Centred) -> float:
    """The sum of the kernel over all pairs; over ordered pairs of different rows where `x` is `y`.

    Then half of the tiles do, because the kernel is symmetric.
    """
    total = 0.0
    dimension = x.rows.shape[1]
    buffers = np.empty((2, min(_ROWS_PER_BLOCK, len(x.rows)) * min(_ROWS_PER_BLOCK, len(y.rows))))
    for start in range(0, len(x.rows), _ROWS_PER_BLOCK):
        rows = slice(start, start + _ROWS_PER_BLOCK)
        for other in range(start if x is y else 0, len(y.rows), _ROWS_PER_BLOCK):
            columns = slice(other, other + _ROWS_PER_BLOCK)
            products = x.rows[rows] @ y.rows[columns].T
            kernel, square = (buffer[: products.size].reshape(products.shape) for buffer in buffers)
            np.add(products, y.shifts[columns][None, :] + dimension, out=kernel)
            kernel += x.shifts[rows][:, None]  # (k D), cubed below
            if x is y and start == other:
                np.fill_diagonal(kernel, 0)
            # np.power is many times slower than two products.
            tile = float(np.vdot(np.multiply(kernel, kernel, out=square), kernel))
            total += tile if x is not y or start == other else 2 * tile
    return float(total / dimension**3)


def kid(
    x: FloatArray, y: FloatArray, *, subset_size: int, subsets: int, seed: int, by_content: bool = False
) -> tuple[float, float | None]:
    """KID: mean and standard deviation (n denominator) of the squared MMD over random subsets of both sets.

    `by_content` draws the subsets from the rows in `content_order`, so that the order of a file does not matter.
    x (n, D), y (m, D); `subsets` draws of min(`subset_size`, n, m) rows without replacement. The deviation is that of
    one subset, not of the mean; None where there is one subset only. Raises `SamplesError` as `squared_mmd`.
    """
    size = min(subset_size, len(x), len(y))
    if by_content:
        x, y = x[content_order(x)], y[content_order(y)]
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        rows_x = generator.choice(len(x), size, replace=False)
        rows_y = generator.choice(len(y), size, replace=False)
        values.append(squared_mmd(x[rows_x], y[rows_y]))
        if size == len(x) == len(y):
            break  # every further draw would be the same set
    return float(np.mean(values)), float(np.std(values)) if len(values) > 1 else None


def kid_error(
    x: FloatArray, y: FloatArray, strata: IntArray | None, *, subset_size: int, subsets: int, subset_std: float | None
) -> StandardError:
    """The standard error of `kid` when x (n, D) is drawn anew and y (m, D) stays.

    From at most `_ROWS_PER_BLOCK` rows of each: the variance of the projection 2 (E k(x, x') - E k(x, y)), less what
    the noise of its own estimate adds, and the second-order term of a U-statistic (Serfling 1980, Section 5.2). To
    that comes the variance of the subsets' mean, `subset_std` being the deviation of one.
    """
    rows = content_order(x)[:_ROWS_PER_BLOCK]
    sample = x[rows].astype(np.float64)
    others = y[content_order(y)[:_ROWS_PER_BLOCK]].astype(np.float64)
    count, dimension = len(sample), sample.shape[1]
    within = (sample @ sample.T / dimension + 1) ** 3
    np.fill_diagonal(within, 0)
    means = within.sum(axis=1) / (count - 1)
    projection = means - ((sample @ others.T / dimension + 1) ** 3).mean(axis=1)
    labels = None if strata is None else strata[rows]
    rest, dof = residuals(2 * projection, labels)
    np.fill_diagonal(within, means)
    centred = residuals(residuals(within, labels)[0].T, labels)[0]
    np.fill_diagonal(centred, 0)
    second = float(np.square(centred).sum()) / (count * (count - 1))
    first = max(0.0, float(rest @ rest) / dof - 4 * second / count)
    variance = first / len(x) + 2 * second / len(x) ** 2
    if subset_std is not None:
        variance += subset_std**2 / subsets * max(0.0, 1 - subset_size / len(x))
    return StandardError(math.sqrt(variance), "projection of the U-statistic", dof)


def per_class_kid(
    generated: FloatArray, generated_rows: Sequence[IntArray], reference: FloatArray, reference_rows: Sequence[IntArray]
) -> list[float | None]:
    """The squared MMD of every class from all its samples; None where a side has fewer than two.

    `generated` (N, D) and `reference` (M, D); `*_rows[c]` are the row numbers of class c.
    """
    return [
        squared_mmd(generated[g], reference[r]) if min(len(g), len(r)) >= 2 else None
        for g, r in zip(generated_rows, reference_rows, strict=True)
    ]
