"""The moving average against a float64 loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ltgen_bench.core.errors import CheckpointError, ConfigError
from ltgen_bench.diffusion import ExponentialMovingAverage


def small_network() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(4, 2))
    network[2].bias.requires_grad_(False)
    return network


@settings(deadline=None, max_examples=25)
@given(
    decay=st.floats(0, 0.9999),
    warmup=st.booleans(),
    seed=st.integers(0, 1000),
    steps=st.integers(1, 60),
)
def test_average_equals_a_float64_loop(decay, warmup, seed, steps):
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(shape, generator=generator) for shape in ((3, 4), (5,), ())]
    expected = [weight.double() for weight in weights]
    ema = ExponentialMovingAverage(weights, decay, warmup)
    for i in range(steps):
        for weight in weights:
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
        d = min(decay, (i + 1) / (i + 10)) if warmup else decay
        expected = [d * average + (1 - d) * weight.double() for average, weight in zip(expected, weights, strict=True)]
        ema.update(i)
    for average, value in zip(ema.state().values(), expected, strict=True):
        torch.testing.assert_close(average.double(), value, rtol=0, atol=2e-6)  # one float32 rounding a step


def test_ramp():
    ema = ExponentialMovingAverage([torch.zeros(1)], 0.995, warmup=True)
    assert [ema.decay_at(i) for i in (0, 1, 90)] == [1 / 10, 2 / 11, 91 / 100]
    assert ema.decay_at(10_000) == 0.995
    assert ExponentialMovingAverage([torch.zeros(1)], 0.995).decay_at(0) == 0.995


def test_no_bias_correction_from_the_initial_weights():
    weight = torch.tensor([1.0])
    ema = ExponentialMovingAverage([weight], 0.9)
    weight.fill_(2.0)
    ema.update(0)
    assert ema.state()["0"].item() == pytest.approx(1.1, rel=1e-6)


def test_a_module_is_averaged_with_its_buffers_copied():
    network = small_network()
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    ema = ExponentialMovingAverage.of(network, 0.75)
    network(torch.randn((4, 2, 6, 6), generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    ema.update(0)
    state = ema.state()
    assert set(state) == set(start)
    assert state["1.num_batches_tracked"].item() == 1
    assert torch.equal(state["1.running_mean"], network[1].running_mean)
    assert torch.equal(state["2.bias"], network[2].bias)  # frozen: copied, not averaged
    torch.testing.assert_close(state["0.weight"], start["0.weight"] + 0.25)

    other = small_network()
    ema.copy_to(other)
    assert all(torch.equal(tensor, state[name]) for name, tensor in other.state_dict().items())
    weights = [torch.zeros_like(tensor) for tensor in state.values()]
    ema.copy_to(weights)
    assert all(torch.equal(a, b) for a, b in zip(weights, state.values(), strict=True))


def test_going_on_from_a_state_is_exact():
    weights = [torch.randn(7, generator=torch.Generator().manual_seed(0))]
    ema = ExponentialMovingAverage(weights, 0.9, warmup=True)
    other = ExponentialMovingAverage([weights[0]], 0.9, warmup=True)
    for i in range(5):
        weights[0].mul_(1.1)
        ema.update(i)
    other.load({name: tensor.clone() for name, tensor in ema.state().items()})
    weights[0].mul_(1.1)
    ema.update(5)
    other.update(5)
    assert torch.equal(ema.state()["0"], other.state()["0"])


def test_averages_of_half_precision_weights_are_float32():
    weight = torch.ones(3, dtype=torch.bfloat16)
    ema = ExponentialMovingAverage([weight], 0.9999)
    weight.fill_(2.0)
    for i in range(10):
        ema.update(i)
    assert ema.state()["0"].dtype == torch.float32
    torch.testing.assert_close(ema.state()["0"], torch.full((3,), 2 - 0.9999**10))  # lost in bfloat16


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"EMA decay = 1\.0"):
        ExponentialMovingAverage([torch.zeros(1)], 1.0)
    with pytest.raises(ConfigError, match="no parameters"):
        ExponentialMovingAverage([])
    ema = ExponentialMovingAverage({"a": torch.zeros(2), "b": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="'b' are missing"):
        ema.load({"a": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"'a' have shape \(2,\), the other \(3,\)"):
        ema.load({"a": torch.zeros(3), "b": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="holds 'c'"):
        ema.load({"a": torch.zeros(2), "b": torch.zeros(1), "c": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="'b' are missing"):
        ema.copy_to({"a": torch.zeros(2)})
