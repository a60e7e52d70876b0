"""Which classes a training draws, whatever its method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltgen_bench.core.config import RunConfig, TrainingConfig, build
from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.protocol import get_protocol
from ltgen_bench.methods import FitContext
from ltgen_bench.methods.batches import ImageOrder
from ltgen_bench.methods.class_sampling import class_shares, image_weights_by_class

COUNTS = torch.tensor([40, 100, 10, 0, 10])


def test_shares_are_those_of_their_definition() -> None:
    n = np.array([40, 100, 10, 0, 10])
    assert class_shares("natural", COUNTS) is None
    assert class_shares("exponent:1", COUNTS) is None
    for rule, share in {
        "balanced": np.array([1, 1, 1, 0, 1]),
        "exponent:0.5": np.sqrt(n),
        # from head to tail: class 1, 0, then 2 and 4 with equal counts, and the empty one last
        "tail:0.1": np.array([0.1 ** (1 / 4), 1, 0.1 ** (2 / 4), 0, 0.1 ** (3 / 4)]),
    }.items():
        assert class_shares(rule, COUNTS).numpy() == pytest.approx(share / share.sum()), rule


def test_the_tail_of_cifar_is_that_of_the_facts() -> None:
    """Batch resampling of CIFAR10-LT (0.01) with f = 0.1: its counts an epoch, floors of these shares."""
    counts = torch.tensor([int(5000 * 0.01 ** (i / 9)) for i in range(10)])
    found = class_shares("tail:0.1", counts).numpy() * int(counts.sum())
    published = [3035, 2350, 1819, 1408, 1090, 844, 653, 506, 392]
    assert np.floor(found[:9]) == pytest.approx(published, abs=1)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8).filter(any), st.floats(0.01, 1))
def test_the_weights_of_a_class_sum_to_its_share(counts: list[int], number: float) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    for rule in ("balanced", f"exponent:{min(number, 0.99)}", f"tail:{number}"):
        weights = image_weights_by_class(rule, labels, len(counts))
        shares = class_shares(rule, torch.tensor(counts))
        assert weights is not None
        assert shares is not None
        sums = torch.zeros(len(counts), dtype=torch.float64).index_add(0, labels, weights)
        assert sums.tolist() == pytest.approx(shares.tolist())
        assert float(shares.sum()) == pytest.approx(1)


def test_batches_hold_the_classes_in_their_shares() -> None:
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([90, 9, 1]))
    weights = image_weights_by_class("balanced", labels, 3)
    order = ImageOrder(100, 60, 0, np.asarray(weights))
    drawn = np.concatenate([labels.numpy()[order.indices(step)] for step in range(200)])
    assert np.bincount(drawn) / len(drawn) == pytest.approx([1 / 3] * 3, abs=0.02)


@pytest.mark.parametrize("rule", ["even", "exponent", "exponent:2", "tail:0", "tail:x", "tail:nan", "balanced:1", ""])
def test_rules_that_are_none(rule: str) -> None:
    with pytest.raises(ConfigError, match=r"class_sampling: .*natural, balanced, exponent:q"):
        build(TrainingConfig, {"class_sampling": rule}, "training")


def test_the_default_says_nothing_and_one_rule_has_one_spelling() -> None:
    """Hashes of runs from before the key stay."""
    config = RunConfig(protocol=get_protocol("digits-1k.v2"))
    assert "class_sampling" not in config.identity()["training"]
    chosen = build(TrainingConfig, {"class_sampling": "exponent:0.50"}).class_sampling
    assert chosen == "exponent:0.5"
    other = config.model_copy(update={"training": TrainingConfig(class_sampling="balanced")})
    assert other.identity()["training"]["class_sampling"] == "balanced"
    assert other.training_identity() != config.training_identity()


def test_balanced_ddpm_is_the_resampling_method_and_both_at_once_are_refused(quick_run, tmp_path: Path) -> None:
    def trained(name: str, rule: str) -> list[torch.Tensor]:
        run = quick_run(method={"name": name}, training={"class_sampling": rule})
        method = run.make_method()
        method.fit(run.dataset.train(), FitContext(tmp_path / f"{name}-{rule}", torch.device("cpu"), 0))
        return [*method.network.parameters()]

    natural, balanced = trained("ddpm", "natural"), trained("ddpm", "balanced")
    same = [torch.equal(own, other) for own, other in zip(balanced, trained("ddpm-resampling", "natural"), strict=True)]
    assert all(same)
    assert not all(torch.equal(own, other) for own, other in zip(balanced, natural, strict=True))
    with pytest.raises(ConfigError, match="Resampling weighs the images itself"):
        trained("ddpm-resampling", "balanced")
