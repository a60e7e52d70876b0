"""What one training step draws: which images, which noise levels, which noise; as functions of seed and step.

No random stream continues from step to step, so a resumed run, or one on another number of processes, draws the same
batches. All draws of a step are made for the whole batch on every process, which then takes its part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ltgen_bench.core.seeding import derive_seed
from ltgen_bench.datasets import ImageSet
from ltgen_bench.diffusion import NO_LABEL


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

    A set larger than `limit` bytes, or than a quarter of a GPU's free memory, stays on the host, perhaps as a memory
    map, and is copied batch by batch.
    """

    def __init__(self, image_set: ImageSet, device: torch.device, limit: int = 8 << 30):
        self.device = device
        images = image_set.images
        if device.type == "cuda":
            limit = min(limit, torch.cuda.mem_get_info(device)[0] // 4)
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
            if self.device.type == "cuda":
                pixels = pixels.pin_memory()  # or the copy would wait for the device
            pixels = pixels.to(self.device, non_blocking=True)
        images = pixels.float().div_(127.5).sub_(1)
        if flip is not None:
            images = torch.where(flip, images.flip(-1), images)
        return images, self.labels[where]


def conditioning_labels(labels: Tensor, drop: Tensor) -> Tensor:
    """The labels, with NO_LABEL where they are dropped, int64 (B,)."""
    return torch.where(drop, NO_LABEL, labels)


@dataclass(frozen=True)
class DiffusionBatch:
    """One batch of a diffusion training step, on the training device.

    Where a step's batch is divided (over processes, or by gradient accumulation) this is one part of it: the rows from
    `first` on, of `whole_size`. A method that draws with `uniform` and takes its candidates from `whole` computes the
    same however the batch is divided.
    """

    x0: Tensor  # (B, C, H, W) images in [-1, 1], float32, flips applied
    noise: Tensor  # (B, C, H, W) standard normal, the target
    t: Tensor  # (B,) int64 table index: 0 is the paper's t = 1, timesteps - 1 is T
    x_t: Tensor  # (B, C, H, W) noised images
    labels: Tensor  # (B,) int64 true labels
    conditioning: Tensor  # (B,) int64: the labels, NO_LABEL where the label was dropped
    step: int  # optimiser steps done before this one
    seed: int  # of this step: the same in all parts of its batch
    first: int = 0  # which row of the whole batch is the first one here
    whole_size: int | None = None  # rows of the whole batch; None: these are all
    read_whole: Callable[[], tuple[Tensor, Tensor]] | None = None  # see `whole`
    augmentation: Tensor | None = None  # (B, CONDITION_SIZE) what was done to each image; the trainer tells the network

    def generator(self, purpose: str) -> torch.Generator:
        """A generator for a method's own draws: seeded by step, part and purpose, disturbing nothing else."""
        return seeded_generator(self.x0.device, self.seed, purpose, self.first)

    def uniform(self, purpose: str) -> Tensor:
        """One number in [0, 1) for each image, float32 (B,): the same however the step's batch is divided."""
        generator = seeded_generator(self.x0.device, self.seed, purpose)
        draws = torch.rand(self.whole_size or len(self.x0), generator=generator, device=self.x0.device)
        return draws[self.first : self.first + len(self.x0)]

    def whole(self) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) and labels (N,) of the step's whole batch, over all processes and parts.

        Every process holds the training set and draws the same batch, so nothing is communicated.
        """
        return (self.x0, self.labels) if self.read_whole is None else self.read_whole()


def seeded_generator(device: torch.device, *seed: int | str) -> torch.Generator:
    """A generator on `device`, seeded by integers and words."""
    generator = torch.Generator(device)
    generator.manual_seed(derive_seed(*seed))
    return generator
