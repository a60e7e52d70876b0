"""Speed of the diffusion library against the plain way, both sides in one run.

Run alone: `python -m pytest tests/bench/test_bench_diffusion.py -q -s`. Both sides take turns and the fastest of their
runs counts, in processor time of one thread, as other programs on the machine slow down single runs.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from unet_sizes import unet_of

from ltgen_bench.diffusion import (
    SAMPLERS,
    ExponentialMovingAverage,
    SampleNoise,
    UNet,
    guided_noise,
    linear_schedule,
    noise_model,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> UNet:
    """The 35 M parameter network of the 32-pixel data sets."""
    return UNet(unet_of("cifar32", 3, 32, 10)).eval()


def fastest(rounds: int, *sides: Callable[[], object]) -> list[float]:
    """Fastest processor time of each side in seconds, the sides taking turns after one warm-up each."""
    for side in sides:
        side()
    best = [float("inf")] * len(sides)
    for _ in range(rounds):
        for index, side in enumerate(sides):
            start = time.process_time()
            side()
            best[index] = min(best[index], time.process_time() - start)
    return best


def report(benchmark: BenchmarkFixture, name: str, plain: float, ours: float) -> float:
    ratio = plain / ours
    benchmark.extra_info.update(plain_ms=plain * 1e3, ours_ms=ours * 1e3, ratio=ratio)
    print(f"\n{name}: plain {plain * 1e3:.1f} ms, ours {ours * 1e3:.1f} ms, {ratio:.2f}x")
    return ratio


def test_ema_against_a_loop_over_the_state_dict(benchmark: BenchmarkFixture, network: UNet) -> None:
    ema = ExponentialMovingAverage.of(network, 0.9999)
    average = copy.deepcopy(network)

    def per_key() -> None:
        source, target = network.state_dict(), average.state_dict()
        for key in source:
            target[key].data.copy_(target[key].data * 0.9999 + source[key].data * (1 - 0.9999))

    plain, ours = fastest(10, per_key, lambda: ema.update(0))
    benchmark.pedantic(ema.update, args=(0,), rounds=10, warmup_rounds=1)
    assert report(benchmark, "EMA update, 35.8 M parameters", plain, ours) >= 6.0


@pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported(),
    reason="this processor has no bf16 units",
)
def test_guided_step_batched_in_bf16_against_two_fp32_forwards(benchmark: BenchmarkFixture, network: UNet) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((16, 3, 32, 32), generator=generator)
    t, labels = torch.full((16,), 500), torch.arange(16) % 10
    plain_model = noise_model(copy.deepcopy(network))
    model = noise_model(copy.deepcopy(network).to(memory_format=torch.channels_last))
    x_last = x.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def two_forwards() -> None:
        conditional = plain_model(x, t, labels)
        unconditional = plain_model(x, t, torch.full_like(labels, -1))
        _ = conditional + 1.5 * (conditional - unconditional)

    @torch.no_grad()
    def batched() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            guided_noise(model, x_last, t, labels, 1.5)

    plain, ours = fastest(3, two_forwards, batched)
    benchmark.pedantic(batched, rounds=2)
    assert report(benchmark, "guided step, batch 16", plain, ours) >= 1.8


@pytest.mark.parametrize("rows", [1, 32])
@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_overhead_of_a_step(benchmark: BenchmarkFixture, name: str, rows: int) -> None:
    """Everything but the network: a "network" that returns its input, 1,000 steps of 8x8 images, noise included."""
    schedule = linear_schedule()
    x, labels = torch.zeros(rows, 1, 8, 8), torch.zeros(rows, dtype=torch.int64)

    def sample() -> None:
        noise = SampleNoise(range(rows), (1, 8, 8))
        SAMPLERS[name](lambda x, t, labels: x, x, labels, schedule, noise=noise, clip_x0=True)

    (seconds,) = fastest(3, sample)
    benchmark.pedantic(sample, rounds=3)
    benchmark.extra_info["microseconds_a_step"] = seconds * 1e3
    print(f"\n{name}, {rows} rows: {seconds * 1e3:.1f} us a step")
    assert seconds / schedule.steps < 100e-6
