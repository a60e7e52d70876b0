"""A sample's noise belongs to its seed: not to batch, position or block."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.diffusion import SampleNoise
from ltgen_bench.diffusion import noise as noise_module

SHAPE = (1, 3, 5)


def draws(seeds, count, shape=SHAPE):
    noise = SampleNoise(seeds, shape)
    return torch.stack([noise.initial(), *(noise.step().clone() for _ in range(count - 1))], dim=1)  # (B, count, ...)


@settings(deadline=None, max_examples=30)
@given(seeds=st.lists(st.integers(0, 2**70), min_size=1, max_size=9), count=st.integers(1, 70))
def test_rows_are_the_streams_of_their_seeds(seeds, count):
    got = draws(seeds, count)
    for row, seed in zip(got, seeds, strict=True):
        stream = np.random.Generator(np.random.PCG64(seed))
        assert np.array_equal(row.numpy(), stream.standard_normal((count, *SHAPE), dtype=np.float32))


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_noise_does_not_depend_on_the_batch(data):
    seeds = data.draw(st.lists(st.integers(0, 1000), min_size=2, max_size=12))
    order = data.draw(st.permutations(range(len(seeds))))
    cut = data.draw(st.integers(1, len(seeds) - 1))
    whole = draws(seeds, 40)
    permuted = [seeds[k] for k in order]
    parts = torch.cat([draws(permuted[:cut], 40), draws(permuted[cut:], 40)])
    assert torch.equal(parts, whole[list(order)])


def test_noise_does_not_depend_on_the_block(monkeypatch):
    expected = draws([3, 4], 70)
    for steps, size in ((1, 2**26), (7, 2**26), (32, 300)):  # 300 bytes: two steps of this batch
        monkeypatch.setattr(noise_module, "BLOCK_STEPS", steps)
        monkeypatch.setattr(noise_module, "BLOCK_BYTES", size)
        assert torch.equal(draws([3, 4], 70), expected)


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_noise_drawn_ahead_by_threads_is_the_same(rows):
    """The way of CUDA devices, without one."""
    expected = draws(range(rows), 100)
    with ThreadPoolExecutor(3) as pool:
        noise = SampleNoise(range(rows), SHAPE)
        noise._pool = pool
        got = [noise.initial(), *(noise.step().clone() for _ in range(99))]
    assert torch.equal(torch.stack(got, dim=1), expected)


@pytest.mark.gpu
def test_noise_on_a_device_is_the_same():
    noise = SampleNoise(range(5), SHAPE, "cuda")
    got = [noise.initial(), *(noise.step().clone() for _ in range(99))]
    assert torch.equal(torch.stack(got, dim=1).cpu(), draws(range(5), 100))


def test_noise_is_standard_normal_and_independent():
    values = draws(range(200), 40, (1, 4, 4)).double().flatten(1)  # (200, 640): neighbouring seeds
    n = values.numel()
    assert values.mean().item() == pytest.approx(0, abs=5 / n**0.5)
    assert values.var().item() == pytest.approx(1, abs=5 * (2 / n) ** 0.5)
    assert values.pow(4).mean().item() == pytest.approx(3, abs=5 * (96 / n) ** 0.5)
    correlation = torch.corrcoef(values) - torch.eye(200, dtype=torch.float64)
    assert correlation.abs().max().item() < 6 / 640**0.5  # 19,900 pairs: 6 standard errors


def test_initial_is_a_copy():
    noise = SampleNoise([1], SHAPE)
    x = noise.initial()
    x.zero_()
    assert torch.equal(torch.stack([noise.step()], 1)[0], draws([1], 2)[0, 1:])


def test_bad_seeds_are_named():
    with pytest.raises(ConfigError, match="no seeds"):
        SampleNoise([], SHAPE)
    with pytest.raises(ConfigError, match="seed -2; seeds must be 0 or more"):
        SampleNoise([1, -2], SHAPE)
