"""Label accuracy: how often a classifier of the data set sees the class that was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ltgen_bench.metrics.inputs import BoolArray, FloatArray, IntArray, check_labels, check_probabilities


@dataclass(frozen=True, eq=False)
class ClassificationScores:
    """What a classifier says about conditionally generated samples.

    Arguments:
        accuracy: share of samples whose most probable class is the label they were generated for.
        per_class: the same for every class; None for a class without samples.
        confusion: (C, C) int64, row = label asked for, column = class predicted. A tail class's row shows which head
            class it turns into.
        correct: (N,) bool.
    """

    accuracy: float
    per_class: list[float | None]
    confusion: IntArray
    correct: BoolArray


def label_accuracy(probabilities: FloatArray, labels: IntArray, *, class_count: int) -> ClassificationScores:
    """Label accuracy from class probabilities or one-hot predictions (N, C) and labels (N,).

    Among equally probable classes the lowest index counts as predicted. Raises `SamplesError` when lengths differ,
    the columns are not C, or a label is out of range.
    """
    probabilities = check_probabilities("classifier probabilities", probabilities, columns=class_count)
    labels = check_labels("labels", labels, rows=len(probabilities), class_count=class_count)
    predicted = probabilities.argmax(axis=1)
    confusion = np.bincount(labels * class_count + predicted, minlength=class_count**2)
    confusion = confusion.reshape(class_count, class_count).astype(np.int64)
    counts = confusion.sum(axis=1)
    per_class = [float(confusion[c, c] / counts[c]) if counts[c] else None for c in range(class_count)]
    correct = predicted == labels
    return ClassificationScores(float(correct.mean()), per_class, confusion, correct)
