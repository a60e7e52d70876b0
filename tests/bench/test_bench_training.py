"""Speed of training and of the baselines against the plain way, both sides in one run.

Run alone: `python -m pytest tests/bench/test_bench_training.py -q -s`. Both sides take turns and the fastest of their
runs counts, in processor time of one thread, as other programs on the machine slow down single runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from baselines.transfer import transfer_weights
from ltgen_bench.core.devices import autocast
from ltgen_bench.datasets import ImageSet
from ltgen_bench.diffusion import linear_schedule
from ltgen_bench.methods import METHODS, DataSpec, DiffusionBatch, DiffusionMethod
from ltgen_bench.methods.batches import ImageOrder, ResidentImages
from ltgen_bench.runs.resolve import resolve

WIDE = {"training": {"batch_size": 8}, "dataset": {"name": "cifar10lt"}}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    """Ratio plain / ours, printed and kept with the benchmark."""
    ratio = plain / ours
    benchmark.extra_info.update(plain_ms=plain * 1e3, ours_ms=ours * 1e3, ratio=ratio)
    print(f"\n{name}: plain {plain * 1e3:.2f} ms, ours {ours * 1e3:.2f} ms, {ratio:.3f}x")
    return ratio


def full_size(name: str, layers: dict[str, Any] = WIDE) -> DiffusionMethod:
    """A method with the 35 M parameter network of the 32-pixel data sets, or with that of other `layers`."""
    run = resolve({**layers, "method": {"name": name}}, Path("unused"))
    method = METHODS.get(name)(run.spec, run.config)
    assert isinstance(method, DiffusionMethod)
    method.to(torch.device("cpu"))
    method.network.train()
    return method


def make_batch(spec: DataSpec, size: int) -> DiffusionBatch:
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(size, *spec.image_shape, generator=generator) for _ in range(2))
    t = torch.randint(1000, (size,), generator=generator)
    labels = torch.randint(spec.class_count, (size,), generator=generator)
    return DiffusionBatch(x0, noise, t, linear_schedule().add_noise(x0, noise, t), labels, labels, 0, 0)


def step_of(method: DiffusionMethod, size: int, precision: str = "fp32") -> Callable[[], None]:
    """Losses and gradients of one batch; the optimiser, the same for all, is left out."""
    batch = make_batch(method.spec, size)

    def step() -> None:
        with autocast(torch.device("cpu"), precision):
            losses = method.losses(batch)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        method.network.zero_grad()
        method.extra.zero_grad()

    return step


def test_transfer_weights(benchmark: BenchmarkFixture) -> None:
    """Against the differences of all pairs as one B x B x D tensor: in the same float64, and in float32."""
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.rand(128, 3072, generator=generator), torch.randn(128, 3072, generator=generator)
    schedule = linear_schedule()
    sigmas = torch.from_numpy(np.sqrt(schedule.one_minus_alpha_bar / schedule.alpha_bar))
    sigma = sigmas[torch.randint(1000, (128,), generator=generator)]

    def broadcast(dtype: torch.dtype) -> Tensor:
        images, scale = x0.to(dtype), sigma[:, None].to(dtype)
        noisy = images + scale * noise
        distances = (noisy[:, None] - images[None]).square().sum(dim=2)
        return (-distances / (2 * scale**2)).softmax(dim=1)

    def ours() -> Tensor:
        return transfer_weights(x0, noise, x0, sigma)

    same, narrow, mine = fastest(10, lambda: broadcast(torch.float64), lambda: broadcast(torch.float32), ours)
    benchmark.pedantic(ours, rounds=3)
    assert report(benchmark, "transfer weights, B 128, D 3072, against float32", narrow, mine) > 30
    assert report(benchmark, "transfer weights, B 128, D 3072, against float64", same, mine) > 60


def test_optimiser(benchmark: BenchmarkFixture) -> None:
    """Clip and step on the 32 px network's parameters: fused Adam against the default."""
    network = full_size("ddpm").network
    sides = []
    for fused in (None, True):
        parameters = [p.detach().clone().requires_grad_() for p in network.parameters()]
        for p in parameters:
            p.grad = torch.randn_like(p)
        options: dict[str, Any] = {"fused": True} if fused else {}
        sides.append(torch.optim.Adam(parameters, lr=2e-4, **options).step)
    plain, mine = fastest(8, *sides)
    benchmark.pedantic(sides[1], rounds=2)
    assert report(benchmark, "Adam, 35.8 M parameters", plain, mine) > 1.5


