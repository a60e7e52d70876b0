"""FID, KID and the Inception Score against closed forms and against pytorch-fid, torch-fidelity and slow versions."""

import importlib
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_fid.fid_score import calculate_frechet_distance
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics import (
    FrechetSolver,
    GaussianStatistics,
    StatisticsAccumulator,
    fid,
    fid_floor,
    fid_infinity,
    frechet_distance,
    frechet_distance_gram,
    gaussian_statistics,
    inception_score,
    kid,
    per_class_fid,
    squared_mmd,
)
from ltgen_bench.metrics.frechet import floor_split
from ltgen_bench.metrics.numerics.gram_on_device import frechet_distance_on


def features(seed, n, d, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((d, d)) / np.sqrt(d)
    return rng.standard_normal((n, d)) @ mixing * scale + shift


def exact_cross_trace(x, y):
    """tr (S1 S2)^(1/2) through another identity: the fidelity of S1^(1/2) S2 S1^(1/2), from two eigh."""
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    w, v = np.linalg.eigh(s1)
    root = (v * np.sqrt(np.maximum(w, 0))) @ v.T
    return np.sqrt(np.maximum(np.linalg.eigvalsh(root @ s2 @ root), 0)).sum()


def test_two_gaussians_with_commuting_covariances_have_the_closed_form():
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 16.0])
    first = GaussianStatistics(np.zeros(3), np.diag(a), 100)
    second = GaussianStatistics(np.array([1.0, 2.0, 0.0]), np.diag(b), 100)
    expected = 5 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-13)


def test_identical_sets_are_at_distance_zero_and_a_shift_adds_its_square():
    x = features(0, 300, 20)
    assert fid(x, x) < 1e-11
    assert fid(x, x + 3.0) == pytest.approx(20 * 9, rel=1e-12)
    assert fid(x[:15], x[:15] + 3.0) == pytest.approx(20 * 9, rel=1e-12)


@pytest.mark.parametrize(("n", "m", "d"), [(400, 300, 30), (500, 60, 50), (2, 2, 8), (20, 400, 40), (7, 9, 64)])
def test_matches_pytorch_fid_and_torch_fidelity(n, m, d):
    x, y = features(1, n, d), features(2, m, d, 1.3, 0.2)
    a, b = gaussian_statistics(x), gaussian_statistics(y)
    assert frechet_distance(a, b) == pytest.approx(fid(x, y), rel=1e-7)
    stats = [{"mu": s.mean, "sigma": s.covariance} for s in (a, b)]
    theirs = fid_statistics_to_metric(*stats, False)["frechet_inception_distance"]
    # The peers take square roots of eigenvalues that are rounding noise where a covariance is singular.
    tolerance = 1e-9 if min(n, m) > d else 2e-5
    assert fid(x, y) == pytest.approx(theirs, rel=tolerance)
    if min(n, m) > d:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pytorch-fid calls sqrtm with an old argument
            peer = calculate_frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
        assert fid(x, y) == pytest.approx(peer, rel=tolerance)


@pytest.mark.parametrize(("n", "m"), [(10, 12), (200, 30), (30, 200), (100, 100), (2, 50)])
def test_gram_route_equals_the_covariance_route(n, m):
    x, y = features(3, n, 40), features(4, m, 40, 0.7, 0.1)
    expected = (
        ((x.mean(0) - y.mean(0)) ** 2).sum()
        + np.trace(np.cov(x, rowvar=False))
        + np.trace(np.cov(y, rowvar=False))
        - 2 * exact_cross_trace(x, y)
    )
    # The slow version squares small singular values, which costs it half of its digits.
    assert frechet_distance_gram(x, y) == pytest.approx(expected, rel=1e-6)
    solver = frechet_distance(gaussian_statistics(x), gaussian_statistics(y))
    assert frechet_distance_gram(x, y) == pytest.approx(solver, rel=1e-7)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 60), (60, 2), (30, 30), (50, 20), (20, 50), (90, 40)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_route_for_gpus_agrees_with_the_gram_route(n, m, dtype):
    rng = np.random.default_rng(n + m)
    x, y = rng.normal(5, 1, (n, 64)).astype(dtype), rng.normal(5, 2, (m, 64)).astype(dtype)
    x[-1] = x[0]  # as a collapsed generator makes them
    traces = float(x.var(axis=0).sum() + y.var(axis=0).sum())
    assert frechet_distance_on(x, y, "cpu") == pytest.approx(frechet_distance_gram(x, y), abs=1e-6 * traces)


