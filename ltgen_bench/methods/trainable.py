"""What the shared trainer asks of a thing that it trains on noisy images."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ltgen_bench.core.config import RunConfig
from ltgen_bench.diffusion import DiffusionSchedule
from ltgen_bench.methods.batches import DiffusionBatch
from ltgen_bench.methods.interface import DataSpec


class Trainable(Protocol):
    """A network with losses on batches of noisy images: a diffusion method, or the classifier that guides one."""

    spec: DataSpec
    run: RunConfig  # its sections training, diffusion and execution are read
    schedule: DiffusionSchedule
    extra: nn.ModuleDict  # trained, and not averaged
    in_batch: bool

    @property
    def network(self) -> nn.Module:
        """Trained and averaged."""
        ...

    def losses(self, batch: DiffusionBatch) -> dict[str, Tensor]:
        """The named scalar losses of a batch."""
        ...

    def image_weights(self, labels: Tensor) -> Tensor | None:
        """Relative probability of drawing each training image, or None."""
        ...

    def identity(self) -> dict[str, Any]:
        """What a checkpoint belongs to."""
        ...

    def to(self, device: torch.device) -> None:
        """Move to a device."""
        ...
