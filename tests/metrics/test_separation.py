"""Separation numbers against scikit-learn, literal loops, laws, and planted cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import NearestNeighbors

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.separation import (
    SeparationNumber,
    effective_rank,
    nc1,
    nearest_mean_correct,
    neighbour_shares,
    neighbours_and_sums,
    probe_correct,
    separation,
    silhouette_values,
)
from ltgen_bench.metrics.separation_error import bootstrap_means, bootstrap_nc1, jackknife_rank

GROUPS = {"many": [0, 1], "medium": [2], "few": [3]}


def planted(spread: float, counts: tuple[int, ...] = (60, 50, 40, 30), dim: int = 12, seed: int = 0):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    features = spread * random.normal(size=(len(counts), dim))[labels] + random.normal(size=(len(labels), dim))
    order = random.permutation(len(labels))
    return features[order], labels[order]


def value(numbers: list[SeparationNumber], group: str, metric: str) -> float:
    (found,) = [one for one in numbers if (one.group, one.metric) == (group, metric)]
    assert found.value is not None
    return found.value


def test_neighbours_and_silhouette_are_those_of_scikit_learn(monkeypatch) -> None:
    features, labels = planted(0.6)
    monkeypatch.setattr("ltgen_bench.metrics.separation._TILE_BYTES", 8 * len(features) * 7)  # tiles of seven rows
    near, sums = neighbours_and_sums(features, labels, 4, 5)
    theirs = NearestNeighbors(n_neighbors=6).fit(features).kneighbors(features, return_distance=False)[:, 1:]
    assert np.array_equal(np.sort(near, axis=1), np.sort(theirs, axis=1))
    ours = silhouette_values(sums, labels, np.bincount(labels))
    assert np.allclose(ours, silhouette_samples(features, labels), atol=1e-10)
    shares = neighbour_shares(near, labels, 4)
    literal = [[np.mean([labels[j] == d for i in np.flatnonzero(labels == c) for j in near[i]]) for d in range(4)]
               for c in range(4)]  # fmt: skip
    assert np.allclose(shares, literal)


def test_the_only_image_of_a_class_has_silhouette_0() -> None:
    features, labels = planted(1.0, (20, 1))
    _, sums = neighbours_and_sums(features, labels, 2, 5)
    ours = silhouette_values(sums, labels, np.bincount(labels))
    assert np.allclose(ours, silhouette_samples(features, labels), atol=1e-10)
    assert ours[labels == 1] == 0


def test_the_nearest_mean_leaves_the_image_out() -> None:
    features, labels = planted(0.5)
    literal = []
    for i in range(len(labels)):
        rest = np.arange(len(labels)) != i
        means = [features[rest & (labels == c)].mean(axis=0) for c in range(4)]
        literal.append(int(np.argmin([np.linalg.norm(features[i] - mean) for mean in means])) == labels[i])
    assert np.array_equal(nearest_mean_correct(features, labels, np.bincount(labels)), np.array(literal, float))


def test_the_probe_is_a_logistic_regression_on_the_other_half() -> None:
    features, labels = planted(0.5)
    correct = probe_correct(features, labels, seed=3)
    assert set(np.unique(correct)) <= {0.0, 1.0}
    half = np.zeros(len(labels), int)
    generator = np.random.default_rng(3)
    for c in range(4):
        own = generator.permutation(np.flatnonzero(labels == c))
        half[own] = np.arange(len(own)) % 2
    fit, ask = half == 1, half == 0
    scaled = (features - features[fit].mean(0)) / features[fit].std(0)
    # the same minimum from another optimiser
    theirs = LogisticRegression(C=1.0, max_iter=500, solver="newton-cg", tol=1e-10).fit(scaled[fit], labels[fit])
    assert np.array_equal(correct[ask], (theirs.predict(scaled[ask]) == labels[ask]).astype(float))


def test_an_image_that_is_alone_is_not_tested() -> None:
    features, labels = planted(2.0, (20, 20, 1))
    correct = probe_correct(features, labels, 0)
    assert np.isnan(correct[labels == 2]).all()
    assert np.isfinite(correct[labels != 2]).all()


def test_nc1_is_the_trace_of_its_definition() -> None:
    features, labels = planted(1.0)
    means = np.array([features[labels == c].mean(axis=0) for c in range(4)])
    within = np.mean([np.cov(features[labels == c].T, bias=True) for c in range(4)], axis=0)
    between = np.cov(means.T, bias=True)
    literal = np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / 4
    assert nc1(features, labels) == pytest.approx(literal)
    # an image of weight 2 is the image twice
    weights = np.ones(len(labels))
    weights[:5] = 2
    twice = nc1(np.concatenate([features, features[:5]]), np.concatenate([labels, labels[:5]]))
    assert nc1(features, labels, weights) == pytest.approx(twice)


def test_the_effective_rank_of_known_covariances() -> None:
    line = np.outer(np.linspace(-1, 1, 50), np.ones(6))
    assert effective_rank(line) == pytest.approx(1)
    square = np.concatenate([np.eye(5), -np.eye(5)])
    assert effective_rank(square) == pytest.approx(5)
    assert effective_rank(np.ones((4, 3))) == 0
    wide = np.random.default_rng(0).normal(size=(6, 40))
    eigenvalues = np.linalg.eigvalsh(np.cov(wide.T, bias=True))
    share = eigenvalues[eigenvalues > 1e-12] / eigenvalues[eigenvalues > 1e-12].sum()
    assert effective_rank(wide) == pytest.approx(np.exp(-(share * np.log(share)).sum()))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_rotation_scale_and_shift_change_nothing(seed: int, scale: float) -> None:
    features, labels = planted(0.7, (30, 20, 15, 14), dim=5, seed=seed % 50)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))
    moved = scale * features @ rotation + 3 * scale
    for metric in ("knn_purity", "silhouette", "nearest_mean_accuracy", "nc1", "effective_rank"):
        before, after = (value(separation(x, labels, 4, GROUPS), "all", metric) for x in (features, moved))
        assert after == pytest.approx(before, rel=1e-6, abs=1e-9)


def test_planted_clusters_and_planted_entanglement() -> None:
    apart = separation(*planted(20.0), 4, GROUPS)
    for metric in ("knn_purity", "nearest_mean_accuracy", "probe_accuracy"):
        assert value(apart, "all", metric) == 1
    assert value(apart, "all", "silhouette") > 0.8
    assert value(apart, "all", "nc1") < 0.05
    features, labels = planted(0.0, (600, 500, 400, 300))
    mixed = separation(features, labels, 4, GROUPS)
    for group in ("all", "few", "class:0"):
        assert value(mixed, group, "knn_over_chance") == pytest.approx(1, abs=0.15)
    assert value(mixed, "all", "silhouette") == pytest.approx(0, abs=0.02)
    # the tail lies inside the first head class: it is where its neighbours are
    features, labels = planted(20.0)
    features[labels == 3] = features[labels == 0][:30] + 1e-3
    borrowed = separation(features, labels, 4, GROUPS)
    assert value(borrowed, "class:3", "neighbours_of:0") > 0.6
    assert value(borrowed, "few", "neighbours_in:many") > 0.6
    assert value(borrowed, "few", "neighbours_in:medium") == 0


def test_groups_are_those_of_their_classes_and_chance_is_said() -> None:
    features, labels = planted(0.6)
    numbers = separation(features, labels, 4, GROUPS)
    many = [value(numbers, f"class:{c}", "knn_purity") for c in (0, 1)]
    assert value(numbers, "many", "knn_purity") == pytest.approx((60 * many[0] + 50 * many[1]) / 110)
    assert value(numbers, "class:3", "knn_chance") == pytest.approx(29 / 179)
    assert value(numbers, "class:3", "knn_over_chance") == pytest.approx(
        value(numbers, "class:3", "knn_purity") * 179 / 29
    )
    for one in numbers:
        assert one.low is None or one.value is None or one.low <= one.value <= one.high or one.metric == "nc1"


def test_too_few_images_are_null_with_their_reason() -> None:
    features, labels = planted(1.0, (40, 40, 10, 1))
    numbers = {(one.group, one.metric): one for one in separation(features, labels, 4, GROUPS)}
    assert numbers["class:2", "knn_purity"].value is None
    assert numbers["class:2", "knn_purity"].reason == "10 images, and 11 are needed"
    assert numbers["few", "probe_accuracy"].reason == "1 images, and 2 are needed"
    assert numbers["all", "knn_purity"].reason == "without 2 classes that have too few images"
    assert numbers["all", "knn_purity"].value is not None
    assert numbers["few", "effective_rank"].value is None
    alone = {(one.group, one.metric): one for one in separation(features[labels == 0], labels[labels == 0], 4, GROUPS)}
    assert {alone["all", metric].reason for metric in ("knn_purity", "silhouette", "probe_accuracy", "nc1")} == {
        "there is only one class"
    }


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.full((20, 2), np.nan), np.zeros(20, np.int64), "NaN"),
        (np.zeros((20, 2)), np.zeros(19, np.int64), r"\(N, D\) and labels \(N,\)"),
        (np.zeros((20, 2)), np.full(20, 4), "must lie in 0 ... 3"),
        (np.zeros((10, 2)), np.zeros(10, np.int64), "too few for 10 neighbours"),
    ],
)
def test_bad_input(features: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(SamplesError, match=message):
        separation(features, labels, 4, GROUPS)


def test_equal_means_have_no_nc1() -> None:
    features = np.concatenate([np.eye(6), -np.eye(6), np.eye(6), -np.eye(6)])
    labels = np.repeat([0, 1], 12)
    assert nc1(features, labels) == float("inf")
    numbers = separation(features, labels, 2, {})
    (one,) = [number for number in numbers if number.metric == "nc1"]
    assert (one.value, one.reason) == (None, "the means of all classes are equal")


def test_intervals_cover_what_other_images_give() -> None:
    """95 % intervals of purity-like means, of NC1 and of the rank hold the value of many images most of the time."""
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        labels = np.repeat([0, 1], [30, 70])
        values = (random.random(100) < np.array([0.9, 0.4])[labels]).astype(float)
        low, high = bootstrap_means(values, labels, trial)
        hits += low <= 0.3 * 0.9 + 0.7 * 0.4 <= high
    assert 0.9 <= hits / 200 <= 0.99
    centres = random.normal(size=(4, 5))
    found = []
    for trial in range(40):
        labels = np.repeat(np.arange(4), 100)
        features = centres[labels] + random.normal(size=(400, 5))
        own = nc1(features, labels)
        low, high = bootstrap_nc1(nc1, features, labels, own, trial)
        found.append((own, high - low))
    values, widths = np.array(found).T
    assert np.mean(widths) / 3.92 == pytest.approx(np.std(values, ddof=1), rel=0.4)
    ranks = [effective_rank(random.normal(size=(80, 5))) for _ in range(100)]
    error = np.mean([jackknife_rank(effective_rank, random.normal(size=(80, 5)), s) for s in range(20)])
    assert error == pytest.approx(np.std(ranks, ddof=1), rel=0.5)
