"""Whether losses and gradients stay finite, counted without making the host wait for the device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ltgen_bench.core.distributed import World
from ltgen_bench.core.errors import TrainingError

_HINT = "try a smaller training.learning_rate or training.precision=fp32"


class Finiteness:
    """Counters that live on the device: reading them in every step would make the host wait for the GPU."""

    def __init__(self, device: torch.device):
        self.streak = torch.zeros((), device=device)  # steps in a row whose gradients were not finite, up to now
        self.skipped = torch.zeros((), device=device)  # steps skipped in all
        self._worst_streak = torch.zeros((), device=device)  # the longest streak since the last check
        self._bad_step = torch.full((), -1.0, device=device)  # the first step whose loss was not finite

    def count(self, step: int, norm: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Take in a step's gradient norm and losses, all scalars; returns whether the norm is finite, bool scalar."""
        finite = torch.isfinite(norm)
        loss_finite = torch.isfinite(torch.stack([value.float() for value in losses.values()])).all()
        self.streak = torch.where(finite, 0.0, self.streak + 1)
        self._worst_streak = torch.maximum(self._worst_streak, self.streak)
        self.skipped = self.skipped + (~finite).float()
        self._bad_step = torch.where(~loss_finite & (self._bad_step < 0), float(step), self._bad_step)
        return finite

    def check(self, world: World, step: int, most: int, checkpoint: Path) -> None:
        """Raise TrainingError when a loss was not finite, or gradients were not in more than `most` steps in a row.

        Collective: all processes raise together. `step` and `checkpoint` are named in the message.
        """
        bad_step, streak = (int(v) for v in world.largest([float(self._bad_step), float(self._worst_streak)]))
        self._worst_streak = self.streak
        kept = f"the checkpoint {checkpoint} is intact" if checkpoint.exists() else "no checkpoint was written yet"
        if bad_step >= 0:
            raise TrainingError(f"the loss is not finite at step {bad_step}; {kept}; {_HINT}")
        if streak > most:
            raise TrainingError(
                f"the gradients were not finite in {streak} steps in a row before step {step}; {kept}; {_HINT}"
            )
