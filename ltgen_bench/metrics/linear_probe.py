"""A linear probe: which class a feature network sees in a sample, where the network itself knows no such classes.

Ridge regression of one-hot labels on standardised features, fitted on real images that nobody trained on. It is a
closed form in float64, so that two machines agree, and so is what it gets right of a real image that was left out of
the fit: the number that a perfect generator has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ltgen_bench.core.storage import sha256_json
from ltgen_bench.metrics.inputs import Float64Array, FloatArray, IntArray

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # times the mean eigenvalue of what is standardised
RECIPE = {
    "name": "ridge.v1",
    "features": "standardised by the fitted images' means and deviations; constant ones are left out",
    "targets": "one-hot, centred",
    "penalties": PENALTIES,
    "chosen by": "leave-one-out accuracy, the largest of equals",
}
RECIPE_HASH = sha256_json(RECIPE)[:16]
_BLOCK = 8192  # rows whose rotated features are in memory at a time


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A fitted probe.

    Arguments:
        mean, scale: (D,) what features are standardised with; the scale of a constant one is 0.
        weights: (D, C), and `offset` (C,): the scores of standardised features.
        penalty: the chosen one of `PENALTIES`.
        accuracy: share of the fitted images that the probe gets right when each is left out of its fit.
        correct: (N,) bool, which ones.
    """

    mean: Float64Array
    scale: Float64Array
    weights: Float64Array
    offset: Float64Array
    penalty: float
    accuracy: float
    correct: IntArray

    def predict(self, features: FloatArray) -> IntArray:
        """The class, int64 (N,), of every row of `features` (N, D); among equal scores the lowest index."""
        predicted = np.empty(len(features), dtype=np.int64)
        for start in range(0, len(features), _BLOCK):
            block = (features[start : start + _BLOCK].astype(np.float64) - self.mean) * self.scale
            predicted[start : start + _BLOCK] = (block @ self.weights + self.offset).argmax(axis=1)
        return predicted


def fit_linear_probe(features: FloatArray, labels: IntArray, class_count: int) -> LinearProbe | None:
    """Fit on `features` (N, D) of real images with `labels` (N,) below `class_count`.

    None where a class has fewer than two images: one that is left out would be of an unknown class.
    """
    count = len(features)
    counts = np.bincount(labels, minlength=class_count)
    if counts.min() < 2:
        return None
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12 * (1 + np.abs(mean)))
    offset = counts / count
    covariance = np.zeros((features.shape[1],) * 2)
    products = np.zeros((features.shape[1], class_count))
    for start in range(0, count, _BLOCK):
        block = (features[start : start + _BLOCK].astype(np.float64) - mean) * scale
        covariance += block.T @ block
        products += block.T @ _targets(labels[start : start + _BLOCK], offset)
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0.0)
    unit = float(values.sum()) / max(1, int((scale > 0).sum())) or 1.0
    rotated = vectors.T @ products
    best: tuple[float, float, np.ndarray] | None = None
    for penalty in PENALTIES:
        correct = _left_out(features, labels, mean, scale, offset, vectors, values + penalty * unit, rotated)
        accuracy = float(correct.mean())
        if best is None or accuracy >= best[0]:
            best = (accuracy, penalty, correct)
    assert best is not None
    accuracy, penalty, correct = best
    weights = vectors @ (rotated / (values + penalty * unit)[:, None])
    return LinearProbe(mean, scale, weights, offset, penalty, accuracy, correct)


def _targets(labels: IntArray, offset: Float64Array) -> Float64Array:
    targets = np.zeros((len(labels), len(offset)))
    targets[np.arange(len(labels)), labels] = 1.0
    return np.asarray(targets - offset)


def _left_out(
    features: FloatArray,
    labels: IntArray,
    mean: Float64Array,
    scale: Float64Array,
    offset: Float64Array,
    vectors: Float64Array,
    denominators: Float64Array,
    rotated: Float64Array,
) -> np.ndarray:
    """Whether each image is of the class with the largest score in the fit without it, (N,) bool.

    Of a ridge fit with centred features and targets, the fit without row i gives it the score
    y_i - (y_i - s_i) / (1 - h_i), where s is the score of the whole fit and h_i = 1/N + z_i' (Z'Z + penalty)^-1 z_i
    (means and deviations are those of all rows).
    """
    count = len(features)
    weights = rotated / denominators[:, None]
    correct = np.empty(count, dtype=bool)
    for start in range(0, count, _BLOCK):
        rows = slice(start, start + _BLOCK)
        turned = ((features[rows].astype(np.float64) - mean) * scale) @ vectors
        leverage = 1 / count + (turned**2 / denominators).sum(axis=1)
        targets = _targets(labels[rows], offset)
        scores = targets - (targets - turned @ weights) / np.maximum(1 - leverage, 1e-12)[:, None]
        correct[rows] = (scores + offset).argmax(axis=1) == labels[rows]
    return correct
