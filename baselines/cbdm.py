"""CBDM: class-balancing diffusion models (Qin et al. 2023)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from baselines.ddpm import DDPM
from baselines.variants import TimeIndex, VariantConfig
from ltgen_bench.methods import NO_LABEL, DiffusionBatch, MethodConfig, Passes


class CBDMConfig(VariantConfig):
    """The regulariser's strength and the labels that it compares with."""

    differences: ClassVar[Any] = {"paper": {"time_index": "one"}, "released": {"time_index": "zero"}}

    # The coefficient of t/T. The CORAL paper's Table 3 prints it as "tau_cb = tau / T": the tables' 1.0 (CelebA-5: 50)
    # is read as this number, because 1 is also the default of CBDM's code, where it stands in this place.
    tau: float = Field(1.0, ge=0)
    """Weight of the balancing term."""
    gamma: float = Field(0.25, ge=0)
    """Weight of the commitment term, in which the other prediction moves."""
    time_index: TimeIndex = "one"
    """Whether the weight t/T counts t from one or from zero, as the released code does."""
    prior: Literal["training", "uniform"] = "training"
    """Where the other label is drawn from: the training set's frequencies, or uniformly, for fine-tuning a trained
    DDPM."""


class CBDM(DDPM):
    """DDPM that also keeps what it predicts for other labels alike, so that rare classes share with frequent ones.

    DDPM + (t/T) tau [ ||h - sg h'||^2 + gamma ||sg h - h'||^2 ], h' = the prediction for another label y'.

    sg stops the gradient. Images whose label was dropped have no such term. Fine-tuning of a trained DDPM, their second
    recipe: `--set training.init_from=.../model.safetensors --set method.prior=uniform`.
    """

    title = "CBDM"
    fidelity = "parity with released code"
    paper = "Qin, Zheng, Yao, Zhou and Zhang, Class-Balancing Diffusion Models, CVPR 2023"
    Config: ClassVar[type[MethodConfig]] = CBDMConfig
    passes = 2
    compares_classes = True

    def terms(self, batch: DiffusionBatch, passes: Passes) -> dict[str, Tensor]:
        """The mean of the regulariser over the batch; costs a second forward and backward pass."""
        if self.config.tau == 0.0:
            return {}
        kept = batch.conditioning != NO_LABEL  # (B,)
        others = torch.where(kept, self.other_labels(batch), NO_LABEL)
        own, other = passes.own.noise.float(), passes.of(others).noise.float()
        distance = _per_image(own, other.detach()) + self.config.gamma * _per_image(own.detach(), other)
        weight = self.config.tau * self.time(batch) * kept  # (B,)
        return {"balance": (weight * distance).mean()}

    def other_labels(self, batch: DiffusionBatch) -> Tensor:
        """y', int64 (B,): drawn anew for each image from the prior, by inversion of its distribution function."""
        counts = self.class_counts.float()  # sums are exact in float32 up to 16 million images
        mass = counts if self.config.prior == "training" else torch.ones_like(counts)
        edges = mass.cumsum(0) / mass.sum()
        return torch.searchsorted(edges, batch.uniform("other labels"), right=True).clamp(max=len(edges) - 1)


def _per_image(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of each image, (B, C, H, W) -> (B,)."""
    return (a - b).square().mean(dim=(1, 2, 3))
