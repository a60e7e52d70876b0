"""Intervals: against closed forms, against the spread over new samples, and whatever the order of the rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from ltgen_bench.metrics import FeatureArrays, MetricSettings, compute_metrics, fid, kid, manifold_scores
from ltgen_bench.metrics.frechet import FrechetSolver
from ltgen_bench.metrics.frechet_error import gram_error, influence_error
from ltgen_bench.metrics.kid import kid_error
from ltgen_bench.metrics.manifold_error import coverage_error, recall_error, recall_halves
from ltgen_bench.metrics.numerics.content_order import content_order, deal
from ltgen_bench.metrics.numerics.statistics import gaussian_statistics
from ltgen_bench.metrics.uncertainty import (
    StandardError,
    difference_interval,
    error_of_mean,
    number_interval,
    proportion_interval,
    residuals,
    share_interval,
)

FEW = MetricSettings(prd_runs=3, prd_clusters_per_class=4, kid_subset_size=60, kid_subsets=5)
GROUPS = {"many": [0, 1], "medium": [2], "few": [3, 4]}


def sample(seed: int, n: int = 300, *, equal: bool = True, spread: float = 1.2) -> FeatureArrays:
    """Five Gaussian classes in eight dimensions, and a softmax of the distances to their centres."""
    random = np.random.default_rng([11, seed])
    centres = 2.5 * np.random.default_rng(1).standard_normal((5, 8))
    labels = np.arange(n) % 5 if equal else random.integers(5, size=n)
    features = (centres[labels] + spread * random.standard_normal((n, 8))).astype(np.float32)
    logits = -np.square(features[:, None] - centres).sum(axis=2)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    return FeatureArrays(features, labels, chances / chances.sum(axis=1, keepdims=True))


def report(arrays: FeatureArrays, **changes) -> dict:
    settings = MetricSettings(**{**FEW.__dict__, "by_content": True, **changes})
    return compute_metrics(
        arrays, sample(0, spread=1.0), settings=settings, groups=GROUPS, classifier_probabilities=arrays.probabilities
    ).to_dict()


def test_the_mean_of_independent_samples_has_the_textbook_interval():
    values = np.random.default_rng(0).standard_normal(2000)
    error = error_of_mean(values, None)
    assert error.value == pytest.approx(values.std(ddof=1) / math.sqrt(2000), rel=1e-12)
    interval = number_interval(float(values.mean()), error, 0.9)
    assert interval.high - interval.low == pytest.approx(2 * norm.ppf(0.95) * error.value, rel=1e-3)
    assert number_interval(0.1, StandardError(1.0, "made up"), 0.95, least=0.0).low == 0


def test_a_fixed_number_a_class_takes_off_what_classes_differ_by():
    labels = np.arange(1000) % 4
    values = labels + 0.1 * np.random.default_rng(0).standard_normal(1000)
    assert error_of_mean(values, None).value == pytest.approx(values.std(ddof=1) / math.sqrt(1000))
    assert error_of_mean(values, labels).value == pytest.approx(0.1 / math.sqrt(1000), rel=0.1)
    # more classes than samples can tell: nothing is left within a class, so all of them are taken together
    assert error_of_mean(np.arange(5.0), np.arange(5)).value == pytest.approx(np.arange(5).std(ddof=1) / math.sqrt(5))
    rest, dof = residuals(np.stack([values, -values], axis=1), labels)
    assert (rest[:, 0] == -rest[:, 1]).all()
    assert dof == 996


@given(p=st.floats(0.02, 0.98), n=st.integers(20, 5000))
def test_a_share_has_wilsons_interval(p: float, n: int):
    share = round(p * n) / n
    if not 0 < share < 1:
        return
    interval = share_interval(share, StandardError(math.sqrt(share * (1 - share) / n), "made up"), 0.95, count=n)
    expected = binomtest(round(share * n), n).proportion_ci(0.95, method="wilson")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("successes", "count"), [(0, 50), (50, 50), (0, 1), (1, 1)])
def test_a_share_that_does_not_vary_has_the_exact_interval(successes: int, count: int):
    flags = np.arange(count) < successes
    error = error_of_mean(flags, None) if count > 1 else StandardError(0.0, "one sample")
    interval = share_interval(successes / count, error, 0.9, count=count)
    assert interval == proportion_interval(successes, count, 0.9)
    if successes:
        assert binom.sf(successes - 1, count, interval.low) == pytest.approx(0.05, rel=1e-6)
    else:
        assert binom.cdf(successes, count, interval.high) == pytest.approx(0.05, rel=1e-6)


def test_differences_of_independent_numbers():
    a, b = (number_interval(v, StandardError(error, "made up"), 0.95) for v, error in ((7.0, 3.0), (1.0, 4.0)))
    both = difference_interval(7.0, a, 1.0, b)
    expected = number_interval(6.0, StandardError(5.0, "made up"), 0.95)  # variances add
    assert (both.low, both.high) == pytest.approx((expected.low, expected.high))
    assert StandardError(2.0, "a").times(-3).value == 6
    # Newcombe (1998), table II, (a) 56/70 and 48/80: method 10 gives .0524 to .3339
    shares = [56 / 70, 48 / 80]
    wilson = [
        share_interval(p, StandardError(math.sqrt(p * (1 - p) / n), "made up"), 0.95, count=n)
        for p, n in zip(shares, (70, 80), strict=True)
    ]
    gap = difference_interval(shares[0], wilson[0], shares[1], wilson[1])
    assert (gap.low, gap.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@given(seed=st.integers(0, 2**32 - 1), parts=st.integers(1, 7))
def test_dealing_is_even_and_knows_no_order(seed: int, parts: int):
    random = np.random.default_rng(seed)
    features = random.standard_normal((60, 3)).astype(np.float32)
    labels = random.integers(3, size=60)
    part = deal(features, labels, parts)
    for c in np.unique(labels):
        counts = np.bincount(part[labels == c], minlength=parts)
        assert counts.max() - counts.min() <= 1
    order = random.permutation(60)
    assert (deal(features[order], labels[order], parts) == part[order]).all()
    assert (features[order][content_order(features[order])] == features[content_order(features)]).all()


def test_nothing_in_a_report_depends_on_the_order_of_the_file():
    arrays = sample(3)
    order = np.random.default_rng(0).permutation(len(arrays))
    shuffled = FeatureArrays(arrays.features[order], arrays.labels[order], arrays.probabilities[order])
    first, second = report(arrays), report(shuffled)
    for key in ("fid", "kid", "inception_score", "f8", "f1_8", "precision", "recall", "coverage"):
        assert second[key] == pytest.approx(first[key], rel=1e-9), key
    assert first["confidence"].keys() == second["confidence"].keys()
    for key, interval in first["confidence"].items():
        for bound in ("low", "high"):
            assert second["confidence"][key][bound] == pytest.approx(interval[bound], rel=1e-6, abs=1e-9), key


def test_every_number_has_an_interval_groups_and_gaps_too():
    found = report(sample(3))
    overall = ("fid", "kid", "inception_score", "f8", "f1_8", "precision", "recall", "density", "coverage")
    for key in (*overall, "label_accuracy"):
        interval = found["confidence"][key]
        assert interval["low"] <= found[key] <= interval["high"], key
    for key in ("fid", "f8", "f1_8", "precision", "recall", "density", "coverage", "label_accuracy"):
        for group in GROUPS:
            interval = found["confidence"][f"groups.{group}.{key}"]
            assert interval["low"] <= found["groups"][group][key] <= interval["high"], (group, key)
        interval = found["confidence"][f"head_tail_gap.{key}"]
        assert interval["low"] <= found["head_tail_gap"][key] <= interval["high"], key
    assert report(sample(3), intervals=False)["confidence"] == {}


@pytest.mark.parametrize("equal", [True, False])
def test_standard_errors_are_the_spread_over_new_samples(equal: bool):
    """The law behind every interval, on a model whose samples cost nothing; `tests/statistics` has the full tables."""
    reference = sample(0, 400, spread=1.0)
    statistics = gaussian_statistics(reference.features)
    solver = FrechetSolver(statistics)
    values: dict[str, list[float]] = {}
    errors: dict[str, list[float]] = {}
    for number in range(1, 161):
        arrays = sample(number, equal=equal)
        x, strata = arrays.features, arrays.labels if equal else None
        of_x = gaussian_statistics(x)
        distance, gradient = solver.distance_and_gradient(of_x)
        mmd, deviation = kid(x, reference.features, subset_size=300, subsets=1, seed=0)
        scores = manifold_scores(x, reference.features, k=3)
        everything = np.ones(400, dtype=bool)
        in_balls = scores.reference_counts, scores.reference_sets, scores.reference_single
        recall = recall_error(recall_halves(x, reference.features, strata, k=3), everything, 300)
        assert recall is not None
        for key, value, error in (
            ("fid", distance, influence_error(x, of_x, statistics.mean, gradient, strata)),
            ("kid", mmd, kid_error(x, reference.features, strata, subset_size=300, subsets=1, subset_std=deviation)),
            ("precision", scores.precision, error_of_mean(scores.generated_inside, strata)),
            ("recall", scores.recall, recall),
            ("coverage", scores.coverage, coverage_error(*in_balls, everything, strata, 300)),
        ):
            values.setdefault(key, []).append(value)
            errors.setdefault(key, []).append(error.value)
    for key, found in values.items():
        ratio = math.sqrt(np.mean(np.square(errors[key]))) / np.std(found, ddof=1)
        # 160 draws know a deviation to 6 %
        assert 0.82 < ratio < 1.3, (key, ratio)


def test_with_fewer_samples_than_dimensions_the_distance_is_left_out_group_by_group():
    random = np.random.default_rng(0)
    reference = random.standard_normal((80, 50))
    draws = [1.5 * np.random.default_rng([1, i]).standard_normal((40, 50)) for i in range(60)]
    spread = np.std([fid(x, reference) for x in draws], ddof=1)
    errors = [gram_error(x, reference, None) for x in draws[:20]]
    estimated = math.sqrt(np.mean([error.value**2 for error in errors if error is not None]))
    assert 0.8 < estimated / spread < 1.6  # rather too wide where the distance is far from smooth
    assert gram_error(draws[0][:19], reference, None) is None
