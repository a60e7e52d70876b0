"""Cut seeds and class orders: which classes are rare, which images stay, and what that is called."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltgen_bench.core.config import DatasetConfig, RunConfig
from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.protocol import get_protocol
from ltgen_bench.datasets import load_dataset, named_options
from ltgen_bench.datasets.cut import Cut, split_cut_name, tail_size

NOWHERE = Path("/nonexistent")

ORDERS = st.one_of(st.none(), st.just("reversed"), st.integers(0, 2**32 - 1))
SEEDS = st.integers(0, 2**32 - 1)


def digits(**options):
    return load_dataset(DatasetConfig(**options), NOWHERE)


def rows(images):
    return {image.tobytes() for image in images}


@given(ORDERS, SEEDS)
def test_a_name_says_which_cut_it_is(order, seed):
    cut = Cut(order, seed)
    stem, options = split_cut_name(f"cifar10lt-0.001{cut.suffix}")
    assert stem == "cifar10lt-0.001"
    assert Cut(options.get("class_order"), options.get("cut_seed", 0)) == cut


@given(ORDERS, st.lists(st.integers(1, 10**6), min_size=1, max_size=50))
def test_an_order_moves_counts_and_loses_none(order, counts):
    cut = Cut(order)
    placed = cut.by_class(sorted(counts, reverse=True))
    assert sorted(placed) == sorted(counts)
    assert [placed[c] for c in cut.head_to_tail(len(counts))] == sorted(counts, reverse=True)


def test_the_papers_cut_is_the_default_and_has_no_other_hash():
    protocol = get_protocol("digits-1k.v1")
    plain = RunConfig(dataset=DatasetConfig(name="digits-lt"), protocol=protocol)
    same = RunConfig(dataset=DatasetConfig(name="digits-lt", cut_seed=0, class_order="index"), protocol=protocol)
    other = RunConfig(dataset=DatasetConfig(name="digits-lt", cut_seed=1), protocol=protocol)
    assert plain.hash() == same.hash() != other.hash()
    assert not {"cut_seed", "class_order"} & plain.identity()["dataset"].keys()
    assert other.training_identity()["dataset"]["cut_seed"] == 1


def test_another_cut_has_other_images_in_the_tail_and_leaves_the_held_out_ones_alone():
    papers, other = digits(), digits(cut_seed=1)
    assert other.name == "digits-lt-cut1"
    assert other.class_counts == papers.class_counts
    assert other.fingerprint() != papers.fingerprint()
    nine = [rows(data.train().images[data.train().labels == 9]) for data in (papers, other)]
    assert nine[0] != nine[1]
    assert other.held_out().fingerprint() == papers.held_out().fingerprint()
    held = set(
        np.flatnonzero(
            np.isin([i.tobytes() for i in papers.reference_set().images], list(rows(papers.held_out().images)))
        )
    )
    assert not held & set(other.train_indices())


def test_a_cut_is_contained_in_a_larger_one_of_its_seed():
    small, large = digits(imbalance=0.05, cut_seed=3), digits(imbalance=0.5, cut_seed=3)
    assert set(small.train_indices()) <= set(large.train_indices())


def test_another_order_makes_other_classes_rare():
    reversed_, drawn = digits(class_order="reversed"), digits(class_order=5)
    assert reversed_.class_counts == digits().class_counts[::-1]
    assert reversed_.groups.few == (0, 1, 2)
    order = np.random.RandomState(5).permutation(10)
    assert [drawn.class_counts[c] for c in order] == list(digits().class_counts)
    assert set(drawn.groups.few) == set(order[-3:])
    assert tuple(drawn.train().counts(10)) == drawn.class_counts


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits-lt-cut2", {"name": "digits-lt", "cut_seed": 2}),
        ("digits-lt-0.1-reversed", {"name": "digits-lt", "imbalance": 0.1, "class_order": "reversed"}),
        ("digits-8-order1-cut4", {"name": "digits", "per_class": 8, "class_order": 1, "cut_seed": 4}),
        ("cifar10lt-0.001", {"name": "cifar10lt", "imbalance": 0.001}),
        ("cifar10lt-nan", {"name": "cifar10lt-nan"}),
        ("digits-lt-cut", {"name": "digits-lt-cut"}),
        ("digits-lt-cut-1", {"name": "digits-lt-cut-1"}),
        ("digits-lt-order٣", {"name": "digits-lt-order٣"}),
    ],
)
def test_canonical_names_as_options(name, options):
    assert named_options(name) == options
    if options["name"] != name:
        assert load_dataset(DatasetConfig(**options), NOWHERE).name == name


def test_the_control_is_as_poor_as_the_tail_and_has_its_groups():
    data = digits(class_order=5)
    assert data.control == f"digits-{(11 + 8 + 6) // 3}-order5"
    control = load_dataset(DatasetConfig(**named_options(data.control)), NOWHERE)
    assert control.name == data.control
    assert control.groups == data.groups
    assert set(control.class_counts) == {tail_size(data.class_counts, data.groups.few)} == {8}
    assert control.control == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "digits", "cut_seed": 1}, "is whole: cut_seed has no meaning"),
        ({"name": "imagenet-lt", "cut_seed": 1}, "has no option 'cut_seed'"),
        ({"name": "celeba5", "class_order": "reversed"}, "has no option 'class_order'"),
    ],
)
def test_cuts_where_there_are_none(options, message):
    with pytest.raises(ConfigError, match=message):
        load_dataset(DatasetConfig(**options), NOWHERE)
