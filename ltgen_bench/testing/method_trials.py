"""A method on trial: resolved with a tiny network on a small data set, so that every check takes a second or less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ltgen_bench.core.config import OPTIONAL_SECTIONS
from ltgen_bench.core.mappings import merge
from ltgen_bench.core.seeding import derive_seed
from ltgen_bench.methods import METHODS, DiffusionMethod, FitContext, Method
from ltgen_bench.methods.batches import DiffusionBatch
from ltgen_bench.methods.trainer import Trainer
from ltgen_bench.methods.training_batches import TrainingBatches
from ltgen_bench.runs.resolve import ResolvedRun, resolve

TRIAL_STEPS = 4
# Large enough to have every kind of layer. Without dropout, whose masks differ between one process and two.
SMALL: dict[str, Any] = {
    "dataset": {"name": "digits-lt"},
    "network": {
        "base_channels": 8,
        "norm_groups": 4,
        "dropout": 0.0,
        "channel_multipliers": [1, 2],
        "residual_blocks": 1,
        "attention_levels": [1],
    },
    "training": {
        "steps": TRIAL_STEPS,
        "batch_size": 16,
        "warmup_steps": 2,
        "precision": "fp32",
        "gradient_accumulation": 1,
    },
    "execution": {
        "checkpoint_every": TRIAL_STEPS,
        "log_every": 1,
        "threads": 1,
        "compile": False,
        "channels_last": False,
    },
    "sampling": {"steps": 3, "clip_x0": True, "guidance_scale": 0.0},
}


@dataclass
class MethodTrial:
    """A method's class with what its checks share; `folder` is theirs to write to."""

    name: str
    method_class: type[Method]
    layers: Mapping[str, Any]  # configuration keys of the user, which win over `SMALL`
    data_root: Path
    folder: Path

    def resolve(self, *more: Mapping[str, Any]) -> ResolvedRun:
        """The configuration of a trial; `more` layers win over the user's."""
        ours = [self._read(layer) for layer in (SMALL, *more)]
        return resolve(merge(ours[0], self.layers, *ours[1:], {"method": {"name": self.name}}), self.data_root)

    def _read(self, layer: Mapping[str, Any]) -> dict[str, Any]:
        """A layer of ours without the sections that the method does not read."""
        uses = METHODS.get(self.name).uses
        return {key: value for key, value in layer.items() if key in uses or key not in OPTIONAL_SECTIONS}

    @cached_property
    def run(self) -> ResolvedRun:
        """The trial's own configuration."""
        return self.resolve()

    @property
    def is_diffusion(self) -> bool:
        """Whether the shared trainer trains it."""
        return issubclass(self.method_class, DiffusionMethod)

    def new_folder(self, name: str) -> Path:
        """An empty folder of this name."""
        path = self.folder / name
        path.mkdir()
        return path

    def context(self, name: str) -> FitContext:
        """What `fit` gets, with a folder of this name."""
        return FitContext(self.new_folder(name), torch.device("cpu"), self.run.config.seed)

    @cached_property
    def fitted(self) -> Method:
        """A model that `fit` has trained."""
        method = self.run.make_method()
        method.fit(self.run.dataset.train(), self.context("fitted"))
        return method

    def trainer(self, folder: Path, *more: Mapping[str, Any]) -> Trainer:
        """The shared trainer of a fresh model, its files in `folder`."""
        return make_trainer(self.resolve(*more), folder)

    @cached_property
    def shaken(self) -> DiffusionMethod:
        """An untrained model all of whose weights are random, so that no gradient is zero by its initialisation."""
        method = self.run.make_method()
        assert isinstance(method, DiffusionMethod)
        method.to(torch.device("cpu"))
        generator = torch.Generator().manual_seed(derive_seed(0, "shaken"))
        with torch.no_grad():
            for parameter in [*method.network.parameters(), *method.extra.parameters()]:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        return method

    @property
    def model(self) -> Method:
        """A model to sample from; a diffusion model whose weights are random, because a new U-Net predicts 0."""
        return self.shaken if self.is_diffusion else self.fitted

    @cached_property
    def batches(self) -> TrainingBatches:
        """The batches of a training of `shaken`."""
        context = FitContext(self.folder, torch.device("cpu"), self.run.config.seed)
        return TrainingBatches(self.shaken, self.run.dataset.train(), context)

    def batch(self, step: int, rows: slice | None = None) -> DiffusionBatch:
        """The batch of a training step, or some rows of it."""
        return self.batches.draw(step).part(rows or slice(0, self.run.config.training.batch_size))


def make_trainer(run: ResolvedRun, folder: Path) -> Trainer:
    """The shared trainer of a fresh model without dropout, its files in `folder`."""
    method = run.make_method()
    assert isinstance(method, DiffusionMethod)
    for module in [*method.network.modules(), *method.extra.modules()]:
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return Trainer(method, run.dataset.train(), FitContext(folder, torch.device("cpu"), run.config.seed))
