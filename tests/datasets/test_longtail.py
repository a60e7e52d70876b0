"""Class counts, index selection and groups, against formulas and re-implementations written for these tests."""

import hashlib
import math
from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltgen_bench.core.errors import ConfigError, DataError
from ltgen_bench.datasets.longtail import (
    exponential_counts,
    groups_by_counts,
    groups_by_thirds,
    largest_exponential_counts,
    pareto_counts,
    select_balanced_indices,
    select_longtail_indices,
)


@pytest.mark.parametrize(
    ("n_max", "imbalance", "classes", "total", "tail"),
    [(5000, 0.01, 10, 12_406, 50), (5000, 0.001, 10, 9_324, 5), (500, 0.01, 100, 10_847, 5), (120, 0.05, 10, 405, 6)],
)
def test_published_totals(n_max, imbalance, classes, total, tail):
    counts = exponential_counts(n_max, imbalance, classes)
    assert (sum(counts), counts[0], counts[-1]) == (total, n_max, tail)


@given(
    n_max=st.integers(1000, 10_000),
    imbalance=st.sampled_from([0.001, 0.003, 0.01, 0.02, 0.05, 0.07, 0.1, 0.29, 0.3, 0.57, 0.7, 1.0]),
    classes=st.integers(2, 30),
)
@settings(deadline=None, max_examples=60)
def test_counts_are_exact_floors(n_max, imbalance, classes):
    # 60 decimal digits; a value within 1e-40 of an integer is that integer (its power would be an integer identity)
    getcontext().prec = 60
    rho = Decimal(str(imbalance))
    expected = []
    for i in range(classes):
        value = Decimal(n_max) * rho ** (Decimal(i) / Decimal(classes - 1))
        nearest = value.to_integral_value()
        expected.append(int(nearest) if abs(value - nearest) < Decimal("1e-40") else math.floor(value))
    assert exponential_counts(n_max, imbalance, classes) == tuple(expected)


def test_an_exact_product_is_not_rounded_down():
    # 100 * 0.29 is 28.999999999999996 in binary floating point
    assert int(100 * 0.29) == 28
    assert exponential_counts(100, 0.29, 2) == (100, 29)


def test_balanced_and_single_class():
    assert exponential_counts(7, 1.0, 4) == (7, 7, 7, 7)
    assert exponential_counts(7, 0.01, 1) == (7,)


@pytest.mark.parametrize("imbalance", [0.0, -0.1, 1.0001, math.nan, math.inf])
def test_imbalance_out_of_range(imbalance):
    with pytest.raises(ConfigError, match=r"imbalance is smallest / largest class, in \(0, 1\]"):
        exponential_counts(5000, imbalance, 10)


def test_an_empty_tail_is_refused():
    with pytest.raises(ConfigError, match=r"imbalance 0.0001 leaves no image .* smallest possible is 0.0002"):
        exponential_counts(5000, 0.0001, 10)


@given(available=st.lists(st.integers(1, 300), min_size=2, max_size=12), imbalance=st.sampled_from([0.1, 0.3, 1.0]))
@settings(deadline=None, max_examples=60)
def test_largest_head_by_trying_all(available, imbalance):
    available = sorted(available, reverse=True)
    fitting = []
    for n_max in range(1, available[0] + 1):
        try:
            counts = exponential_counts(n_max, imbalance, len(available))
        except ConfigError:
            continue
        if all(a <= b for a, b in zip(counts, available, strict=True)):
            fitting.append(counts)
    if fitting:
        assert largest_exponential_counts(available, imbalance) == fitting[-1]
    else:
        with pytest.raises(ConfigError):
            largest_exponential_counts(available, imbalance)


