"""Diffusion methods: the model, trained by the shared trainer and sampled by the shared samplers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ltgen_bench.datasets import ImageSet
from ltgen_bench.methods.interface import FitContext
from ltgen_bench.methods.model import DiffusionModel
from ltgen_bench.methods.sampler import sample_diffusion
from ltgen_bench.methods.trainer import Trainer


class DiffusionMethod(DiffusionModel):
    """A class-conditional diffusion model on the shared U-Net; subclasses write `losses` (see `DiffusionModel`)."""

    def fit(self, train_set: ImageSet, context: FitContext) -> None:
        """Train with the shared trainer (`methods.trainer`)."""
        Trainer(self, train_set, context).run()

    def sample(self, labels: Tensor, seeds: Sequence[int]) -> Tensor:
        """Draw images with the shared samplers (`methods.sampler`)."""
        return sample_diffusion(self, labels, seeds)