def test_singular_covariances_with_enough_samples_fall_back():
    x, y = features(5, 300, 20), features(6, 300, 20, 1.2)
    x[:, 3], y[:, 3], y[:, 7] = 0.0, 0.0, y[:, 8]
    expected = (
        ((x.mean(0) - y.mean(0)) ** 2).sum()
        + np.trace(np.cov(x, rowvar=False))
        + np.trace(np.cov(y, rowvar=False))
        - 2 * exact_cross_trace(x, y)
    )
    assert fid(x, y) == pytest.approx(expected, rel=1e-6)
    no_count = [GaussianStatistics(s.mean, s.covariance, None) for s in map(gaussian_statistics, (x, y))]
    assert frechet_distance(*no_count) == pytest.approx(expected, rel=1e-6)


def test_constant_features_and_one_point_sets():
    ones = np.ones((30, 4))
    assert fid(ones, ones) == 0
    assert fid(ones, ones + 1) == pytest.approx(4, rel=1e-13)
    spread = features(7, 50, 4)
    assert fid(ones, spread) == pytest.approx(
        np.trace(np.cov(spread, rowvar=False)) + ((1 - spread.mean(0)) ** 2).sum(), rel=1e-12
    )


@pytest.mark.parametrize("n", [200, 12])
def test_a_huge_offset_loses_no_digits(n):
    # Integer multiples of 2^-10 stay exact in float64 after adding 1e6.
    x, y = (np.round(features(s, n, 16) * 1024) / 1024 for s in (8, 9))
    assert fid(x + 1e6, y + 1e6) == pytest.approx(fid(x, y), rel=1e-9)


def test_float32_offset_is_centred_in_float64():
    rng = np.random.default_rng(10)
    x = (1e6 + rng.integers(0, 4, (500, 8))).astype(np.float32)
    statistics = gaussian_statistics(x)
    np.testing.assert_allclose(
        statistics.covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-10, atol=1e-12
    )


def test_accumulators_do_not_depend_on_the_batches_and_merge():
    x = features(11, 1000, 12).astype(np.float32)
    whole = gaussian_statistics(x)
    np.testing.assert_allclose(whole.covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-11, atol=1e-13)
    pieces = gaussian_statistics(x[i : i + 37] for i in range(0, 1000, 37))
    first, second = (StatisticsAccumulator(12).update(part) for part in (x[:1], x[1:]))
    merged = second.merge(first).merge(StatisticsAccumulator(12)).result()
    for other in (pieces, merged):
        assert other.count == 1000
        np.testing.assert_allclose(other.mean, whole.mean, rtol=0, atol=1e-13)
        np.testing.assert_allclose(other.covariance, whole.covariance, rtol=0, atol=1e-13)


def test_fid_is_symmetric_and_ignores_the_order_of_samples_and_of_features():
    x, y = features(12, 300, 25), features(13, 350, 25, 1.1)
    rng = np.random.default_rng(0)
    columns = rng.permutation(25)
    assert fid(y, x) == pytest.approx(fid(x, y), rel=1e-10)
    assert fid(rng.permutation(x), rng.permutation(y)) == pytest.approx(fid(x, y), rel=1e-10)
    assert fid(x[:, columns], y[:, columns]) == pytest.approx(fid(x, y), rel=1e-10)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 12), st.integers(0, 10**6), st.floats(0.1, 10))
