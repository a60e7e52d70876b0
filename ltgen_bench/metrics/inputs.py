"""The arrays that the metrics read, checked once at the door so that no metric has to check them again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.core.errors import SamplesError

FloatArray = NDArray[np.floating[Any]]
Float64Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

# Rows looked at together when values are checked; keeps the temporary arrays of a check small.
LARGEST_FEATURE = 1e30
_ROWS_PER_CHECK = 8192


def check_matrix(name: str, values: Any, *, rows: int | None = None, columns: int | None = None) -> FloatArray:
    """`values` as a float32 or float64 array (N, D), without copying when it is one already.

    Raises `SamplesError` when it is not two-dimensional, is empty, holds NaN or infinity, is not of a real number
    type, or does not have `rows` rows or `columns` columns. `name` is what the message calls the array.
    """
    array = np.asarray(values)
    if array.ndim != 2:
        raise SamplesError(f"{name}: expected shape (N, D), got {array.ndim} dimension(s) with shape {array.shape}")
    if 0 in array.shape:
        raise SamplesError(f"{name}: is empty with shape {array.shape}; at least one row and one column are needed")
    if array.dtype.kind not in "fiub":
        raise SamplesError(f"{name}: expected real numbers (float32 or float64), got dtype {array.dtype}")
    if array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        array = array.astype(np.float64 if array.dtype.kind in "iu" and array.dtype.itemsize > 2 else np.float32)
    if rows is not None and array.shape[0] != rows:
        raise SamplesError(f"{name}: has {array.shape[0]} rows, expected {rows}, one for every sample")
    if columns is not None and array.shape[1] != columns:
        raise SamplesError(f"{name}: has {array.shape[1]} columns, expected {columns} as in the other set")
    for start in range(0, len(array), _ROWS_PER_CHECK):
        part = array[start : start + _ROWS_PER_CHECK]
        finite = np.isfinite(part)
        if not finite.all():
            row = start + int(np.flatnonzero(~finite.all(axis=1))[0])
            raise SamplesError(f"{name}: row {row} holds NaN or infinity; every value must be finite")
        if float(np.abs(part).max(initial=0)) > LARGEST_FEATURE:
            raise SamplesError(
                f"{name}: values beyond {LARGEST_FEATURE:g}, which no network gives: their squares lose all digits"
            )
    return array


def check_labels(name: str, values: Any, *, rows: int, class_count: int | None = None) -> IntArray:
    """`values` as int64 labels (N,).

    Raises `SamplesError` when they are not whole numbers, are not `rows` many, are negative, or reach `class_count`.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise SamplesError(f"{name}: expected shape (N,), got shape {array.shape}")
    if len(array) != rows:
        raise SamplesError(f"{name}: has {len(array)} entries, expected {rows}, one for every sample")
    if array.dtype.kind not in "iub":
        whole = array.dtype.kind == "f" and bool(np.isfinite(array).all()) and bool((array == np.floor(array)).all())
        if not whole:
            raise SamplesError(f"{name}: expected whole numbers (int64), got dtype {array.dtype}")
    labels = array.astype(np.int64)
    if labels.size and labels.min() < 0:
        raise SamplesError(f"{name}: holds {labels.min()}; class indices start at 0")
    if class_count is not None and labels.size and labels.max() >= class_count:
        raise SamplesError(
            f"{name}: holds class {labels.max()}, but there are {class_count} classes (0 to {class_count - 1})"
        )
    return labels


def check_probabilities(name: str, values: Any, *, rows: int | None = None, columns: int | None = None) -> FloatArray:
    """`values` as class probabilities (N, K): not negative, every row adding up to 1 within 1e-3.

    Raises `SamplesError` otherwise; logits are the usual reason, and the message says so.
    """
    array = check_matrix(name, values, rows=rows, columns=columns)
    if array.min() < 0:
        raise SamplesError(f"{name}: holds negative values; expected probabilities after a softmax, not logits")
    worst = float(np.abs(array.sum(axis=1, dtype=np.float64) - 1).max())
    # Probabilities stored in float16 add up to 1 within a few 1e-4.
    if worst > 1e-3:
        raise SamplesError(f"{name}: a row adds up to 1 with an error of {worst:.3g}; every row must add up to 1")
    return array


@dataclass(frozen=True, eq=False)
class FeatureArrays:
    """The features of one set of images, and what is known beside them.

    Arguments:
        features: (N, D) float32 or float64; what FID, KID and PRD read.
        labels: (N,) int64 class indices, or None.
        probabilities: (N, K) class probabilities for the Inception Score, or None.
        manifold_features: (N, D2) for precision, recall, density and coverage; None means `features`.

    Raises `SamplesError` for NaN or infinity, empty arrays, wrong shapes and lengths that differ.
    """

    features: FloatArray
    labels: IntArray | None = None
    probabilities: FloatArray | None = None
    manifold_features: FloatArray | None = None

    def __post_init__(self) -> None:
        features = check_matrix("features", self.features)
        rows = len(features)
        object.__setattr__(self, "features", features)
        if self.labels is not None:
            object.__setattr__(self, "labels", check_labels("labels", self.labels, rows=rows))
        if self.probabilities is not None:
            checked = check_probabilities("probabilities", self.probabilities, rows=rows)
            object.__setattr__(self, "probabilities", checked)
        if self.manifold_features is not None:
            checked = check_matrix("manifold_features", self.manifold_features, rows=rows)
            object.__setattr__(self, "manifold_features", checked)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def manifold(self) -> FloatArray:
        """(N, D2): the features that precision, recall, density and coverage read."""
        return self.features if self.manifold_features is None else self.manifold_features


def rows_of_classes(labels: IntArray, class_count: int) -> list[IntArray]:
    """For every class the ascending row numbers (n_c,) that carry it; one pass over `labels` (N,)."""
    order = np.argsort(labels, kind="stable").astype(np.int64)
    ends = np.searchsorted(labels[order], np.arange(class_count + 1))
    return [order[ends[c] : ends[c + 1]] for c in range(class_count)]


def check_manifold_sets(generated: FloatArray, reference: FloatArray, k: int) -> None:
    """Raise `SamplesError` unless both sets have the same columns and more than k samples."""
    if generated.shape[1] != reference.shape[1]:
        raise SamplesError(
            f"manifold_features: {generated.shape[1]} columns against {reference.shape[1]}; "
            "both sets need the same extractor"
        )
    if min(len(generated), len(reference)) <= k:
        raise SamplesError(
            f"a manifold with k = {k} needs at least {k + 1} samples in each set, "
            f"got {len(generated)} and {len(reference)}"
        )
