"""Rows that do not depend on the batch they are computed in."""

from __future__ import annotations

import torch
from torch import Tensor

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.diffusion.guidance import NO_LABEL, NoiseModel


class BatchInvariant:
    """A noise model evaluated in tiles of one fixed number of rows, the last one padded.

    Matrix and convolution libraries choose their kernel by the shape of a call, and two kernels add in another order:
    a row of a batch of 7 differs in its last bits from the same row in a batch of 64. In tiles every call has the same
    shape, hence the same kernel, whatever the batch and the row's position in it (tested on CPUs with one and two
    threads, in fp32 and bf16). `tile` is the number of rows; it is a part of what the numbers depend on, as are the
    device, the number of threads and the library's version. On GPUs this holds for kernels that treat all rows alike:
    with `torch.backends.cudnn.benchmark` off and deterministic algorithms on; test it there before relying on it.
    Each call costs as much as a full tile: choose the batch as a multiple of it (with guidance, half of it).
    Raises ConfigError when `tile` is not positive.
    """

    def __init__(self, model: NoiseModel, tile: int = 32):
        if tile < 1:
            raise ConfigError(f"tile = {tile}; a tile needs at least 1 row")
        self.model = model
        self.tile = tile

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor, /) -> Tensor:
        """Predict the noise of x: (B, C, H, W), t: (B,) int64, labels: (B,) int64 in ceil(B / tile) calls."""
        rows = x.shape[0]
        missing = -rows % self.tile
        if missing:
            x = torch.cat([x, x.new_zeros((missing, *x.shape[1:]))])
            t = torch.cat([t, t.new_zeros(missing)])
            labels = torch.cat([labels, labels.new_full((missing,), NO_LABEL)])
        if rows + missing == self.tile:
            return self.model(x, t, labels)[:rows]
        parts = [
            self.model(x[start : start + self.tile], t[start : start + self.tile], labels[start : start + self.tile])
            for start in range(0, rows, self.tile)
        ]
        return torch.cat(parts)[:rows]