def test_fid_is_never_negative_and_scales_with_the_square(n, m, d, seed, scale):
    x, y = features(seed, n, d), features(seed + 1, m, d, 1.5)
    value = fid(x, y)
    assert value >= 0
    assert fid(scale * x, scale * y) == pytest.approx(scale**2 * value, rel=1e-6, abs=1e-9)
    assert fid(x + 5, y + 5) == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_per_class_fid_floor_and_extrapolation():
    x, y = features(14, 600, 10), features(15, 600, 10)
    rows = [np.arange(300), np.arange(300, 599), np.array([599]), np.array([], dtype=int)]
    values = per_class_fid(x, rows, y, rows)
    assert values[0] == fid(x[:300], y[:300])
    assert values[2:] == [None, None]
    floor, size = fid_floor(y, 200, seed=0)
    assert size == 200
    assert 0 < floor < 5 * fid(x[:200], y[:200])
    assert fid_floor(y, 500, seed=0)[1] == 300
    assert fid_floor(y[:3], 10, seed=0) is None


@pytest.mark.parametrize(("reference_count", "count"), [(1000, 100), (60, 6), (61, 50)])
def test_the_floor_is_that_of_real_images_against_all_the_others(reference_count, count):
    y = features(18, reference_count, 8)
    drawn, others = floor_split(reference_count, count, seed=3)
    assert len(drawn) == min(count, reference_count // 2)
    assert sorted([*drawn, *others]) == list(range(reference_count))
    assert fid_floor(y, count, seed=3) == (fid(y[drawn], np.delete(y, drawn, axis=0)), len(drawn))


def test_the_floor_is_what_a_perfect_generator_scores():
    reference = features(19, 1200, 10)
    perfect = np.mean([fid(features(100 + seed, 60, 10), reference) for seed in range(60)])
    floor = np.mean([fid_floor(reference, 60, seed=seed)[0] for seed in range(60)])
    assert floor == pytest.approx(perfect, rel=0.15)  # 60 against 60 others score twice as much


def test_fid_infinity_removes_most_of_the_bias():
    # Two samples of one distribution: the true FID is 0 and everything measured is bias, which falls with 1/n.
    x, reference = features(17, 3000, 40), gaussian_statistics(features(16, 30000, 40))
    plain = FrechetSolver(reference).distance(gaussian_statistics(x))
    assert abs(fid_infinity(x, reference, seed=0)) < 0.4 * plain


def test_messages():
    with pytest.raises(SamplesError, match="2 samples"):
        fid(np.ones((1, 3)), np.ones((5, 3)))
    with pytest.raises(SamplesError, match="3 columns against 4"):
        fid(np.ones((5, 3)), np.ones((5, 4)))
    with pytest.raises(SamplesError, match="not symmetric"):
        GaussianStatistics(np.zeros(2), np.array([[1.0, 5.0], [0.0, 1.0]]), 10)
    with pytest.raises(SamplesError, match=r"expected \(2, 2\)"):
        GaussianStatistics(np.zeros(2), np.eye(3), 10)
    with pytest.raises(SamplesError, match="dimension 2 against 3"):
        frechet_distance(GaussianStatistics(np.zeros(2), np.eye(2), 9), GaussianStatistics(np.zeros(3), np.eye(3), 9))
    with pytest.raises(SamplesError, match="empty"):
        gaussian_statistics(iter([]))
    with pytest.raises(SamplesError, match="20 generated"):
        fid_infinity(np.ones((5, 3)), GaussianStatistics(np.zeros(3), np.eye(3), 9), seed=0)


def slow_mmd(x, y):
    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def test_squared_mmd_equals_the_definition_for_unequal_sizes(monkeypatch):
    x, y = features(17, 23, 6), features(18, 31, 6, 1.4)
    expected = slow_mmd(x, y)
    assert squared_mmd(x, y) == pytest.approx(expected, rel=1e-10)
    monkeypatch.setattr(importlib.import_module("ltgen_bench.metrics.kid"), "_ROWS_PER_BLOCK", 5)
    assert squared_mmd(x, y) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_squared_mmd_of_float32_equals_that_of_float64(shift):
    rng = np.random.default_rng(23)
    x, y = (np.abs(rng.standard_normal((n, 256), dtype="f")) + np.float32(shift) for n in (700, 600))
    y *= np.float32(1.05)
    expected = squared_mmd(x.astype("d"), y.astype("d"))
    kernel = (x.astype("d") @ y.astype("d").T / 256 + 1) ** 3
    in_float64 = expected_mmd(x.astype("d"), y.astype("d"), kernel)
    assert expected == pytest.approx(in_float64, rel=1e-9)
    assert squared_mmd(x, y) == pytest.approx(expected, rel=1e-6)
    # Of one distribution, where the value itself is noise, the error stays as small beside the mean kernel.
    half = squared_mmd(x[:300], x[300:])
    assert half == pytest.approx(squared_mmd(x[:300].astype("d"), x[300:].astype("d")), abs=1e-10 * kernel.mean())


def expected_mmd(x, y, between):
    within = [(s @ s.T / s.shape[1] + 1) ** 3 for s in (x, y)]
    means = [(w.sum() - np.trace(w)) / (len(w) * (len(w) - 1)) for w in within]
    return sum(means) - 2 * between.mean()


def test_kid_on_full_subsets_equals_torch_fidelity():
    x, y = features(19, 80, 12), features(20, 80, 12, 1.3)
    theirs = kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subset_size=80, kid_subsets=1, rng_seed=0, verbose=False
    )
    mean, deviation = kid(x, y, subset_size=80, subsets=9, seed=0)
    assert mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-10)
    assert deviation is None  # all nine subsets would be the same one


