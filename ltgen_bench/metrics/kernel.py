"""Kernel Inception Distance: the unbiased squared maximum mean discrepancy (Bińkowski et al. 2018, Section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltgen_bench.errors import SamplesError
from ltgen_bench.metrics.inputs import FloatArray, IntArray
from ltgen_bench.metrics.statistics import Float64Array

_ROWS_PER_BLOCK = 2048


def squared_mmd(x: FloatArray, y: FloatArray) -> float:
    """The unbiased squared MMD of x (n, D) and y (m, D) with the kernel (x.y / D + 1)^3, in float64.

    Unbiased, so it may be negative. Blocked: no n x m array. Raises `SamplesError` for fewer than two rows or for
    different D.
    """
    if x.shape[1] != y.shape[1]:
        raise SamplesError(f"features: {x.shape[1]} columns against {y.shape[1]}; both sets need the same extractor")
    if min(len(x), len(y)) < 2:
        raise SamplesError(f"KID needs at least 2 samples in each set, got {len(x)} and {len(y)}")
    x64, y64 = x.astype(np.float64), y.astype(np.float64)
    within_x = _kernel_sum_of_pairs(x64) / (len(x) * (len(x) - 1))
    within_y = _kernel_sum_of_pairs(y64) / (len(y) * (len(y) - 1))
    between = 0.0
    for start in range(0, len(x64), _ROWS_PER_BLOCK):
        for other in range(0, len(y64), _ROWS_PER_BLOCK):
            between += _kernel_sum(x64[start : start + _ROWS_PER_BLOCK], y64[other : other + _ROWS_PER_BLOCK])
    return within_x + within_y - 2 * between / (len(x) * len(y))


def _kernel_sum(a: Float64Array, b: Float64Array) -> float:
    kernel = a @ b.T
    kernel /= a.shape[1]
    kernel += 1
    # np.power is many times slower than two products.
    return float(np.einsum("ij,ij->", kernel * kernel, kernel))


def _kernel_sum_of_pairs(a: Float64Array) -> float:
    """The sum over ordered pairs of different rows; half of the tiles, because the kernel is symmetric."""
    total = 0.0
    for start in range(0, len(a), _ROWS_PER_BLOCK):
        block = a[start : start + _ROWS_PER_BLOCK]
        total += _kernel_sum(block, block)
        for other in range(start + _ROWS_PER_BLOCK, len(a), _ROWS_PER_BLOCK):
            total += 2 * _kernel_sum(block, a[other : other + _ROWS_PER_BLOCK])
    self_products = np.einsum("ij,ij->i", a, a) / a.shape[1] + 1
    return total - float((self_products**3).sum())


def kid(x: FloatArray, y: FloatArray, *, subset_size: int, subsets: int, seed: int) -> tuple[float, float]:
    """KID: mean and standard deviation (n denominator) of the squared MMD over random subsets of both sets.

    x (n, D), y (m, D); `subsets` draws of min(`subset_size`, n, m) rows without replacement. The deviation is that of
    one subset, not of the mean. Raises `SamplesError` as `squared_mmd`.
    """
    size = min(subset_size, len(x), len(y))
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        rows_x = generator.choice(len(x), size, replace=False)
        rows_y = generator.choice(len(y), size, replace=False)
        values.append(squared_mmd(x[rows_x], y[rows_y]))
        if size == len(x) == len(y):
            break  # every further draw would be the same set
    return float(np.mean(values)), float(np.std(values))


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