class PilImages(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """The usual data set of CIFAR code: PIL images through torchvision's transforms."""

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        from torchvision import transforms

        self.images, self.labels = images.transpose(0, 2, 3, 1), labels
        self.transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.5,) * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def test_data_per_step(benchmark: BenchmarkFixture) -> None:
    """A batch of 128 images at 32 px: cut, flipped and scaled at once, against PIL transforms in a DataLoader."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (12_406, 3, 32, 32), dtype=np.uint8)
    labels = generator.integers(0, 10, 12_406)
    image_set = ImageSet(images, labels)
    loader = torch.utils.data.DataLoader(PilImages(images, labels), batch_size=128, shuffle=True, drop_last=True)
    batches = iter(loader)
    resident, order = ResidentImages(image_set, torch.device("cpu")), ImageOrder(len(images), 128, 0)
    step = 0

    def ours() -> None:
        nonlocal step
        flip = torch.rand(128, 1, 1, 1) < 0.5
        resident.batch(order.indices(step), flip)
        step += 1

    plain, mine = fastest(20, lambda: next(batches), ours)
    benchmark.pedantic(ours, rounds=3)
    assert report(benchmark, "data of a step, batch 128", plain, mine) > 5


def test_bf16_training_step(benchmark: BenchmarkFixture) -> None:
    """Forward and backward of the 32 px network in bf16 (autocast) against fp32."""
    method = full_size("ddpm")
    plain, mine = fastest(2, step_of(method, 8), step_of(method, 8, "bf16"))
    benchmark.pedantic(step_of(method, 8, "bf16"), rounds=1)
    report(benchmark, "training step, bf16", plain, mine)


def test_costs_over_ddpm(benchmark: BenchmarkFixture) -> None:
    """Methods' steps against DDPM's on the 32 px network, all taking turns: what they should cost, and room for noise.

    Two passes are two; CM's second one goes through low-rank convolutions too, and the classifier of unbiased score
    matching is passed forth and back over what the U-Net sees.
    """
    limits = {"coral": 1.02, "t2h": 1.02, "ambient-contrastive": 1.02, "ddpm-cg": 1.0, "coral+t2h": 1.04}
    limits |= dict.fromkeys(("cbdm", "ccua", "diffrop-reconstructed", "coral+cbdm"), 2.05)
    limits |= {"cm": 2.25, "cm+cbdm": 3.35, "tiw-unconditional": 1.25}
    steps = [step_of(full_size(name), 8) for name in ("ddpm", *limits)]
    base, *costs = fastest(8, *steps)
    benchmark.pedantic(steps[0], rounds=1)
    ratios = {name: round(cost / base, 3) for name, cost in zip(limits, costs, strict=True)}
    benchmark.extra_info.update(ratios)
    print(f"\na DDPM step {base:.2f} s; others, of it: {ratios}")
    assert not {name: ratio for name, ratio in ratios.items() if ratio > 1.08 * limits[name]}


def test_tracking_costs_less_than_a_hundredth(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """A row for TensorBoard, by the default of one in 100 steps, against 100 steps of the smallest network there is."""
    pytest.importorskip("tensorboard")
    from ltgen_bench.core.tracking import Tracking

    row = {"step": 100, "losses": {"diffusion": 0.1, "coral": 0.2}, "gradient_norm": 1.0, "learning_rate": 1e-3}
    tracking = Tracking(["tensorboard"], tmp_path, "bench", {})
    step = step_of(full_size("ddpm", {"dataset": {"name": "digits-lt"}}), 64)
    try:
        training, rows = fastest(5, step, lambda: [tracking.log(row) for _ in range(20)])
        benchmark.pedantic(lambda: tracking.log(row), rounds=5)
    finally:
        tracking.close()
    share = rows / 20 / (100 * training)
    benchmark.extra_info.update(share=share)
    print(f"\na row {rows / 20 * 1e3:.3f} ms, 100 steps {100 * training * 1e3:.0f} ms: {share:.4%}")
    assert share < 0.01
