"""What a diffusion method has to do besides: losses that train everything, however their batch is divided."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltgen_bench.methods.batches import DiffusionBatch
from ltgen_bench.methods.checkpoints import read_checkpoint
from ltgen_bench.methods.trainer import LossModule
from ltgen_bench.testing.checklist import PluginCheck, Skipped, expect
from ltgen_bench.testing.method_trials import TRIAL_STEPS, MethodTrial

_BATCHES = 4  # with rare paths in mind, such as images without a label


def _losses_are_scalars_with_a_gradient(trial: MethodTrial) -> None:
    """Each term is a finite scalar tensor that trains something."""
    for step in range(_BATCHES):
        for name, loss in LossModule(trial.shaken)(trial.batch(step)).items():
            expect(bool(torch.isfinite(loss)), f"{name!r} is {float(loss.detach())} on a batch of real images")
            expect(loss.requires_grad, f"{name!r} has no gradient: it is logged, and trains nothing")


def _every_parameter_is_reached(trial: MethodTrial) -> None:
    """Every trainable parameter has a gradient, and nobody's modules stand where the trainer does not look."""
    method = trial.shaken
    outside = [
        name
        for name, value in vars(method).items()
        if isinstance(value, nn.Module | nn.Parameter) and name not in ("network", "extra")
    ]
    expect(not outside, f"self.{''.join(outside[:1])} is not trained or saved: return it from extra_modules")
    module = LossModule(method)
    module.zero_grad()
    for step in range(_BATCHES):
        losses: dict[str, Tensor] = module(trial.batch(step))
        torch.stack([loss.float() for loss in losses.values()]).sum().backward()  # type: ignore[no-untyped-call]
    unused = (
        ("network.class_embedding.",) if trial.run.config.training.label_drop == 1 else ()
    )  # trained without labels
    wanted = [
        (name, parameter)
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and not name.startswith(unused)
    ]
    missed = [name for name, parameter in wanted if parameter.grad is None or not parameter.grad.any()]
    module.zero_grad()
    more = f" and {len(missed) - 3} more" if len(missed) > 3 else ""
    expect(
        not missed,
        f"no gradient reaches {', '.join(missed[:3])}{more}: use them in losses, or set requires_grad to False",
    )


def _order_does_not_matter(trial: MethodTrial) -> None:
    """The losses of a batch are those of the same images in another order."""
    batch = _watched(trial.batch(0))
    order = torch.randperm(len(batch.x0), generator=torch.Generator().manual_seed(1))
    whole, shuffled = _losses(trial, batch), _losses(trial, batch.in_order(order))
    _expect_close(whole, shuffled, "with the images of the batch in another order")


def _halves_equal_the_whole(trial: MethodTrial) -> None:
    """The mean of the losses of a batch's halves is the loss of the batch, as gradient accumulation needs it."""
    if trial.shaken.in_batch:
        raise Skipped("in_batch: its loss compares the images of a whole batch")
    size = trial.run.config.training.batch_size
    whole = _losses(trial, _watched(trial.batch(0)))
    halves = [_losses(trial, trial.batch(0, rows)) for rows in (slice(0, size // 2), slice(size // 2, size))]
    mean = {name: (halves[0][name] + halves[1][name]) / 2 for name in whole}
    _expect_close(
        whole, mean, "as the mean over its halves: average over images, or set in_batch = True and gather their rows"
    )


def _a_resumed_training_equals_an_unbroken_one(trial: MethodTrial) -> None:
    """Killed after a checkpoint and started again, a training ends with the same bits."""
    often = {"execution": {"checkpoint_every": 2}}
    unbroken = trial.trainer(trial.new_folder("unbroken"), often)
    unbroken.run()
    folder = trial.new_folder("resumed")
    killed = trial.trainer(folder, often)
    for _ in range(2):
        killed.train_step()
    killed.checkpoint()
    killed.train_step()  # lost
    resumed = trial.trainer(folder, often)
    resumed.run()
    expected, found = trained_state(unbroken.state_path), trained_state(resumed.state_path)
    different = [name for name in expected if not torch.equal(expected[name], found[name])]
    shown = ", ".join(different[:2])
    expect(
        not different,
        f"{len(different)} of {len(expected)} tensors differ ({shown}, ...): keep what changes in modules or buffers "
        "of extra_modules, and draw from batch.uniform or batch.generator",
    )


def trained_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a finished training."""
    header, tensors = read_checkpoint(path)
    expect(header["step"] == TRIAL_STEPS, f"the training stopped at step {header['step']}")
    return tensors


@dataclass(frozen=True)
class _WatchedBatch(DiffusionBatch):
    """A whole batch that can be put in another order: draws and candidates stay with their images."""

    order: Tensor | None = None
    source: DiffusionBatch | None = None

    def in_order(self, order: Tensor) -> _WatchedBatch:
        """The same batch with its rows in another order."""
        values: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(DiffusionBatch)}
        rows: dict[str, Any] = {name: value[order] for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **rows, order=order, source=self)

    def generator(self, purpose: str) -> torch.Generator:
        """Such draws depend on how the batch is divided, and a comparison would say so each time."""
        raise Skipped("it draws from batch.generator, which differs from part to part of a divided batch")

    def uniform(self, purpose: str) -> Tensor:
        """Each image's own draw."""
        return super().uniform(purpose) if self.order is None else super().uniform(purpose)[self.order]

    def whole(self) -> tuple[Tensor, Tensor]:
        """The candidates, always in the same order, which draws from them refer to."""
        return super().whole() if self.source is None else self.source.whole()


def _watched(batch: DiffusionBatch) -> _WatchedBatch:
    return _WatchedBatch(**{each.name: getattr(batch, each.name) for each in fields(DiffusionBatch)})


def _losses(trial: MethodTrial, batch: DiffusionBatch) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        losses: dict[str, Tensor] = LossModule(trial.shaken)(batch)
    return {name: loss.detach() for name, loss in losses.items()}


def _expect_close(expected: dict[str, Tensor], found: dict[str, Tensor], when: str) -> None:
    expect(expected.keys() == found.keys(), f"its losses have other names {when}")
    for name, value in expected.items():
        close = torch.isclose(found[name].double(), value.double(), rtol=1e-4, atol=1e-6)
        expect(bool(close), f"{name!r} is {float(value):.6g}, and {float(found[name]):.6g} {when}")


LOSSES = PluginCheck(
    "each loss is a finite scalar tensor with a gradient", _losses_are_scalars_with_a_gradient, essential=True
)
DIVISION = [
    PluginCheck("every trainable parameter is reached by a gradient", _every_parameter_is_reached),
    PluginCheck("the order of the images in a batch does not matter", _order_does_not_matter),
    PluginCheck("the halves of a batch give the loss of the whole", _halves_equal_the_whole),
    PluginCheck("a resumed training equals an unbroken one", _a_resumed_training_equals_an_unbroken_one),
]
