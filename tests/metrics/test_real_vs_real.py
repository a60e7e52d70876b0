"""Floors, ceilings and distances at equal numbers: closed forms, and what a perfect generator scores."""

from __future__ import annotations

import numpy as np
import pytest

from ltgen_bench.metrics import FeatureArrays, MetricSettings, compute_metrics, fid, manifold_scores
from ltgen_bench.metrics.equal_numbers import equal_number, group_distance
from ltgen_bench.metrics.real_vs_real import coverage_ceiling, floor_constant, random_halves

GROUPS = {"many": [0, 1, 2, 3, 4, 5], "medium": [6, 7], "few": [8, 9]}
SECOND = MetricSettings(
    prd_runs=2,
    prd_clusters_per_class=3,
    kid_subset_size=100,
    kid_subsets=5,
    fixed_class_counts=True,
    by_content=True,
    equal_numbers=True,
    real_vs_real=True,
)


def real(seed: int, a_class: int) -> FeatureArrays:
    """Ten Gaussian classes in sixteen dimensions with a falling spectrum."""
    random = np.random.default_rng([5, seed])
    centres = 2 * np.random.default_rng(0).standard_normal((10, 16))
    labels = np.repeat(np.arange(10), a_class)
    noise = random.standard_normal((len(labels), 16)) / np.sqrt(np.arange(1, 17))
    return FeatureArrays((centres[labels] + noise).astype(np.float32), labels)


@pytest.mark.parametrize(("n", "m", "known"), [(1000, 1797, 0.735), (1000, 1000, 0.875), (5000, 2000, 0.977)])
def test_the_ceiling_of_coverage_is_the_published_one(n: int, m: int, known: float):
    assert coverage_ceiling(n, m, 3) == pytest.approx(known, abs=5e-4)


def test_a_perfect_generator_covers_as_much_as_the_ceiling_says():
    found = [manifold_scores(real(2 * i, 30).features, real(2 * i + 1, 50).features, k=3).coverage for i in range(12)]
    assert np.mean(found) == pytest.approx(coverage_ceiling(300, 500, 3), abs=0.025)


def test_halves_are_even_by_class_and_know_no_order():
    labels = np.repeat([0, 1, 2], [7, 10, 1])
    features = np.random.default_rng(0).standard_normal((18, 3)).astype(np.float32)
    first, second = random_halves(features, labels, seed=1)
    assert np.bincount(labels[first], minlength=3).tolist() == [3, 5, 0]
    assert np.bincount(labels[second], minlength=3).tolist() == [3, 5, 0]
    assert not set(first) & set(second)
    order = np.random.default_rng(1).permutation(18)
    again = random_halves(features[order], labels[order], seed=1)
    assert set(order[again[0]]) == set(first)


def test_the_floor_is_what_real_images_score():
    constants = [floor_constant(real(i, 40).features, real(i, 40).labels, seed=0) for i in range(6)]
    floors = [constant * (1 / 600 + 1 / 400) for constant in constants if constant is not None]
    truth = [fid(real(100 + 2 * i, 60).features, real(101 + 2 * i, 40).features) for i in range(12)]
    assert len(floors) == 6
    assert np.mean(floors) == pytest.approx(np.mean(truth), rel=0.1)
    assert floor_constant(real(0, 4).features, None, seed=0) is None  # 40 images in 16 dimensions: the law fails


def test_a_perfect_generator_has_no_gap_at_equal_numbers():
    """Six classes against two: pooled distances differ by the groups' sizes alone, those at equal numbers do not."""
    plain = MetricSettings(**{**SECOND.__dict__, "equal_numbers": False, "real_vs_real": False})
    pooled, equal = [], []
    for seed in range(8):
        arrays = real(50 + seed, 30), real(90 + seed, 20)
        gaps = [
            compute_metrics(*arrays, settings=settings, groups=GROUPS, only=["fid", "per_class_fid"]).head_tail_gap
            for settings in (plain, SECOND)
        ]
        pooled.append(gaps[0]["fid"])
        equal.append(gaps[1]["fid_excess"])
    assert np.mean(pooled) > 0.3
    assert abs(np.mean(equal)) < 0.1
    assert abs(np.mean(equal)) < 3 * np.std(equal) / np.sqrt(8) + 0.02


def test_a_group_that_is_worse_shows_its_excess_and_its_error():
    ours, theirs = real(1, 100), real(2, 40)
    shifted = ours.features.copy()
    shifted[ours.labels >= 8] += 0.5
    report = compute_metrics(
        FeatureArrays(shifted, ours.labels), theirs, settings=SECOND, groups=GROUPS, only=["fid", "per_class_fid"]
    ).to_dict()
    few, many = report["groups"]["few"], report["groups"]["many"]
    assert few["fid_n"] == many["fid_n"] == 40
    assert few["fid_excess"] == few["fid"] - few["fid_floor"] > 1
    assert abs(many["fid_excess"]) < 0.3
    interval = report["confidence"]["head_tail_gap.fid_excess"]
    assert interval["low"] > 1
    assert interval["low"] < report["head_tail_gap"]["fid_excess"] < interval["high"]
    assert report["fid_floor"] < report["fid"]
    assert 0 < report["coverage_ceiling"] < 1


def test_equal_numbers_fit_the_smallest_group():
    rows = [[np.arange(7), np.arange(8)], [np.arange(5)]]
    assert equal_number(rows, [100, 100]) == 2
    assert equal_number(rows, [100, 1]) == 1
    assert equal_number([], []) == 0
    ours, theirs = real(3, 5), real(4, 6)
    assert group_distance(ours.features, ours.labels, theirs.features, theirs.labels, 30, seed=0).error is None  # type: ignore[union-attr]


def test_a_copier_is_nearer_to_the_set_that_holds_its_training_images():
    train, unseen = real(1, 6), real(2, 60)
    papers = FeatureArrays(
        np.concatenate([np.repeat(train.features, 5, axis=0), real(3, 30).features]),
        np.concatenate([np.repeat(train.labels, 5), real(3, 30).labels]),
    )
    copies = FeatureArrays(np.repeat(train.features, 10, axis=0), np.repeat(train.labels, 10))
    settings = {"settings": SECOND, "groups": GROUPS, "only": ["fid"], "papers": papers}
    copier = compute_metrics(copies, unseen, **settings)
    honest = compute_metrics(real(9, 60), unseen, **settings)
    assert copier.papers_fid == pytest.approx(fid(copies.features, papers.features), rel=1e-9)
    assert copier.copying_gain is not None
    assert honest.copying_gain is not None
    assert copier.copying_gain > 0.1 > honest.copying_gain
    assert "papers_fid" in copier.confidence