def test_kid_of_one_distribution_is_zero_within_its_error_and_seeded():
    x, y = features(21, 2000, 8), features(22, 2000, 8)
    mean, std = kid(x, y, subset_size=200, subsets=50, seed=1)
    assert abs(mean) < 4 * std / np.sqrt(10)  # 10 disjoint subsets are what 2,000 samples hold
    assert kid(x, y, subset_size=200, subsets=50, seed=1) == (mean, std)
    assert kid(x, y, subset_size=200, subsets=50, seed=2) != (mean, std)
    with pytest.raises(SamplesError, match="2 samples"):
        squared_mmd(x[:1], y)


def test_inception_score_has_its_closed_forms():
    assert inception_score(np.full((50, 10), 0.1), splits=5, seed=0) == pytest.approx((1, 0), abs=1e-12)
    one_hot = np.eye(10)[np.arange(1000) % 10]
    assert inception_score(one_hot, splits=1, seed=0)[0] == pytest.approx(10, rel=1e-12)
    # A file sorted by class must not score 1 in every split.
    assert inception_score(np.repeat(np.eye(10), 100, axis=0), splits=10, seed=0)[0] > 9


def test_inception_score_of_equal_rows_is_one_and_no_digit_less():
    # Records refuse less than 1, and a collapsed generator's entropies are equal up to rounding only.
    for seed in range(20):
        row = np.random.default_rng(seed).dirichlet(np.ones(10))
        mean, deviation = inception_score(np.tile(row, (50, 1)), splits=5, seed=0)
        assert 1 <= mean < 1 + 1e-14
        assert deviation < 1e-14


def test_inception_score_equals_the_definition():
    p = np.random.default_rng(0).dirichlet(np.full(7, 0.3), 90)
    marginal = p.mean(0)
    expected = np.exp(np.mean([sum(q * np.log(q / r) for q, r in zip(row, marginal, strict=True)) for row in p]))
    assert inception_score(p, splits=1, seed=3)[0] == pytest.approx(expected, rel=1e-12)
    assert 1 <= inception_score(p.astype(np.float32), splits=3, seed=0)[0] <= 7
    with pytest.raises(SamplesError, match="at least 91"):
        inception_score(p, splits=91, seed=0)
