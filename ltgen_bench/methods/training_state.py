"""The training state: everything that a resumed training needs to end with the same bits as an unbroken one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltgen_bench.diffusion import ExponentialMovingAverage
from ltgen_bench.methods.checkpoints import load_state, load_weights, save_state
from ltgen_bench.methods.finiteness import Finiteness


@dataclass
class TrainingState:
    """Weights, their average, optimiser, gradient scaler, counters and the number of steps done."""

    module: nn.Module  # all that is trained: the network and the method's extra modules
    ema: ExponentialMovingAverage
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    finiteness: Finiteness
    step: int = 0  # optimiser steps done

    def trained(self) -> list[tuple[str, nn.Parameter]]:
        """The trainable parameters with their names."""
        return [(name, parameter) for name, parameter in self.module.named_parameters() if parameter.requires_grad]

    def save(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Write the state to one safetensors file, atomically."""
        tensors = {f"model.{name}": value for name, value in self.module.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.state().items()}
        for name, parameter in self.trained():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{name}/{key}"] = torch.as_tensor(value)
        tensors["counter.streak"], tensors["counter.skipped"] = self.finiteness.streak, self.finiteness.skipped
        if self.scaler.is_enabled():
            scaler = self.scaler.state_dict()
            tensors["scaler.scale"] = torch.tensor(float(scaler["scale"]), dtype=torch.float64)
            tensors["scaler.growth_tracker"] = torch.tensor(int(scaler["_growth_tracker"]))
        save_state(path, tensors, identity, self.step)

    def resume(self, path: Path, identity: Mapping[str, Any]) -> bool:
        """Take over the state in `path`; False where there is no such file. Raises CheckpointError for another's."""
        if not path.exists():
            return False
        self.step, tensors = load_state(path, identity)
        load_weights(path, self.module, _part(tensors, "model."))
        self.ema.load(_part(tensors, "ema."))
        optimizer = _part(tensors, "optimizer.")
        for name, parameter in self.trained():
            if state := _part(optimizer, f"{name}/"):
                self.optimizer.state[parameter] = {key: _like(parameter, value) for key, value in state.items()}
        for name, counter in (("streak", self.finiteness.streak), ("skipped", self.finiteness.skipped)):
            counter.copy_(tensors.get(f"counter.{name}", counter))
        if self.scaler.is_enabled() and "scaler.scale" in tensors:
            scale, tracker = float(tensors["scaler.scale"]), int(tensors["scaler.growth_tracker"])
            self.scaler.load_state_dict({**self.scaler.state_dict(), "scale": scale, "_growth_tracker": tracker})
        return True


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """A restored optimiser tensor as fused Adam wants it: on the device, in the parameter's memory format."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)  # the step counter
    return torch.empty_like(parameter).copy_(value)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
