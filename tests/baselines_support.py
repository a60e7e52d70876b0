"""Small methods, batches and trainings for the tests of the baselines and of the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltgen_bench.core.mappings import merge
from ltgen_bench.methods import NO_LABEL, DataSpec, DiffusionBatch, DiffusionMethod, FitContext
from ltgen_bench.methods.trainer import Trainer
from ltgen_bench.runs.resolve import ResolvedRun, resolve

# Large enough to have every kind of layer, small enough for hundreds of steps a second.
TINY = {
    "network": {"base_channels": 8, "norm_groups": 4, "dropout": 0.0},
    "training": {"steps": 5, "batch_size": 16, "warmup_steps": 2},
    "execution": {"checkpoint_every": 5, "log_every": 1, "threads": 1},
}
METHOD_NAMES = [
    "ddpm",
    "ddpm-resampling",
    "ddpm-reweighting",
    "cbdm",
    "ccua",
    "cm",
    "ddpm-cg",
    "ddpm-cg-balanced",
    "diffrop-reconstructed",
    "t2h",
    "h2t",
    "transfer-full",
    "coral",
    "ambient-contrastive",
    "tiw-unconditional",
]


def tiny_run(name: str = "ddpm", **layers: Any) -> ResolvedRun:
    return resolve(merge(TINY, {"method": {"name": name}, "dataset": {"name": "digits-lt"}}, layers), Path("unused"))


def tiny_method(name: str = "ddpm", class_counts: Sequence[int] = (40, 20, 10, 5), **layers: Any) -> DiffusionMethod:
    """An untrained method on 3-channel images of 8 x 8; every weight is random, so that nothing is zero by chance."""
    run = tiny_run(name, **layers)
    spec = DataSpec((3, 8, 8), tuple(str(c) for c in range(len(class_counts))), tuple(class_counts))
    method = run.method_class(spec, run.config)
    assert isinstance(method, DiffusionMethod)
    method.to(torch.device("cpu"))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        modules = [method.network, method.extra, *([] if method.classifier is None else [method.classifier.network])]
        for parameter in [parameter for module in modules for parameter in module.parameters()]:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return method


def make_batch(
    method: DiffusionMethod, labels: Sequence[int], dropped: Sequence[int] = (), t: Sequence[int] | None = None
) -> DiffusionBatch:
    """A random batch with these labels, the rows `dropped` without theirs, at random or given noise levels."""
    size = len(labels)
    generator = torch.Generator().manual_seed(11)
    y = torch.tensor(labels)
    shape = (size, *method.spec.image_shape)
    x0 = torch.rand(shape, generator=generator) * 2 - 1
    noise = torch.randn(shape, generator=generator)
    times = torch.randint(method.schedule.steps, (size,), generator=generator) if t is None else torch.tensor(t)
    conditioning = y.clone()
    conditioning[list(dropped)] = NO_LABEL
    return DiffusionBatch(x0, noise, times, method.schedule.add_noise(x0, noise, times), y, conditioning, 0, 77)


def gradients(method: DiffusionMethod, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of a loss for every parameter; zeros where it has none."""
    parameters = {
        **{f"network.{name}": p for name, p in method.network.named_parameters()},
        **{f"extra.{name}": p for name, p in method.extra.named_parameters()},
    }
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(p) if gradient is None else gradient
        for (name, p), gradient in zip(parameters.items(), found, strict=True)
    }


def make_trainer(run: ResolvedRun, folder: Path, rows: list[dict[str, Any]] | None = None, **options: Any) -> Trainer:
    """A trainer of a run's method on its data; rows of the log go to `rows`."""
    method = run.make_method()
    assert isinstance(method, DiffusionMethod)
    log = (lambda row: None) if rows is None else rows.append
    context = FitContext(folder, torch.device("cpu"), run.config.seed, log=log, **options)
    return Trainer(method, run.dataset.train(), context)


def trained(run: ResolvedRun, folder: Path) -> dict[str, Tensor]:
    """Train to the end; everything in the training state that it leaves: weights, EMA, optimiser."""
    from ltgen_bench.methods.checkpoints import read_checkpoint

    trainer = make_trainer(run, folder)
    trainer.run()
    return read_checkpoint(trainer.state_path)[1]


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Two training states are equal to the bit."""
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different
