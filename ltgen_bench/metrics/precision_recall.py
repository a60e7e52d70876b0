"""Improved precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

All four ask whether a sample lies in the ball around a sample of the other set, whose radius is the distance to that
sample's k-th nearest neighbour in its own set, itself not counted. The balls are closed: a distance equal to the
radius is inside (`<=`, as in Eq. 1 of Kynkäänniemi et al., their published code and torch-fidelity; the `prdc`
package uses `<`). They differ on ties only, that is on exact copies: with `<` a set that consists of k + 1 or more
copies of every image would have precision 0 against itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.clipped import ClippedScores, ClippedSweep
from ltgen_bench.metrics.inputs import BoolArray, Float64Array, FloatArray, IntArray, check_manifold_sets
from ltgen_bench.metrics.numerics.close_pairs import pairs_by_tiles
from ltgen_bench.metrics.numerics.distances import (
    DistinctRows,
    check_metrics_device,
    distinct_rows,
    exact_float32,
)
from ltgen_bench.metrics.numerics.neighbours import point_neighbours
from ltgen_bench.metrics.repeats import NEAR_EQUAL, repeat_clusters


@dataclass(frozen=True, eq=False)
class ManifoldScores:
    """The four numbers, and what every sample contributes to them.

    Arguments:
        precision: share of generated samples inside the reference's manifold.
        recall: share of reference samples inside the generated manifold.
        density: mean number of reference balls around a generated sample, over k; may exceed 1.
        coverage: share of reference balls that hold a generated sample.
        generated_inside: (M,) bool, its mean is the precision.
        reference_inside: (N,) bool, its mean is the recall.
        generated_density: (M,) float64, its mean is the density.
        reference_covered: (N,) bool, its mean is the coverage.
        reference_counts: (N,) int64, the generated samples in every reference ball.
        reference_sets: (N,) int64, a hash of which samples these are.
        reference_single: (N,) int64, the row of the sample in a ball that holds one; any row else.
        repeats: (M,) int64, the cluster of equal or near-equal samples that each belongs to.
        clipped: clipped density and coverage, where asked for and there are more than their k samples.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    generated_inside: BoolArray
    reference_inside: BoolArray
    generated_density: Float64Array
    reference_covered: BoolArray
    reference_counts: IntArray
    reference_sets: IntArray
    reference_single: IntArray
    repeats: IntArray
    clipped: ClippedScores | None = None


def squared_radii(x: FloatArray, k: int, *, device: str = "cpu") -> Float64Array:
    """The squared distance of every row of x (N, D) to its k-th nearest other row, (N,) float64, exact.

    Raises `SamplesError` when N <= k.
    """
    if len(x) <= k:
        raise SamplesError(f"a manifold with k = {k} needs at least {k + 1} samples, got {len(x)}")
    distinct = distinct_rows(x)
    radii: Float64Array = point_neighbours(x, distinct, k, device=device).squared_distances[distinct.index, -1]
    return radii


