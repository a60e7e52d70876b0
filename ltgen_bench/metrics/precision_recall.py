"""Improved precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

All four ask whether a sample lies in the ball around a sample of the other set, whose radius is the distance to that
sample's k-th nearest neighbour in its own set, itself not counted. The balls are closed: a distance equal to the
radius is inside (`<=`, as in Eq. 1 of Kynkäänniemi et al., their published code and torch-fidelity; the `prdc`
package uses `<`). They differ on ties only, that is on exact copies: with `<` a set that consists of k + 1 or more
copies of every image would have precision 0 against itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.inputs import BoolArray, Float64Array, FloatArray, IntArray
from ltgen_bench.metrics.numerics.distances import (
    ABSOLUTE_ERROR,
    DistinctRows,
    Frame,
    PreparedRows,
    check_metrics_device,
    coarse_pays,
    distinct_rows,
    exact_float32,
    pair_squared_distances,
    prepare_rows,
    squared_distance_tile,
    tile_size,
)
from ltgen_bench.metrics.numerics.neighbours import kth_neighbours

# From this many undecided pairs in a tile on, a float64 product is cheaper than summing their differences.
_MANY_PAIRS = 20_000
# After so many tiles that bfloat16 could not decide, if they are most of those tried, it is not tried again.
_FAILED_TILES = 8


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


def squared_radii(x: FloatArray, k: int, *, device: str = "cpu") -> Float64Array:
    """The squared distance of every row of x (N, D) to its k-th nearest other row, (N,) float64, exact.

    Raises `SamplesError` when N <= k.
    """
    if len(x) <= k:
        raise SamplesError(f"a manifold with k = {k} needs at least {k + 1} samples, got {len(x)}")
    return _squared_radii(x, distinct_rows(x), k, device)


def _squared_radii(x: FloatArray, distinct: DistinctRows, k: int, device: str) -> Float64Array:
    """As above; of a point that occurs often only k + 1 copies take part, which leaves every radius as it is."""
    if len(distinct) == len(x):
        return kth_neighbours(x, None, k, device=device).squared_distances
    order = np.argsort(distinct.index, kind="stable")
    first = np.cumsum(distinct.weights) - distinct.weights
    copy_number = np.arange(len(x)) - np.repeat(first, distinct.weights)
    kept = order[copy_number <= k]
    radii = kth_neighbours(x[kept], None, k, device=device).squared_distances
    of_point = np.empty(len(distinct))
    of_point[distinct.index[kept]] = radii
    return np.asarray(of_point[distinct.index])


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


def manifold_scores(generated: FloatArray, reference: FloatArray, *, k: int = 3, device: str = "cpu") -> ManifoldScores:
    """Precision, recall, density and coverage of generated (M, D) against reference (N, D) in one sweep.

    Every decision equals that of float64 distances (see `neighbours`). O((N + M)^2 D) time on `device`, "cpu" or
    "cuda"; memory: float32 copies of the inputs and a few tiles. Raises `SamplesError` when a set has k or fewer
    samples or D differs, `DeviceError` when the device is not there.
    """
    check_metrics_device(device)
    check_manifold_sets(generated, reference, k)
    real, fake = distinct_rows(reference), distinct_rows(generated)
    real_radii = _squared_radii(reference, real, k, device)[real.first]
    fake_radii = _squared_radii(generated, fake, k, device)[fake.first]
    balls = np.zeros(len(fake), dtype=np.int64)  # reference balls around every generated point
    inside = np.zeros(len(real), dtype=bool)  # reference points inside a generated ball
    held = np.zeros(len(real), dtype=np.int64)  # generated samples in every reference ball
    sets, single = np.zeros((2, len(real)), dtype=np.int64)  # a hash of which they are; one of them
    keys = np.random.default_rng(0).integers(2**62, size=len(fake), dtype=np.int64)  # sums of them wrap round
    with exact_float32():
        for rows, columns, distances in pairs_by_tiles(real.points, fake.points, real_radii, fake_radii, device):
            in_real = distances <= real_radii[rows]
            in_fake = distances <= fake_radii[columns]
            np.add.at(balls, columns[in_real], real.weights[rows[in_real]])
            np.add.at(held, rows[in_real], fake.weights[columns[in_real]])
            np.add.at(sets, rows[in_real], keys[columns[in_real]])
            single[rows[in_real]] = fake.first[columns[in_real]]
            inside[rows[in_fake]] = True
    generated_balls = balls[fake.index]
    generated_inside, reference_inside = generated_balls > 0, inside[real.index]
    reference_covered = held[real.index] > 0
    return ManifoldScores(
        precision=float(generated_inside.mean()),
        recall=float(reference_inside.mean()),
        density=float(generated_balls.mean() / k),
        coverage=float(reference_covered.mean()),
        generated_inside=generated_inside,
        reference_inside=reference_inside,
        generated_density=generated_balls / k,
        reference_covered=reference_covered,
        reference_counts=held[real.index],
        reference_sets=sets[real.index],
        reference_single=single[real.index],
    )


_Pairs = tuple[IntArray, IntArray, Float64Array]


def pairs_by_tiles(
    x_points: FloatArray, y_points: FloatArray, x_radii: Float64Array, y_radii: Float64Array, device: str
) -> Iterator[_Pairs]:
    """The pairs of x and y points within one of their squared radii, tile by tile: rows, columns, squared distances.

    A distance is exact wherever the comparison with either radius could depend on it, and else on the right side.
    bfloat16 products are used where they decide most.
    """
    frame = Frame.around(x_points, y_points)
    coarse = coarse_pays(x_points, y_points, device)
    x, y = (
        prepare_rows(points, frame, device=device, precision="bfloat16" if coarse else "float32")
        for points in (x_points, y_points)
    )
    tile = tile_size(device)
    tried = failed = 0
    for i in range(0, len(x), tile):
        rows = slice(i, min(i + tile, len(x)))
        for j in range(0, len(y), tile):
            columns = slice(j, min(j + tile, len(y)))
            pairs = _close_pairs(x, y, x_radii, y_radii, rows, columns, give_up=coarse)
            tried += 1
            if pairs is None:
                failed += 1
                a, b = (prepare_rows(s.points[part], frame, device=device) for s, part in ((x, rows), (y, columns)))
                pairs = _close_pairs(
                    a, b, x_radii[rows], y_radii[columns], slice(0, len(a)), slice(0, len(b)), give_up=False
                )
                if pairs is None:
                    raise RuntimeError("float32 tiles do not give up")
                pairs = pairs[0] + i, pairs[1] + j, pairs[2]
                if failed > _FAILED_TILES and 2 * failed > tried:
                    coarse = False
                    x, y = (prepare_rows(points, frame, device=device) for points in (x_points, y_points))
            yield pairs


def _close_pairs(
    x: PreparedRows,
    y: PreparedRows,
    x_radii: Float64Array,
    y_radii: Float64Array,
    rows: slice,
    columns: slice,
    *,
    give_up: bool,
) -> _Pairs | None:
    """The pairs of a tile that may lie within one of their two squared radii: rows, columns, squared distances.

    A distance is exact wherever the comparison with either radius could depend on it, and else on the right side.
    None with `give_up` when so many pairs are undecided that a finer product is the cheaper way.
    """
    import torch

    device = x.rows.device
    unit = np.ldexp(1.0, -2 * x.frame.exponent)
    # The tile holds lower bounds, so a plain comparison finds every pair that may be inside.
    error = max(x.error, y.error)
    lower = squared_distance_tile(x, y, rows, columns, shrink=error)
    x_limit, y_limit = (
        torch.from_numpy(np.nextafter((radii * unit + ABSOLUTE_ERROR).astype(np.float32), np.float32(np.inf))).to(
            device
        )
        for radii in (x_radii[rows], y_radii[columns])
    )
    maybe = (lower <= x_limit[:, None]).logical_or_(lower <= y_limit[None, :])
    found = torch.nonzero(maybe)
    approximate = lower[found[:, 0], found[:, 1]].double()
    band = error * (x.norms[rows][found[:, 0]].double() + y.norms[columns][found[:, 1]].double())
    row: IntArray = found[:, 0].cpu().numpy() + rows.start
    column: IntArray = found[:, 1].cpu().numpy() + columns.start
    distances = (approximate + band).cpu().numpy() / unit
    bands = (band.cpu().numpy() + ABSOLUTE_ERROR) / unit
    undecided = _undecided(distances, bands, x_radii[row], y_radii[column])
    if len(undecided) > _MANY_PAIRS and give_up:
        return None
    if len(undecided) > _MANY_PAIRS:
        distances[undecided], bands = _float64_distances(x, y, row[undecided], column[undecided])
        still = _undecided(distances[undecided], bands, x_radii[row[undecided]], y_radii[column[undecided]])
        undecided = undecided[still]
    distances[undecided] = pair_squared_distances(x.points, y.points, row[undecided], column[undecided])
    return row, column, distances


def _undecided(distances: Float64Array, band: Float64Array, x_radii: Float64Array, y_radii: Float64Array) -> IntArray:
    """Indices of the pairs whose distance is within `band` of a squared radius."""
    return np.flatnonzero((np.abs(distances - x_radii) <= band) | (np.abs(distances - y_radii) <= band))


def _float64_distances(
    x: PreparedRows, y: PreparedRows, row: IntArray, column: IntArray
) -> tuple[Float64Array, Float64Array]:
    """Squared distances of pairs from a float64 product of the rows and columns that occur, and their error bounds."""
    x_used, x_place = np.unique(row, return_inverse=True)
    y_used, y_place = np.unique(column, return_inverse=True)
    device = str(x.rows.device)
    x64 = prepare_rows(x.points[x_used], x.frame, device=device, precision="float64")
    y64 = prepare_rows(y.points[y_used], x.frame, device=device, precision="float64")
    tile: NDArray[Any] = squared_distance_tile(x64, y64, slice(0, len(x64)), slice(0, len(y64))).cpu().numpy()
    x_norms, y_norms = x64.norms.cpu().numpy(), y64.norms.cpu().numpy()
    unit = np.ldexp(1.0, -2 * x.frame.exponent)
    return tile[x_place, y_place] / unit, (x64.error * (x_norms[x_place] + y_norms[y_place]) + ABSOLUTE_ERROR) / unit


def per_class_manifold_scores(
    generated: FloatArray,
    generated_rows: Sequence[IntArray],
    reference: FloatArray,
    reference_rows: Sequence[IntArray],
    *,
    k: int = 3,
    device: str = "cpu",
) -> list[ManifoldScores | None]:
    """The four scores with both manifolds built from one class only; None where a side has k or fewer samples.

    `generated` (M, D) and `reference` (N, D); `*_rows[c]` are the row numbers of class c (`inputs.rows_of_classes`).
    """
    return [
        manifold_scores(generated[g], reference[r], k=k, device=device) if min(len(g), len(r)) > k else None
        for g, r in zip(generated_rows, reference_rows, strict=True)
    ]
