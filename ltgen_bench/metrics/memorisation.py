"""Copies of training images: how near every generated sample is to its nearest training image.

A tail of five images makes copying look good to FID, so this stands beside it. Distances mean little alone; they are
compared with those of held-out real images, which are as near to the training set as honest new images are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.authentic_share import neighbourhoods
from ltgen_bench.metrics.inputs import Float64Array, FloatArray, IntArray, check_labels, check_matrix
from ltgen_bench.metrics.numerics.neighbours import kth_neighbours


@dataclass(frozen=True, eq=False)
class MemorisationInputs:
    """What `compute_metrics` needs to look for copies; either features or pixels may be left out.

    Arguments:
        training_features: (T, D), same extractor as the generated features.
        mirrored_features: (T, D) of the training images' mirror images, where training has seen them.
        held_out_features: (H, D) of real images that were not trained on.
        generated_pixels, training_pixels, held_out_pixels: uint8 (n, height, width, channels).
        training_labels: (T,) int64 classes of the training images.
        held_out_labels: (H,) int64 those of the held-out ones, for thresholds by class.

    Raises `SamplesError` for shapes that do not fit together.
    """

    training_features: FloatArray | None = None
    mirrored_features: FloatArray | None = None
    held_out_features: FloatArray | None = None
    generated_pixels: NDArray[np.uint8] | None = None
    training_pixels: NDArray[np.uint8] | None = None
    held_out_pixels: NDArray[np.uint8] | None = None
    training_labels: IntArray | None = None
    held_out_labels: IntArray | None = None

    def __post_init__(self) -> None:
        for name in ("training_features", "mirrored_features", "held_out_features"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_matrix(name, getattr(self, name)))
        for name in ("generated_pixels", "training_pixels", "held_out_pixels"):
            if getattr(self, name) is not None:
                _check_pixels(name, getattr(self, name))
        count = None
        for name in ("training_features", "mirrored_features", "training_pixels"):
            values = getattr(self, name)
            if values is not None and count is not None and len(values) != count:
                raise SamplesError(f"{name}: has {len(values)} images, expected {count} as in training_features")
            count = count if values is None else len(values)
        if self.training_labels is not None and count is not None:
            labels = check_labels("training_labels", self.training_labels, rows=count)
            object.__setattr__(self, "training_labels", labels)
        for name in ("held_out_features", "held_out_pixels"):
            if self.held_out_labels is not None and getattr(self, name) is not None:
                labels = check_labels("held_out_labels", self.held_out_labels, rows=len(getattr(self, name)))
                object.__setattr__(self, "held_out_labels", labels)


def _check_pixels(name: str, values: Any) -> None:
    if values.ndim != 4 or values.dtype != np.uint8 or 0 in values.shape:
        raise SamplesError(
            f"{name}: expected uint8 images of shape (n, height, width, channels), got {values.dtype} {values.shape}"
        )


@dataclass(frozen=True, eq=False)
class NearestTraining:
    """The nearest training image of every query.

    Arguments:
        distances: (N,) Euclidean distances; pixels are in units of 1/255 and divided by the root of their number, so
            that 0.1 is a root mean square difference of a tenth of the range.
        indices: (N,) int64 index of that training image.
        flipped: (N,) bool, whether the query's mirror image is the nearer one.
    """

    distances: Float64Array
    indices: IntArray
    flipped: NDArray[np.bool_]

    def nearer_mirrored(self, other: NearestTraining) -> NearestTraining:
        """The nearer of these and of `other`, the mirror images' ones; at equal distance these."""
        flipped = other.distances < self.distances
        distances = np.where(flipped, other.distances, self.distances)
        return NearestTraining(distances, np.where(flipped, other.indices, self.indices), flipped)


def nearest_in_features(
    queries: FloatArray, training: FloatArray, mirrored: FloatArray | None = None, *, device: str = "cpu"
) -> NearestTraining:
    """The nearest row of `training` (T, D) of every row of `queries` (N, D), exact; among ties the first.

    With `mirrored` (T, D), of the training images' mirror images, the nearer of the two counts, at equal distance the
    image itself. Raises `SamplesError` when D differs.
    """
    found = kth_neighbours(queries, training, 1, device=device)
    plain = NearestTraining(np.sqrt(found.squared_distances), found.indices, np.zeros(len(queries), dtype=bool))
    return plain if mirrored is None else plain.nearer_mirrored(nearest_in_features(queries, mirrored, device=device))


