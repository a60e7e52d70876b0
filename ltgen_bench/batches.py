"""What one training step draws: which images, which noise levels, which noise; as functions of seed and step.

Nothing here reads a random stream that goes on from step to step, so a resumed run, or one on another number of
processes, draws the same batches. All draws of a step are made for the whole batch on every process, which then takes
its part: the batch is the same for one process or many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ltgen_bench.datasets import ImageSet
from ltgen_bench.methods import NO_LABEL
from ltgen_bench.seeding import derive_seed


class ImageOrder:
    """Which images each step uses.

    Without weights: every epoch is a fresh permutation, cut into batches, the rest dropped (the reference's
    `drop_last`); a set smaller than a batch is repeated within the batch. With weights: independent draws with
    replacement.
    """

    def __init__(self, count: int, batch_size: int, seed: int, weights: np.ndarray | None = None):
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self._cumulative = None if weights is None else np.cumsum(weights / weights.sum())
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def indices(self, step: int) -> np.ndarray:
        """Image indices of one step, int64 (batch_size,)."""
        if self._cumulative is not None:
            draws = self._generator("draw", step).random(self.batch_size)
            return np.minimum(np.searchsorted(self._cumulative, draws, side="right"), self.count - 1)
        if self.count < self.batch_size:
            repeats = -(-self.batch_size // self.count)
            generator = self._generator("epoch", step)
            return np.concatenate([generator.permutation(self.count) for _ in range(repeats)])[: self.batch_size]
        epoch, position = divmod(step, self.count // self.batch_size)
        if epoch != self._epoch:
            self._epoch, self._permutation = epoch, self._generator("epoch", epoch).permutation(self.count)
        return self._permutation[position * self.batch_size :][: self.batch_size]

    def _generator(self, purpose: str, index: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(derive_seed(self.seed, purpose, index)))


@dataclass(frozen=True)
class StepDraws:
    """The random numbers of one step, for the whole batch, on the training device."""

    flip: Tensor  # (B, 1, 1, 1) bool
    drop: Tensor  # (B,) bool: train without the label
    t: Tensor  # (B,) int64
    noise: Tensor  # (B, C, H, W) float32

    def part(self, which: slice) -> StepDraws:
        """A part of the batch."""
        return StepDraws(self.flip[which], self.drop[which], self.t[which], self.noise[which])


def draw_step(
    shape: tuple[int, int, int, int],
    timesteps: int,
    label_drop: float,
    label_drop_unit: str,
    generator: torch.Generator,
) -> StepDraws:
    """Draw a step's random numbers in a fixed order; `label_drop_unit`: "sample" (the papers) or "batch" (the code)."""
    batch, device = shape[0], generator.device
    flip = torch.rand(batch, 1, 1, 1, generator=generator, device=device) < 0.5
    uniform = torch.rand(batch, generator=generator, device=device)
    drop = (uniform if label_drop_unit == "sample" else uniform[:1].expand(batch)) < label_drop
    t = torch.randint(timesteps, (batch,), generator=generator, device=device)
    noise = torch.randn(shape, generator=generator, device=device)
    return StepDraws(flip, drop, t, noise)


class ResidentImages:
    """A training set on the training device as one uint8 tensor; batches are cut, flipped and scaled there.

    A set that does not fit (a memory map larger than `limit` bytes) stays on the host and is copied batch by batch.
    """

    def __init__(self, image_set: ImageSet, device: torch.device, limit: int = 8 << 30):
        self.device = device
        images = image_set.images
        self.resident = images.nbytes <= limit
        self._images = torch.from_numpy(np.ascontiguousarray(images)).to(device) if self.resident else None
        self._host = None if self.resident else images
        self.labels = torch.from_numpy(np.array(image_set.labels, dtype=np.int64)).to(device)

    def batch(self, indices: np.ndarray, flip: Tensor | None) -> tuple[Tensor, Tensor]:
        """Images in [-1, 1] as float32 (B, C, H, W), mirrored where `flip` says so, and int64 labels (B,)."""
        where = torch.from_numpy(indices)
        if self.device.type == "cuda":
            where = where.pin_memory().to(self.device, non_blocking=True)
        if self._images is not None:
            pixels = self._images[where]
        else:
            assert self._host is not None
            pixels = torch.from_numpy(np.ascontiguousarray(self._host[indices]))
            pixels = pixels.to(self.device, non_blocking=True)
        images = pixels.float().div_(127.5).sub_(1)
        if flip is not None:
            images = torch.where(flip, images.flip(-1), images)
        return images, self.labels[where]


def conditioning_labels(labels: Tensor, drop: Tensor) -> Tensor:
    """The labels, with NO_LABEL where they are dropped, int64 (B,)."""
    return torch.where(drop, NO_LABEL, labels)
