"""Low-rank parts of convolutions: as they are added, switched off, merged and saved."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from baselines_support import tiny_method
from conftest import Cli, refused
from torch import nn
from torch.nn import functional

from ltgen_bench.methods.adapters import LowRankConv2d, merge_low_rank, without_low_rank


def layer(rank: int = 2) -> LowRankConv2d:
    return LowRankConv2d(nn.Conv2d(4, 6, 3, padding=1), rank, torch.Generator().manual_seed(0))


def test_it_starts_as_the_convolution_and_is_one_of_the_sum() -> None:
    conv = nn.Conv2d(4, 6, 3, padding=1)
    own = LowRankConv2d(conv, 2, torch.Generator().manual_seed(0))
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(own(x), conv(x))
    assert (own.low_rank_a.shape, own.low_rank_b.shape) == ((6, 12), (18, 6))
    with torch.no_grad():
        own.low_rank_b.normal_()
    change = (own.low_rank_b @ own.low_rank_a).reshape(6, 4, 3, 3)
    torch.testing.assert_close(own(x), functional.conv2d(x, conv.weight + change, conv.bias, padding=1))
    own.low_rank = False
    assert torch.equal(own(x), conv(x))


def test_a_starts_as_kaiming_says() -> None:
    own = LowRankConv2d(nn.Conv2d(64, 64, 3, padding=1), 40, torch.Generator().manual_seed(0))
    literal = nn.init.kaiming_normal_(torch.empty(own.low_rank_a.shape), a=5**0.5)
    assert float(own.low_rank_a.detach().std()) == pytest.approx(float(literal.std()), rel=0.05)


def test_merged_equals_unmerged_and_is_merged_once() -> None:
    method = tiny_method("cm")
    x, t, labels = torch.randn(3, 3, 8, 8), torch.tensor([1, 400, 900]), torch.tensor([0, 1, -1])
    method.network.eval()
    before = method.network(x, t, labels).noise
    with without_low_rank(method.network):
        general = method.network(x, t, labels).noise
    assert not torch.allclose(before, general, atol=1e-3)
    merge_low_rank(method.network)
    torch.testing.assert_close(method.network(x, t, labels).noise, before, rtol=1e-4, atol=1e-5)
    merged = copy.deepcopy(method.network.state_dict())
    merge_low_rank(method.network)
    assert all(torch.equal(merged[key], value) for key, value in method.network.state_dict().items())


def test_a_saved_model_draws_the_same_merged_or_not(tmp_path: Path) -> None:
    method = tiny_method("cm")
    x, t, labels = torch.randn(2, 3, 8, 8), torch.tensor([5, 500]), torch.tensor([2, 3])
    before = method.network.eval()(x, t, labels).noise
    method.save(tmp_path / "model")
    for turn in ("first", "again"):  # what was merged and saved is the same model still
        other = tiny_method("cm")
        other.load(tmp_path / "model")
        torch.testing.assert_close(other.network.eval()(x, t, labels).noise, before, rtol=1e-4, atol=1e-5, msg=turn)
        other.save(tmp_path / "model")


def test_which_layers_have_a_second_part() -> None:
    method = tiny_method("cm")
    named = {name for name, module in method.network.named_modules() if isinstance(module, LowRankConv2d)}
    decoder = {
        name
        for name, module in method.network.named_modules()
        if name.startswith("up.") and isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    }
    assert named == decoder
    assert len(named) > 4
    ranks = {
        module.low_rank_a.shape[0] // 3 for module in method.network.modules() if isinstance(module, LowRankConv2d)
    }
    assert ranks == {1}  # a tenth of 8 or 16 channels, and at least 1


def test_the_weights_are_those_of_the_facts() -> None:
    counts = [int(5000 * 0.01 ** (i / 9)) for i in range(10)]
    released = tiny_method("cm", class_counts=counts, method={"variant": "released"}).class_weights()  # type: ignore[attr-defined]
    assert [round(float(released[i]), 2) for i in (0, 7, 8, 9)] == pytest.approx([4.02, -0.18, -0.42, -0.76], abs=0.012)
    balanced = tiny_method("cm", class_counts=[7] * 4).class_weights()  # type: ignore[attr-defined]
    assert balanced.tolist() == pytest.approx([0.0] * 4)


def test_weights_without_a_second_part_are_refused(cli: Cli) -> None:
    line = refused(cli("run", "--method", "cm", "--set", "method.rank_ratio=0", "--dry-run"))
    assert "set rank_ratio above 0, or both to 0" in line