def nearest_in_pixels(
    queries: NDArray[np.uint8], training: NDArray[np.uint8], *, device: str = "cpu"
) -> NearestTraining:
    """The nearest of `training` (T, H, W, C) of every image of `queries` (N, H, W, C) or of its mirror image.

    uint8 both. Exact; at equal distance the image itself goes before its mirror image, then the lower index. Raises
    `SamplesError` for other types or sizes that differ.
    """
    for name, images in (("query pixels", queries), ("training pixels", training)):
        _check_pixels(name, images)
    if queries.shape[1:] != training.shape[1:]:
        raise SamplesError(f"pixels: images of {queries.shape[1:]} against {training.shape[1:]}; sizes must be equal")
    database = training.reshape(len(training), -1).astype(np.float32)
    plain, mirrored = (
        kth_neighbours(images.reshape(len(queries), -1).astype(np.float32), database, 1, device=device)
        for images in (queries, queries[:, :, ::-1])
    )
    flipped = mirrored.squared_distances < plain.squared_distances
    squared = np.where(flipped, mirrored.squared_distances, plain.squared_distances)
    distances = np.sqrt(squared / database.shape[1]) / 255
    return NearestTraining(distances, np.where(flipped, mirrored.indices, plain.indices), flipped)


def pixel_neighbourhoods(
    training: NDArray[np.uint8], near: NearestTraining, far: NearestTraining | None, *, device: str = "cpu"
) -> Float64Array:
    """(T,) how far the nearest different one is from every image of `training` (T, H, W, C), in `near`'s units.

    Of images that are nobody's nearest in `near` or `far` it is NaN: nobody asks, and large sets are large.
    """
    flat = training.reshape(len(training), -1).astype(np.float32)
    rows = np.unique(np.concatenate([near.indices, near.indices[:0] if far is None else far.indices]))
    distances = np.full(len(training), np.nan)
    distances[rows] = neighbourhoods(flat, rows, device=device).different / np.sqrt(flat.shape[1]) / 255
    return distances


@dataclass(frozen=True, eq=False)
class MemorisationScores:
    """Generated samples against held-out images in one space (features or pixels).

    Arguments:
        nearest: the generated samples' nearest training images.
        median_distance: over generated samples.
        held_out_median_distance: over held-out images; None without them.
        threshold: the `quantile` of the held-out distances; None where there is none.
        fraction: share of generated samples strictly nearer than the threshold; an honest generator has about
            `quantile`. None without a threshold.
        copied: (N,) bool, which ones; None without a threshold.
        quantile: as asked for.
        reason: why there is no threshold; None where there is one.
        held_out: (H,) the held-out images' distances; None without them.
    """

    nearest: NearestTraining
    median_distance: float
    held_out_median_distance: float | None
    threshold: float | None
    fraction: float | None
    copied: NDArray[np.bool_] | None
    quantile: float
    reason: str | None = None
    held_out: Float64Array | None = None

    def closest_pairs(self, count: int) -> list[tuple[int, int]]:
        """(generated index, training index) of the `count` nearest pairs, nearest first: what a panel shows."""
        order = np.argsort(self.nearest.distances, kind="stable")[:count]
        return [(int(i), int(self.nearest.indices[i])) for i in order]


def fewest_held_out(quantile: float) -> int:
    """How many held-out images a threshold at their `quantile` needs: with fewer its rank is below the smallest one."""
    return math.ceil(1 / quantile - 1 - 1e-9)  # 1 / q is rounded


def low_quantile(values: Float64Array, quantile: float) -> float:
    """Weibull's estimate of the `quantile` of what `values` (n,) are draws of."""
    return float(np.quantile(values, quantile, method="weibull"))


def memorisation_scores(
    nearest: NearestTraining, held_out: NearestTraining | None, *, quantile: float
) -> MemorisationScores:
    """Compare generated samples' nearest distances with those of held-out images.

    The threshold is the Weibull estimate of the quantile q: with q (H + 1) whole, a new real image lies below that
    order statistic of H held-out ones with probability q exactly. There is none without held-out images, with fewer
    than 1 / q - 1, where q is below the smallest one's expected rank, and where it would be 0, which nothing is below.
    """
    median = float(np.median(nearest.distances))
    if held_out is None:
        absent = "needs held-out images, whose distances set the threshold"
        return MemorisationScores(nearest, median, None, None, None, None, quantile, absent)
    held_out_median = float(np.median(held_out.distances))
    needed = fewest_held_out(quantile)
    threshold = low_quantile(held_out.distances, quantile)
    reason = None
    if len(held_out.distances) < needed:
        reason = (
            f"needs at least {needed:,} held-out images for the quantile {quantile:g} of their distances, "
            f"got {len(held_out.distances):,}"
        )
    elif threshold == 0:
        reason = f"a share of {quantile:g} or more of the held-out images lie on training images: nothing is nearer"
    if reason is not None:
        return MemorisationScores(
            nearest, median, held_out_median, None, None, None, quantile, reason, held_out.distances
        )
    copied = nearest.distances < threshold
    share = float(copied.mean())
    return MemorisationScores(
        nearest, median, held_out_median, threshold, share, copied, quantile, held_out=held_out.distances
    )
