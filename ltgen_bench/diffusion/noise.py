"""Noise that belongs to a sample, not to a batch: one random stream a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltgen_bench.core.errors import ConfigError

BLOCK_STEPS = 32
"""Most steps drawn at a time; one call a sample and block spreads the cost of the call over the steps."""
BLOCK_BYTES = 64 * 2**20
"""Most bytes of a block; large batches draw fewer steps at a time."""
PIECES = 16
"""Groups of samples that the threads of a CUDA device's noise draw."""


class NoiseSource(Protocol):
    """What a sampler asks of its noise."""

    def step(self) -> Tensor:
        """Fresh standard normal noise (B, C, H, W), float32."""
        ...


class SampleNoise:
    """Standard normal noise for a batch, drawn from one generator a sample.

    `seeds`: a non-negative integer of any size for each of the B samples; `shape`: (C, H, W) of one sample; `device`:
    where the noise is wanted. A sample's numbers depend on its seed and the shape only: not on the batch, the position
    in it, the block size or the device, because all are drawn on the host (NumPy's PCG64) and then copied. For a CUDA
    device threads draw the next block while the device works.
    Raises ConfigError when `seeds` is empty or holds a negative number.
    """

    def __init__(self, seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device | str = "cpu"):
        if len(seeds) == 0:
            raise ConfigError("no seeds; give one seed a sample")
        if min(seeds) < 0:
            raise ConfigError(f"seed {min(seeds)}; seeds must be 0 or more")
        self.shape = tuple(shape)
        self.device = torch.device(device)
        self._generators = [np.random.Generator(np.random.PCG64(int(seed))) for seed in seeds]
        step_bytes = 4 * len(seeds) * math.prod(self.shape)
        self._block_steps = max(1, min(BLOCK_STEPS, BLOCK_BYTES // max(step_bytes, 1)))
        self._pool = ThreadPoolExecutor(4) if self.device.type == "cuda" else None
        self._ahead: list[Future[None]] = []
        self._ahead_block: Tensor | None = None
        self._block: Tensor | None = None  # (steps, B, C, H, W)
        self._used = 0
        self._drawn_steps = 0

    def initial(self) -> Tensor:
        """Noise to start from, (B, C, H, W) float32: the first numbers of every stream, so ask for it first."""
        return self.step().clone()

    def step(self) -> Tensor:
        """The next noise, (B, C, H, W) float32 on the device; it is read-only, as it may share memory with others."""
        if self._block is None or self._used == self._block.shape[0]:
            self._block = self._next_block()
            self._used = 0
        noise = self._block[self._used]
        self._used += 1
        return noise

    def _next_block(self) -> Tensor:
        # Deterministic samplers ask for the initial noise only, so the first block is that.
        steps = self._block_steps if self._drawn_steps else 1
        if self._pool is None or steps == 1:
            block = self._empty_block(steps)
            _fill(self._generators, block.numpy())
        else:
            if self._ahead_block is None:
                self._ahead_block = self._start_drawing(self._pool, steps)
            for future in self._ahead:
                future.result()
            block = self._ahead_block
            self._ahead_block = self._start_drawing(self._pool, steps)
        self._drawn_steps += steps
        return block.to(self.device, non_blocking=True).transpose(0, 1)

    def _start_drawing(self, pool: ThreadPoolExecutor, steps: int) -> Tensor:
        block = self._empty_block(steps)
        values, rows = block.numpy(), len(self._generators)
        bounds = [rows * piece // PIECES for piece in range(PIECES + 1)]
        self._ahead = [
            pool.submit(_fill, self._generators[first:end], values[first:end])
            for first, end in pairwise(bounds)
            if first < end
        ]
        return block

    def _empty_block(self, steps: int) -> Tensor:
        return torch.empty(
            (len(self._generators), steps, *self.shape),  # (B, steps, C, H, W)
            dtype=torch.float32,
            pin_memory=self.device.type == "cuda",  # so that the copy does not wait
        )


def _fill(generators: Sequence[np.random.Generator], block: NDArray[np.float32]) -> None:
    for generator, own in zip(generators, block, strict=True):
        generator.standard_normal(out=own, dtype=np.float32)
