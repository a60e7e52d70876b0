"""Which methods differ: against scipy's Tukey test, by simulation of equal methods, and what may not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import tukey_hsd

from ltgen_bench.leaderboard.comparison import SeedSeries, _critical_nearly, compare_all, critical_value, rank_ranges


def series(table: np.ndarray, *, pairs: bool) -> list[SeedSeries]:
    return [SeedSeries(dict(enumerate(map(float, row))), pairs) for row in table]


def test_where_seeds_do_not_pair_it_is_tukeys_test():
    random = np.random.default_rng(0)
    table = random.standard_normal((4, 6)) + np.arange(4)[:, None]
    found = compare_all(series(table, pairs=False))
    expected = tukey_hsd(*table).confidence_interval(0.95)
    own = table.var(axis=1, ddof=1)
    for i in range(4):
        assert found[i][i] is None
        for j in range(4):
            if i == j:
                continue
            gap = found[i][j]
            assert gap is not None
            assert not gap.paired
            assert gap.mean == pytest.approx(table[i].mean() - table[j].mean())
            half = (expected.high[i, j] - expected.low[i, j]) / 2
            # two methods that are noisier than all together are given their own noise
            assert (gap.high - gap.low) / 2 == pytest.approx(
                half * math.sqrt(max(1, (own[i] + own[j]) / 2 / own.mean()))
            )
            assert gap.beyond_noise == (not gap.low <= 0 <= gap.high)


def test_what_equal_seeds_share_is_taken_out_only_where_they_pair():
    shared = np.array([0.0, 3.0, -2.0, 5.0])
    table = np.array([shared, shared + 1 + [0.1, -0.1, 0.05, 0], shared + 2 + [0, 0.1, -0.1, 0.05]])
    paired, apart = compare_all(series(table, pairs=True)), compare_all(series(table, pairs=False))
    assert paired[1][0] is not None
    assert paired[1][0].paired
    assert paired[1][0].beyond_noise
    assert apart[1][0] is not None
    assert not apart[1][0].paired
    assert not apart[1][0].beyond_noise
    # samples made elsewhere: an equal seed means nothing, and there is an uncertainty all the same
    mixed = series(table, pairs=True)
    mixed[2] = SeedSeries(mixed[2].values, pairs=False)
    gap = compare_all(mixed)[2][0]
    assert gap is not None
    assert not gap.paired
    other_seeds = SeedSeries({7: 1.0, 8: 2.0, 9: 4.0}, pairs=True)
    gap = compare_all([*series(table, pairs=True), other_seeds])[3][0]
    assert gap is not None
    assert not gap.paired


def test_one_seed_is_compared_by_the_others_noise_and_nothing_by_none():
    table = np.array([[1.0, 1.1, 0.9], [2.0, 2.2, 1.8]])
    gap = compare_all([*series(table, pairs=True), SeedSeries({0: 9.0}, pairs=False)])[2][0]
    assert gap is not None
    assert gap.beyond_noise
    assert compare_all([SeedSeries({0: 1.0}, True), SeedSeries({0: 2.0}, True)]) == [[None, None], [None, None]]


def test_ratios_are_compared_where_noise_is_proportional():
    table = np.exp(np.random.default_rng(3).normal(0, 0.05, (3, 4)) + np.log([[2.0], [4.0], [40.0]]))
    gap = compare_all(series(table, pairs=False), ratio=True)[1][0]
    assert gap is not None
    assert gap.beyond_noise  # on the plain scale the noise of the third hides it
    plain = compare_all(series(table, pairs=False))[1][0]
    assert plain is not None
    assert not plain.beyond_noise
    assert gap.low < gap.mean < gap.high


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize(("methods", "seeds"), [(8, 3), (15, 5)])
def test_equal_methods_are_seldom_called_different(methods: int, seeds: int, pairs: bool):
    """Of boards of equal methods at most 5 % call any pair different: `family_wise_error.py` has the whole table."""
    random = np.random.default_rng(0)
    boards = 200
    wrong = 0
    for _ in range(boards):
        table = random.standard_normal((methods, seeds)) + pairs * random.standard_normal(seeds)
        found = compare_all(series(table, pairs=pairs))
        wrong += any(gap is not None and gap.beyond_noise for row in found for gap in row)
    assert wrong <= 0.05 * boards + 2 * math.sqrt(0.05 * 0.95 * boards)


def test_rank_ranges_hold_what_noise_leaves_open():
    table = np.array([[1.0, 1.2, 1.1], [1.1, 1.2, 1.15], [5.0, 5.2, 5.1]])
    assert rank_ranges(compare_all(series(table, pairs=False))) == [(1, 2), (1, 2), (3, 3)]


def test_more_seeds_separate_what_three_do_not():
    table = np.array([[1.0, 2.0, 3.0], [1.5, 3.5, 4.0]])
    gap = compare_all(series(table, pairs=False))[1][0]
    assert gap is not None
    assert not gap.beyond_noise
    assert gap.seeds_needed is not None
    assert gap.seeds_needed > 3
    same = compare_all(series(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]), pairs=False))[1][0]
    assert same is not None
    assert same.seeds_needed is None
    assert critical_value(2, 1000) == pytest.approx(1.96, abs=0.01)


@pytest.mark.parametrize("methods", [2, 3, 9])
def test_critical_values_between_the_tabulated_ones(methods: int):
    for dof in (3, 20, 22, 35, 50, 90, 400, 5000, 200_000):
        assert _critical_nearly(methods, dof) == pytest.approx(critical_value(methods, dof), rel=1e-3)
