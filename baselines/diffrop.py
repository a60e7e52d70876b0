"""DiffROP, reconstructed: contrast between what is predicted for different classes (after arXiv 2402.10821).

The paper's code is not public (its repository holds plotting scripts). What is known of it: the KL divergence of
p(x_{t-1} | x_t, y) between classes at the same x_t is made large, with a weight that depends on time and a hinge.
What is guessed here, and therefore a key: the hinge's margin and weight, how the other class is drawn, that the weight
of time is that of the KL itself, and that the gradient goes through both predictions.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from baselines.ddpm import DDPM
from baselines.variants import VariantConfig
from ltgen_bench.methods import (
    NO_LABEL,
    DataSpec,
    DiffusionBatch,
    MethodConfig,
    Passes,
    RunConfig,
    gather_with_gradient,
)


class DiffROPConfig(VariantConfig):
    """The weight and form of the contrastive term."""

    form: Literal["hinge", "ccua-repository"] = "hinge"
    """hinge: the reconstruction, a hinge on the KL at the same x_t; ccua-repository: the only public formula,
    1 / (1 + d) of predictions for different images, in the code of CCUA."""
    weight: float = Field(0.1, ge=0)
    """Of the term; 0.1 in CCUA's repository, and a guess for the reconstruction."""
    margin: float = Field(0.05, gt=0)
    """Of the hinge (the other form has none), in units of the KL a pixel: predictions that are farther apart are left
    alone. A guess."""


class DiffROP(DDPM):
    """A reconstruction of DiffROP, whose code is not public: predictions for different classes are pushed apart.

    DDPM + weight mean_i max(0, margin - KL_i), KL_i = beta_t / (2 alpha_t (1 - ab_t)) mean (h - h')^2 at the same x_t,
    h' = the prediction for another class, drawn uniformly. Images whose label was dropped have no such term.
    """

    title = "DiffROP (reconstructed)"
    fidelity = "reconstruction"
    paper = "Yan et al., Training Class-Imbalanced Diffusion Model Via Overlap Optimization, arXiv 2402.10821, 2024"
    Config: ClassVar[type[MethodConfig]] = DiffROPConfig
    passes = 2
    compares_classes = True

    def __init__(self, spec: DataSpec, run: RunConfig):
        super().__init__(spec, run)
        self.in_batch = self.config.form == "ccua-repository"

    def terms(self, batch: DiffusionBatch, passes: Passes) -> dict[str, Tensor]:
        """The contrastive term; the reconstruction costs a second forward and backward pass."""
        if self.config.weight == 0.0:
            return {}
        own = passes.own.noise.float()
        term = self._hinge(batch, passes, own) if self.config.form == "hinge" else self._of_pairs(batch, own)
        return {"overlap": self.config.weight * term}

    def _hinge(self, batch: DiffusionBatch, passes: Passes, own: Tensor) -> Tensor:
        kept = batch.conditioning != NO_LABEL
        steps = (batch.uniform("other class") * (self.spec.class_count - 1)).long()  # 0 ... C - 2
        others = torch.where(kept, (batch.labels + 1 + steps) % self.spec.class_count, NO_LABEL)
        other = passes.of(others).noise.float()
        divergence = self.divergence(batch.t) * (own - other).square().mean(dim=(1, 2, 3))
        return (kept * torch.relu(self.config.margin - divergence)).mean()

    def divergence(self, t: Tensor) -> Tensor:
        """What a mean squared difference of predicted noise is in KL, (B,): the variances are the same, beta_t."""
        tables = self.schedule.tables(t.device)
        alpha_bar = tables.alpha_bar.double()
        alpha = alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
        return ((1 - alpha) / (2 * alpha * (1 - alpha_bar)))[t].float()

    def _of_pairs(self, batch: DiffusionBatch, own: Tensor) -> Tensor:
        """1 / (1 + d), d of each image and another one of the batch of another class, more weight at the clean end."""
        out, labels = gather_with_gradient(own), gather_with_gradient(batch.labels)
        clean = 1 - gather_with_gradient(self.time(batch))
        generator = torch.Generator(out.device).manual_seed(batch.seed)  # the same in all parts of the batch
        order = torch.randperm(len(out), generator=generator, device=out.device)
        apart = (out - out[order]).square().mean(dim=(1, 2, 3))
        distance = (clean * (labels != labels[order]) * apart).mean()
        return 1 / (1 + distance)
