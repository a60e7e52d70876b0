"""The Vendi score: the effective number of different samples (Friedman and Dieng 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.inputs import FloatArray, IntArray


def vendi_score(x: FloatArray) -> float:
    """exp(-sum l log l), l the eigenvalues of the cosine similarities of x (N, D) over N; from 1 to min(N, D).

    1 for samples of one direction, N for orthogonal ones. Of the N x N matrix of similarities and the D x D one of
    second moments, which have the same non-zero eigenvalues, the smaller is taken, in float64. Raises `SamplesError`
    for no samples and for one that is 0, which has no direction.
    """
    if len(x) == 0:
        raise SamplesError("a Vendi score needs at least 1 sample")
    rows = np.asarray(x, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not norms.all():
        raise SamplesError("a sample's features are all 0, which have no direction to compare")
    rows = rows / norms
    moments = (rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows) / len(rows)
    values = np.linalg.eigvalsh(moments)
    values = values[values > 0]
    return float(np.exp(-np.sum(values * np.log(values))))


def per_class_vendi_scores(x: FloatArray, rows: Sequence[IntArray]) -> list[float | None]:
    """The score within every class; None for a class without samples. `rows[c]`: row numbers of class c."""
    return [vendi_score(x[own]) if len(own) else None for own in rows]
