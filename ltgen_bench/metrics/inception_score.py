"""Inception Score (Salimans et al. 2016, Section 4)."""

from __future__ import annotations

import numpy as np

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.inputs import Float64Array, FloatArray
from ltgen_bench.metrics.numerics.content_order import content_order


def inception_score_of_splits(
    probabilities: FloatArray, *, splits: int, seed: int, by_content: bool = False
) -> list[float]:
    """exp E_x KL(p(y|x) || p(y)) of each of `splits` parts of `probabilities` (N, K), in float64.

    The rows are shuffled with `seed` first: samples are often stored class by class, and a part that holds one class
    only would score 1. `by_content` shuffles them from their `content_order`, so that the order of a file does not
    matter. Part i holds the rows from floor(i N / splits) to floor((i + 1) N / splits). A probability of 0
    contributes 0. No score is below 1. Raises `SamplesError` when N < splits.
    """
    count = len(probabilities)
    if count < splits:
        raise SamplesError(f"Inception Score with {splits} splits needs at least {splits} samples, got {count}")
    order = np.random.default_rng(seed).permutation(count)
    if by_content:
        order = content_order(probabilities)[order]
    scores = []
    for i in range(splits):
        part = probabilities[order[i * count // splits : (i + 1) * count // splits]].astype(np.float64)
        part /= part.sum(axis=1, keepdims=True)
        marginal = part.mean(axis=0)
        divergence = np.sum(_negative_entropy(part)) / len(part) - np.sum(_negative_entropy(marginal))
        # A mean of divergences is never negative (Jensen), but the difference of equal rows' entropies rounds below 0.
        scores.append(max(1.0, float(np.exp(divergence))))
    return scores


def divergences(probabilities: FloatArray) -> Float64Array:
    """KL(p(y|x) || p(y)) of every row (N,); the exponential of their mean is the score of one split."""
    p = probabilities.astype(np.float64)
    p /= p.sum(axis=1, keepdims=True)
    marginal = p.mean(axis=0)
    return np.asarray(_negative_entropy(p).sum(axis=1) - p @ np.log(np.where(marginal > 0, marginal, 1.0)))


def _negative_entropy(p: FloatArray) -> FloatArray:
    return p * np.log(np.where(p > 0, p, 1.0))


def inception_score(probabilities: FloatArray, *, splits: int, seed: int) -> tuple[float, float]:
    """Mean and standard deviation (n denominator) of the Inception Score over `splits` parts; between 1 and K."""
    scores = inception_score_of_splits(probabilities, splits=splits, seed=seed)
    return float(np.mean(scores)), float(np.std(scores))
