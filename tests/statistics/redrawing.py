"""How far rows that are drawn again lie from the first ones: false alarms, misses, and what the tolerance can hide.

    OMP_NUM_THREADS=1 python tests/statistics/redrawing.py RUN... > tests/statistics/redrawing.md

For runs under `digits-1k.v2`: root mean squares (of 255) of a row's difference when the same 64 rows are drawn by two
threads, in tiles of other sizes, in bf16, from weights rounded as `leaderboards/evidence` keeps them or changed a
little, and from those of the next run given.
Then: how much nearer to the reference samples come when each may be moved by so much.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from authenticity import Judge, uint8

from ltgen_bench.core.config import DatasetConfig, SamplingConfig, build
from ltgen_bench.core.seeding import labels_by_policy, sample_seeds
from ltgen_bench.datasets import load_dataset
from ltgen_bench.evaluation.record_files import read_record
from ltgen_bench.evaluation.samples import read_samples
from ltgen_bench.leaderboard.submission.rounded_weights import round_weights
from ltgen_bench.methods import DiffusionMethod, sampler
from ltgen_bench.metrics import fid
from ltgen_bench.runs.folder import RunFolder, read_run_config
from ltgen_bench.runs.resolve import resolve
from ltgen_bench.runs.trained_models import load_trained

ROWS, COUNT = 64, 1000


def drawn(
    run: Path,
    *,
    precision: str = "fp32",
    threads: int = 1,
    tile: int = 32,
    change: float = 0.0,
    rounded: bool = False,
    weights: Path | None = None,
) -> np.ndarray:
    """Rows of the run's samples, float64 (64, 1, 8, 8), drawn in one of several ways."""
    record = read_record(run / "record.json")
    resolved = resolve(read_run_config(run / "config.toml").model_dump(mode="json", exclude_none=True), Path("data"))
    method = load_trained(resolved, RunFolder(weights or run), torch.device("cpu"))
    assert isinstance(method, DiffusionMethod)
    assert record.samples.sampler is not None
    sampling = build(SamplingConfig, {**record.samples.sampler, "precision": precision})
    method.run = method.run.model_copy(update={"sampling": sampling})
    if change:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for value in method.network.parameters():
                value.add_(change * value.square().mean().sqrt() * torch.randn(value.shape, generator=generator))
    if rounded:
        with tempfile.TemporaryDirectory() as folder:
            round_weights((weights or run) / "checkpoints" / "model.safetensors", Path(folder) / "rounded")
            method.load(Path(folder) / "rounded")
    torch.set_num_threads(threads)
    sampler.CPU_TILE = tile
    rows = np.linspace(0, COUNT - 1, ROWS).astype(int)
    labels = labels_by_policy(record.protocol.label_policy, COUNT, 10, record.seed or 0)[rows]
    seeds = [seed for row in rows for seed in sample_seeds(record.seed or 0, range(int(row), int(row) + 1))]
    with torch.inference_mode():
        return method.sample(torch.from_numpy(labels), seeds).numpy().astype(np.float64)


def apart(first: np.ndarray, second: np.ndarray) -> str:
    values = np.sqrt(np.square(first - second).mean(axis=(1, 2, 3)))
    return f"{values.min():.2f} / {np.median(values):.2f} / {np.quantile(values, 0.95):.2f} / {values.max():.2f}"


def moved(images: np.ndarray, judge: Judge, budget: float) -> np.ndarray:
    """Samples moved towards the reference's mean and covariance in the network, each by `budget` at the most."""
    start = torch.from_numpy(images.astype(np.float32))
    mean, covariance = torch.from_numpy(judge.real.mean(0)).double(), torch.from_numpy(np.cov(judge.real.T))
    network = judge.sets.main._network  # type: ignore[attr-defined]
    delta = torch.zeros_like(start).requires_grad_()
    optimizer = torch.optim.Adam([delta], max(0.02, budget / 20))
    for _ in range(400):
        features = network(((start + delta).clamp(0, 255) / 127.5 - 1).double())[0]
        loss = (features.mean(0) - mean).square().sum() + 5 * (torch.cov(features.T) - covariance).square().sum().sqrt()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            size = delta.square().mean((1, 2, 3), keepdim=True).sqrt()
            delta.mul_((budget / size.clamp(min=1e-9)).clamp(max=1))
    return uint8((start + delta).detach().numpy())


def main() -> None:
    runs = [Path(argument) for argument in sys.argv[1:]]
    print("# Rows drawn again\n\n`tests/statistics/redrawing.py`. Least / median / 95 % / most of 64 rows, of 255.\n")
    ways = {
        "two threads": {"threads": 2},
        "tiles of 64": {"tile": 64},
        "tiles of 7": {"tile": 7},
        "bf16": {"precision": "bf16"},
        "weights rounded as evidence is": {"rounded": True},
        "weights changed by 1e-4 of their size": {"change": 1e-4},
        "by 1e-3": {"change": 1e-3},
        "by 1e-2": {"change": 1e-2},
    }
    print(f"| run | {' | '.join(ways)} | the next run's weights |\n|{'---|' * (len(ways) + 2)}")
    for place, run in enumerate(runs):
        first = drawn(run)
        cells = [apart(first, drawn(run, **options)) for options in ways.values()]  # type: ignore[arg-type]
        other = runs[(place + 1) % len(runs)]
        cells.append(apart(first, drawn(run, weights=other)) if other.parent == run.parent and other != run else "")
        print(f"| {run.parent.name}, {run.name.rpartition('-')[2]} | {' | '.join(cells)} |", flush=True)
    torch.set_num_threads(1)
    judge = Judge(load_dataset(DatasetConfig(name="digits-lt"), Path("unused")))
    samples = read_samples(runs[0] / "samples" / "samples.npz")
    before = fid(judge.sets.of_images("samples", samples.images), judge.real)
    print(f"\n## What moving every row by so much buys\n\n{runs[0].parent.name}: a distance of {before:.2f} becomes\n")
    print("| moved by, at the most | rows that change | distance |\n|---|---|---|")
    for budget in (0.25, 0.3, 0.5, 1.0, 2.0, 4.0):
        images = moved(samples.images, judge, budget)
        changed = (images != samples.images).any(axis=(1, 2, 3)).mean()
        print(
            f"| {budget} | {changed:.1%} | {fid(judge.sets.of_images('moved', images), judge.real):.2f} |", flush=True
        )


if __name__ == "__main__":
    main()
