"""What each process of `test_distributed.py` does; started by torchrun with the folder to write to."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from baselines_support import METHOD_NAMES, make_trainer, tiny_run
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from baselines.coral import CORAL
from ltgen_bench.core.distributed import gather_with_gradient, join_world, leave_world
from ltgen_bench.core.errors import TrainingError
from ltgen_bench.methods import ClassifierConfig, DiffusionBatch, FitContext, Method, fit_classifier
from ltgen_bench.runs.resolve import ResolvedRun
from ltgen_bench.runs.sampling import sample_to_file

RUNS = {
    "ddpm": {},
    "cbdm": {},
    "ccua": {},
    "cm": {},
    "diffrop-reconstructed": {"weight": 1.0},
    "t2h": {},
    "coral": {"weight": 1.0},
    "coral+cbdm": {"coral": {"weight": 1.0}},
    "cm+t2h": {},
    "ambient-contrastive": {"weight": 1.0},
    "ddpm-cg": {},
    "tiw-unconditional": {"balance": 0.5},  # with a classifier that has not learned yet
    "coral-without-weight": {"weight": 0.0},  # its head is never used
    "coral-triplets": {"weight": 1.0, "loss": "ProxyNCALoss"},  # a loss with weights of its own
}
TRAINING = {"steps": 4, "batch_size": 32, "label_drop": 0.3}


def comparison_run(title: str) -> ResolvedRun:
    name = title if title in METHOD_NAMES or "+" in title else title.split("-")[0]
    return tiny_run(name, method=RUNS[title], training=TRAINING)


def noise_classifier(folder: Path) -> None:
    """As `ddpm-cg` trains it, in a folder of its own."""
    run = comparison_run("ddpm-cg")
    fit_classifier(
        run.spec, run.config, ClassifierConfig(), run.dataset.train(), FitContext(folder, torch.device("cpu"), 0)
    )


class Sometimes(CORAL):
    """Its head is used in every second step only, and only by the first process."""

    def losses(self, batch: DiffusionBatch) -> dict[str, Tensor]:
        losses = super(CORAL, self).losses(batch)
        if batch.step % 2 and batch.first == 0:
            bottleneck = self.network(batch.x_t, batch.t, batch.conditioning).bottleneck
            losses["own"] = self.extra["head"](bottleneck).square().mean()
        else:
            losses["own"] = batch.x0.new_zeros(())
        return losses


def gather(folder: Path, rank: int) -> None:
    """A loss over all rows on every process, its gradients averaged as DistributedDataParallel does."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 4, generator=generator))
        layer.bias.zero_()
    rows = torch.randn(6, 4, generator=generator)[3 * rank : 3 * rank + 3]
    z = gather_with_gradient(normalize(layer(rows), dim=1))
    (gradient,) = torch.autograd.grad((z @ z.T).exp().sum(), layer.weight)
    torch.distributed.all_reduce(gradient)
    kept = gather_with_gradient(torch.tensor([rank == 0, True, False]))
    if rank == 0:
        save_file({"gradient": gradient / 2, "z": z.detach(), "kept": kept}, folder / "gather.safetensors")


class Numbered(Method):
    """Images that tell their seed, drawn slowly enough for a process that comes late to find some on disk."""

    def fit(self, train_set: object, context: object) -> None: ...
    def save(self, path: Path) -> None: ...
    def load(self, path: Path) -> None: ...

    def sample(self, labels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        time.sleep(0.02)
        return torch.tensor([seed % 256 for seed in seeds], dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)


def late_sampling(folder: Path) -> None:
    world, run = join_world(), comparison_run("ddpm")
    if world.rank == 1:
        time.sleep(0.5)
    config = run.config.model_copy(update={"method": {"name": "numbered"}})
    sample_to_file(
        Numbered(run.spec, config), folder / "late.npz", count=100, seed=3, key="k", batch_size=8, world=world
    )


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    world = join_world()
    gather(folder, world.rank)
    for title in RUNS:
        make_trainer(comparison_run(title), folder / title).run()
    noise_classifier(folder / "noise-classifier")
    # begun by one process, which stopped after two steps
    make_trainer(comparison_run("coral"), folder / "begun").run()

    sometimes = make_trainer(tiny_run("coral", training=TRAINING), folder / "sometimes")
    sometimes.method.__class__ = Sometimes
    sometimes._loss_module._losses = sometimes.method.losses  # type: ignore[assignment]
    sometimes.run()

    broken = make_trainer(comparison_run("ddpm"), folder / "broken")
    losses = broken.method.losses
    nan = float("nan") if world.rank == 1 else 1.0
    broken._loss_module._losses = lambda batch: {k: v * nan for k, v in losses(batch).items()}  # type: ignore[assignment]
    try:
        broken.run()
    except TrainingError as error:  # on both processes, or this one would wait forever
        (folder / f"broken-{world.rank}").write_text(str(error))
    world.barrier()
    late_sampling(folder)
    leave_world()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