def manifold_scores(
    generated: FloatArray,
    reference: FloatArray,
    *,
    k: int = 3,
    clipped_k: int | None = None,
    part: IntArray | None = None,
    device: str = "cpu",
) -> ManifoldScores:
    """Precision, recall, density and coverage of generated (M, D) against reference (N, D) in one sweep.

    With `clipped_k` clipped density and coverage of that k come along (`clipped`), and with `part` (M,), the part of
    the samples that each belongs to, the latter without each of them.

    Every decision equals that of float64 distances (see `neighbours`). O((N + M)^2 D) time on `device`, "cpu" or
    "cuda"; memory: float32 copies of the inputs and a few tiles. Raises `SamplesError` when a set has k or fewer
    samples or D differs, `DeviceError` when the device is not there.
    """
    check_metrics_device(device)
    check_manifold_sets(generated, reference, k)
    real, fake = distinct_rows(reference), distinct_rows(generated)
    if clipped_k is not None and min(len(generated), len(reference)) <= clipped_k:
        clipped_k = None
    farthest = k if clipped_k is None else max(k, min(clipped_k + 1, len(reference) - 1))
    near = point_neighbours(reference, real, farthest, device=device)
    real_radii = near.squared_distances[:, k - 1]
    near_fake = point_neighbours(generated, fake, k, device=device)
    fake_radii = near_fake.squared_distances[:, -1]
    near_equal = np.square(NEAR_EQUAL * np.median(np.sqrt(near.squared_distances[real.index, 0])))
    sweep = None if clipped_k is None else ClippedSweep(real, near, fake, clipped_k, device, part)
    limits = real_radii if sweep is None else np.column_stack([real_radii, sweep.limits])
    reached = _Reached(real, fake)
    with exact_float32():
        for rows, columns, distances in pairs_by_tiles(real.points, fake.points, limits, fake_radii, device):
            if sweep is not None:
                sweep.add(rows, columns, distances)
            reached.add(rows, columns, distances <= real_radii[rows], distances <= fake_radii[columns])
    generated_balls = reached.balls[fake.index]
    generated_inside, reference_inside = generated_balls > 0, reached.inside[real.index]
    reference_covered = reached.held[real.index] > 0
    return ManifoldScores(
        precision=float(generated_inside.mean()),
        recall=float(reference_inside.mean()),
        density=float(generated_balls.mean() / k),
        coverage=float(reference_covered.mean()),
        generated_inside=generated_inside,
        reference_inside=reference_inside,
        generated_density=generated_balls / k,
        reference_covered=reference_covered,
        reference_counts=reached.held[real.index],
        reference_sets=reached.sets[real.index],
        reference_single=reached.single[real.index],
        repeats=repeat_clusters(fake, near_fake, float(near_equal)),
        clipped=None if sweep is None else sweep.scores(),
    )


class _Reached:
    """What the sweep over the pairs of points finds in the balls of the two sets."""

    def __init__(self, real: DistinctRows, fake: DistinctRows) -> None:
        self._real, self._fake = real, fake
        self.balls = np.zeros(len(fake), dtype=np.int64)  # reference balls around every generated point
        self.inside = np.zeros(len(real), dtype=bool)  # reference points inside a generated ball
        self.held = np.zeros(len(real), dtype=np.int64)  # generated samples in every reference ball
        self.sets, self.single = np.zeros((2, len(real)), dtype=np.int64)  # a hash of which they are; one of them
        # sums of the keys wrap round
        self._keys = np.random.default_rng(0).integers(2**62, size=len(fake), dtype=np.int64)

    def add(self, rows: IntArray, columns: IntArray, in_real: BoolArray, in_fake: BoolArray) -> None:
        """Take in pairs of reference `rows` and generated `columns` (P,), and in whose ball each of them lies."""
        np.add.at(self.balls, columns[in_real], self._real.weights[rows[in_real]])
        np.add.at(self.held, rows[in_real], self._fake.weights[columns[in_real]])
        np.add.at(self.sets, rows[in_real], self._keys[columns[in_real]])
        self.single[rows[in_real]] = self._fake.first[columns[in_real]]
        self.inside[rows[in_fake]] = True


def per_class_manifold_scores(
    generated: FloatArray,
    generated_rows: Sequence[IntArray],
    reference: FloatArray,
    reference_rows: Sequence[IntArray],
    *,
    k: int = 3,
    clipped_k: int | None = None,
    device: str = "cpu",
) -> list[ManifoldScores | None]:
    """The scores with both manifolds built from one class only; None where a side has k or fewer samples.

    `generated` (M, D) and `reference` (N, D); `*_rows[c]` are the row numbers of class c (`inputs.rows_of_classes`).
    """
    return [
        manifold_scores(generated[g], reference[r], k=k, clipped_k=clipped_k, device=device)
        if min(len(g), len(r)) > k
        else None
        for g, r in zip(generated_rows, reference_rows, strict=True)
    ]