def literal_rule(labels, counts, seed):
    """The published code's way: the global legacy generator, class after class, shuffle all, keep the first."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(seed)  # noqa: NPY002
        kept = []
        for label in range(len(counts)):
            places = np.where(np.array(labels) == label)[0]
            np.random.shuffle(places)  # noqa: NPY002
            kept.extend(places[: counts[label]].tolist())
        return kept
    finally:
        np.random.set_state(state)  # noqa: NPY002


@given(seed=st.integers(0, 2**32 - 1), data=st.data())
@settings(deadline=None, max_examples=50)
def test_index_rule_against_the_literal_one(seed, data):
    labels = np.array(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=60)))
    available = np.bincount(labels, minlength=5)
    counts = [data.draw(st.integers(0, int(n))) for n in available]
    chosen = select_longtail_indices(labels, counts, seed)
    assert chosen.dtype == np.int64
    assert chosen.tolist() == literal_rule(labels, counts, seed)


def test_index_rule_is_pinned():
    # guards the stream itself: numpy promises never to change the legacy generator
    labels = np.tile(np.arange(10), 500)
    chosen = select_longtail_indices(labels, exponential_counts(500, 0.01, 10))
    assert hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest() == PINNED


PINNED = "1dcb3c7b51b2fb52e10afa89c302312a3ada8a5133cdcbaf53bdc4fd823a5cd9"  # of literal_rule, too


@given(
    seed=st.integers(0, 2**32 - 1),
    imbalances=st.tuples(st.floats(0.005, 1), st.floats(0.005, 1)),
    order=st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=40)
def test_nesting(seed, imbalances, order):
    labels = [c for c in range(6) for _ in range(200)]
    order.shuffle(labels)
    small, large = sorted(imbalances)
    chosen = {}
    for rho in (small, large):
        counts = exponential_counts(200, rho, 6)
        chosen[rho] = np.split(select_longtail_indices(np.array(labels), counts, seed), np.cumsum(counts)[:-1])
    for inner, outer in zip(chosen[small], chosen[large], strict=True):
        assert np.array_equal(inner, outer[: len(inner)])


def test_the_smaller_cifar_cut_is_contained_in_the_larger():
    labels = np.random.RandomState(3).permutation(np.repeat(np.arange(10), 5000))
    larger = select_longtail_indices(labels, exponential_counts(5000, 0.01, 10))
    smaller = select_longtail_indices(labels, exponential_counts(5000, 0.001, 10))
    assert (len(larger), len(smaller)) == (12_406, 9_324)
    assert set(smaller.tolist()) < set(larger.tolist())


def test_balanced_subsets_nest():
    labels = np.tile(np.arange(3), 50)
    sizes = [select_balanced_indices(labels, n, 3) for n in (5, 20, 50)]
    assert [np.bincount(labels[s]).tolist() for s in sizes] == [[5] * 3, [20] * 3, [50] * 3]
    assert set(sizes[0].tolist()) < set(sizes[1].tolist()) < set(sizes[2].tolist())


def test_too_few_images_and_foreign_labels():
    with pytest.raises(DataError, match="class 1 has 2 images, 3 are asked for"):
        select_longtail_indices(np.array([0, 1, 1]), [1, 3])
    with pytest.raises(DataError, match="numbers from 0 to 1"):
        select_longtail_indices(np.array([0, 2]), [1, 1])


@pytest.mark.parametrize(
    ("classes", "many", "medium", "few"),
    [
        (10, range(4), range(4, 7), range(7, 10)),
        (100, range(34), range(34, 67), range(67, 100)),
        (3, [0], [1], [2]),
        (2, [0], [], [1]),
        (1, [0], [], []),
    ],
)
def test_thirds(classes, many, medium, few):
    groups = groups_by_thirds(classes).as_dict()
    assert groups == {"many": tuple(many), "medium": tuple(medium), "few": tuple(few)}
    assert list(groups) == ["many", "medium", "few"]


def test_thirds_of_another_order():
    assert groups_by_thirds(4, [2, 0, 3, 1]).as_dict() == {"many": (0, 2), "medium": (3,), "few": (1,)}


def test_shot_groups_at_their_borders():
    groups = groups_by_counts([1280, 101, 100, 20, 19, 5])
    assert groups.as_dict() == {"many": (0, 1), "medium": (2, 3), "few": (4, 5)}
    assert "more than 100" in groups.rule
    assert "fewer than 20" in groups.rule


@given(st.integers(1, 5000), st.floats(0.5, 50), st.integers(1, 300))
def test_pareto_counts_are_quantiles_of_numpys_pareto(n_max, alpha, classes):
    counts = pareto_counts(n_max, alpha, classes)
    assert counts[0] == n_max
    assert list(counts) == sorted(counts, reverse=True)
    assert min(counts) >= 1
    u = (np.arange(classes) + 0.5) / classes
    quantiles = u ** (-1 / alpha) - 1
    exact = np.maximum(1, n_max * quantiles / quantiles[0])
    assert (np.abs(counts - np.maximum(1, np.floor(exact))) <= 1).all()  # the oracle's floats may fall below an integer


def test_pareto_of_the_size_of_imagenet_lt():
    counts = pareto_counts(1280, 6, 1000, 5)
    assert (counts[0], counts[-1], len(counts)) == (1280, 5, 1000)
    # the counts of Liu et al. are a draw from this distribution, with the sum 115,846
    assert sum(counts) == 99_952
    draws = np.sort(np.random.RandomState(0).pareto(6, 1_000_000))[::-1]
    medians = draws[500::1000]  # of the steps of one thousandth; the extreme one is noisy
    ratios = medians[100:900] / medians[100]
    assert np.allclose(np.array(counts[100:600]) / counts[100], ratios[:500], rtol=0.05)


def test_pareto_mistakes():
    for arguments in ((0, 6, 10), (5, 6, 0), (5, 6, 10, 6), (5, 6, 10, 0)):
        with pytest.raises(ConfigError, match="class counts need a head of at least 1 image"):
            pareto_counts(*arguments)


def test_the_cut_by_the_mean_size_has_the_published_counts() -> None:
    from ltgen_bench.datasets.longtail import mean_exponential_counts

    # sizes with ImageNet's and Places365's sums; CCUA's facts state 275,288 (1281 ... 12) and about 389k images
    imagenet = mean_exponential_counts([1282] * 167 + [1281] * 833, 0.01)
    assert (sum(imagenet), imagenet[0], imagenet[-1]) == (275_288, 1281, 12)
    places = mean_exponential_counts([5000] * 0 + [4941] * 360 + [4940] * 5, 0.01)
    assert (sum(places), places[0], places[-1]) == (388_960, 4940, 49)
    assert mean_exponential_counts([4, 100, 10], 0.25) == (4, 19, 9)  # floor(38 rho^(i / 2)), and what there is
    with pytest.raises(ConfigError, match="leaves no image"):
        mean_exponential_counts([5, 5], 0.01)
