"""DDPM with the class-balanced loss of Cui et al. (2019): rare classes count more."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import mse_loss

from baselines.ddpm import DDPM
from baselines.variants import VariantConfig
from ltgen_bench.methods import DataSpec, DiffusionBatch, MethodConfig, RunConfig


class ReweightingConfig(VariantConfig):
    """The one key of the effective number of samples."""

    beta: float = Field(0.9999, ge=0, lt=1)
    """0: all classes alike, which is DDPM; towards 1: by inverse frequency."""


class Reweighting(DDPM):
    """DDPM in which errors on rare classes count more.

    Every image's error is weighted by (1 - beta) / (1 - beta^n) of its class (Cui et al., Eq. 3-4).

    The weights are scaled so that they sum to the number of classes, as there.
    """

    title = "DDPM, class-balanced loss"
    fidelity = "from the paper"
    paper = "Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019"
    Config: ClassVar[type[MethodConfig]] = ReweightingConfig

    def __init__(self, spec: DataSpec, run: RunConfig):
        super().__init__(spec, run)
        self.class_weights = effective_number_weights(self.class_counts, self.config.beta)

    def to(self, device: torch.device) -> None:
        """Move the class weights with the rest."""
        super().to(device)
        self.class_weights = self.class_weights.to(device)

    def losses(self, batch: DiffusionBatch) -> dict[str, Tensor]:
        """mean_i w(y_i) ||e_i - h_i||^2; the label counts even where it was dropped."""
        if self.config.beta == 0.0:
            return super().losses(batch)
        prediction = self.network(batch.x_t, batch.t, batch.conditioning)
        errors = mse_loss(prediction.noise.float(), batch.noise, reduction="none").mean(dim=(1, 2, 3))  # (B,)
        return {"diffusion": (self.class_weights[batch.labels] * errors).mean()}


def effective_number_weights(class_counts: Tensor, beta: float) -> Tensor:
    """Weight of each class, float32 (classes,), summing to their number; 0 for a class without images."""
    counts = class_counts.double().cpu()
    # 1 - beta^n loses its digits where beta is close to 1
    effective = -torch.expm1(counts * torch.log(torch.tensor(beta, dtype=torch.float64)))
    weights = torch.where(counts > 0, (1.0 - beta) / effective, 0.0)
    return (weights * len(weights) / weights.sum()).float()
