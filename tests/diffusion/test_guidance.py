"""Classifier-free guidance and rows that do not depend on their batch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from unet_sizes import unet_of

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.diffusion import (
    SAMPLERS,
    BatchInvariant,
    NoiseModel,
    SampleNoise,
    UNet,
    guided_noise,
    linear_schedule,
    noise_model,
    to_uint8,
)


@pytest.fixture(scope="module")
def network() -> UNet:
    """The tiny network with noise on every weight, as the initial one is nearly blind."""
    network = UNet(unet_of("tiny8", 1, 8, 10)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network.requires_grad_(False)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def batch(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn((rows, 1, 8, 8), generator=generator)
    return (
        x,
        torch.randint(0, 1000, (rows,), generator=generator),
        torch.randint(-1, 10, (rows,), generator=generator),
    )


class Counted:
    def __init__(self, model: NoiseModel):
        self.model, self.rows = model, []

    def __call__(self, x, t, labels, /):
        self.rows.append(len(x))
        return self.model(x, t, labels)


@pytest.mark.parametrize("w", [0.0, 0.5, 1.5, -1.0])
def test_guidance_equals_two_forwards(network, w):
    x, t, labels = batch(16)
    model = Counted(noise_model(network))
    got = guided_noise(model, x, t, labels, w)
    conditional = network(x, t, labels).noise.double()
    unconditional = network(x, t, torch.full_like(labels, -1)).noise.double()
    expected = (1 + w) * conditional - w * unconditional
    assert model.rows == ([32] if w else [16])  # one forward in either case
    # float32 with two batch sizes
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5 * conditional.abs().max().item())
    if w:
        assert (got.double() - conditional).abs().max() > 1e-2


@pytest.mark.parametrize("tile", [1, 4, 32])
def test_tiles_change_no_row(network, tile):
    x, t, labels = batch(37)
    model = Counted(noise_model(network))
    got = BatchInvariant(model, tile)(x, t, labels)
    assert model.rows == [tile] * -(-37 // tile)
    torch.testing.assert_close(got, network(x, t, labels).noise, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("bf16", [False, True])
def test_rows_are_bit_identical_in_every_batch(network, threads, bf16):
    x, t, labels = batch(128)

    def predict(x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor, /) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return network(x, t, labels).noise

    model = BatchInvariant(predict)
    whole = model(x, t, labels)
    generator = torch.Generator().manual_seed(3)
    for rows in (1, 2, 3, 7, 14, 31, 33, 64, 100):
        chosen = torch.randperm(128, generator=generator)[:rows]  # other neighbours, other positions
        assert torch.equal(model(x[chosen], t[chosen], labels[chosen]), whole[chosen]), rows


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("w", [0.0, 1.0])
def test_samples_are_bit_identical_for_batches_of_64_and_7(network, name, w):
    schedule = linear_schedule()
    alpha_bar = schedule.tables("cpu").alpha_bar

    def predict(x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor, /) -> torch.Tensor:
        """Noise of N(0, 0.1) plus the U-Net's opinion: untrained alone, it drives the images out of [-1, 1]."""
        a = alpha_bar[t].reshape(-1, 1, 1, 1)
        return (1 - a).sqrt() * x / (0.1 * a + 1 - a) + 0.2 * network(x, t, labels).noise

    model = BatchInvariant(predict)
    labels = torch.arange(64) % 10

    def sample(size):
        images = []
        for first in range(0, 64, size):
            rows = range(first, min(first + size, 64))
            noise = SampleNoise(rows, (1, 8, 8))
            images.append(
                SAMPLERS[name](
                    model, noise.initial(), labels[list(rows)], schedule, noise=noise, steps=6, guidance_scale=w
                )
            )
        return torch.cat(images)

    large, small = sample(64), sample(7)
    assert torch.equal(large, small)
    assert (large.abs() < 1).float().mean() > 0.5  # limited values would hide differences
    assert to_uint8(large).unique().numel() > 100


def test_empty_tiles_are_refused(network):
    with pytest.raises(ConfigError, match="tile = 0; a tile needs at least 1 row"):
        BatchInvariant(noise_model(network), 0)
