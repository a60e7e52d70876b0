"""Greedy k-means++ against its definition, and the memory that it takes."""

import tracemalloc

import numpy as np
import pytest

from ltgen_bench.metrics.numerics import prd_seeding
from ltgen_bench.metrics.numerics.prd_seeding import seed_centres


def slow_centres(points, cluster_count, generator):
    """Of 2 + log K rows drawn by their squared distance to the nearest centre, the one with the smallest sum left."""
    order = np.sort(generator.choice(len(points), len(points), replace=False))
    centres = [points[order][generator.integers(len(points))]]
    for _ in range(1, cluster_count):
        nearest = np.min([((points - c) ** 2).sum(axis=1) for c in centres], axis=0)
        steps = np.cumsum(nearest)
        drawn = [int((steps < u * steps[-1]).sum()) for u in generator.random(2 + int(np.log(cluster_count)))]
        left = [np.minimum(nearest, ((points - points[d]) ** 2).sum(axis=1)).sum() for d in drawn]
        centres.append(points[drawn[int(np.argmin(left))]])
    return np.array(centres)


def some_points(n):
    """Small whole numbers, so that float32 is exact: scattered ones, and a tight cluster that hardly gets a centre."""
    rng = np.random.default_rng(0)
    scattered = rng.integers(-100, 100, (n // 2, 6))
    return np.concatenate([scattered, rng.integers(0, 3, (n // 2, 6))]).astype(np.float32)


@pytest.mark.parametrize(
    ("at_once", "most_pairs", "attempts"),
    [
        (3072, 1, []),  # all distances at once
        (0, 1, []),  # rows at every step
        (0, 200_000, [True]),  # pruned at the fourth step
        (0, 12_000, [False, False, True]),  # pruned when there are centres in the tight cluster
    ],
)
def test_every_way_to_the_distances_gives_the_centres_of_the_definition(monkeypatch, at_once, most_pairs, attempts):
    points, found = some_points(400), []
    keep_below = prd_seeding._SquaredDistances.keep_below

    def watched(self, nearest):
        found.append(keep_below(self, nearest))
        return found[-1]

    monkeypatch.setattr(prd_seeding._SquaredDistances, "keep_below", watched)
    monkeypatch.setattr(prd_seeding, "_ROWS_AT_ONCE", at_once)
    monkeypatch.setattr(prd_seeding, "_MOST_PAIRS", most_pairs)
    monkeypatch.setattr(prd_seeding, "_VALUES_PER_BLOCK", 1000)
    expected = slow_centres(points.astype(np.float64), 300, np.random.default_rng(1))
    assert (seed_centres(points, 300, np.random.default_rng(1)) == expected).all()
    assert found == attempts


def test_memory_does_not_grow_with_the_square_of_the_clusters():
    points = np.random.default_rng(0).standard_normal((10_000, 8), dtype=np.float32)
    tracemalloc.start()
    centres = seed_centres(points, 3_200, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(np.unique(centres, axis=0)) == 3_200
    assert peak < 150e6  # all distances of 9,600 points would take 369 MB
