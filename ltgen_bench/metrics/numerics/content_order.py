"""An order of rows that depends on what they hold and not on where they stand in a file."""

from __future__ import annotations

import numpy as np

from ltgen_bench.metrics.inputs import FloatArray, IntArray

_ROWS_PER_BLOCK = 8192


def content_order(features: FloatArray) -> IntArray:
    """Row numbers (N,) in an order that depends on what the rows (N, D) hold and not on where they stand.

    Rows are sorted by a 64-bit hash of their bytes (a sum with odd random factors modulo 2^64, so exact). Rows of equal
    content are interchangeable.
    """
    words = np.ascontiguousarray(features).view(np.uint32)
    factors = np.random.default_rng(0).integers(2**63, size=words.shape[1], dtype=np.uint64) * 2 + 1
    keys = np.empty(len(words), np.uint64)
    for start in range(0, len(words), _ROWS_PER_BLOCK):
        block = words[start : start + _ROWS_PER_BLOCK].astype(np.uint64)
        block *= factors
        keys[start : start + _ROWS_PER_BLOCK] = block.sum(axis=1)
    return np.argsort(keys, kind="stable").astype(np.int64)


def deal(features: FloatArray, strata: IntArray | None, parts: int) -> IntArray:
    """(N,) int64: the part, 0 ... `parts` - 1, that each row of `features` (N, D) falls into.

    Parts are as even as can be, within every stratum of `strata` (N,) too, and do not depend on the order of the rows.
    """
    order = content_order(features)
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]
    part = np.empty(len(features), dtype=np.int64)
    part[order] = np.arange(len(features)) % parts
    return part
