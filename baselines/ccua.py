"""CCUA: contrastive conditional-unconditional alignment (arXiv 2507.09052)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from baselines.contrastive import without_autocast
from baselines.ddpm import DDPM
from baselines.variants import TimeIndex, VariantConfig
from ltgen_bench.methods import NO_LABEL, DiffusionBatch, MethodConfig, Passes, gather_with_gradient


class CCUAConfig(VariantConfig):
    """The weights of the two terms and the temperature."""

    differences: ClassVar[Any] = {"paper": {"time_index": "one"}, "released": {"time_index": "zero"}}

    contrast_weight: float = Field(1.0, ge=0)
    """a_ucl: of the term that spreads unconditional bottlenecks apart."""
    alignment_weight: float = Field(1.0, ge=0)
    """a_al: of the term that keeps conditional and unconditional predictions alike."""
    temperature: float = Field(0.1, gt=0)
    """tau of the contrastive term."""
    time_index: TimeIndex = "one"
    """Whether the weight t/T counts t from one or from zero, as the released code does."""


class CCUA(DDPM):
    """DDPM whose unconditional half is spread apart and kept near the conditional one, so that rare classes share.

    DDPM + a_ucl mean_i (t_i/T) log(1 + sum_{j != i} exp((cos(z_i, z_j) - 1) / tau)) + a_al mean (t/T) (h - h_0)^2.

    h_0 and z come from a second pass without label on the same x_t; z is the bottleneck flattened, neither pooled nor
    projected. The gradient goes through both passes, anchors and negatives. No label enters the first term; images
    whose label was dropped have no second one. Its batch resampling is `--set training.class_sampling=tail:0.1`.
    """

    title = "CCUA"
    fidelity = "parity with released code"
    paper = "Contrastive Conditional-Unconditional Alignment for Long-tailed Diffusion Model, arXiv 2507.09052, 2025"
    Config: ClassVar[type[MethodConfig]] = CCUAConfig
    passes = 2
    in_batch = True

    def terms(self, batch: DiffusionBatch, passes: Passes) -> dict[str, Tensor]:
        """The two terms; they cost a second forward and backward pass."""
        config, terms = self.config, {}
        if config.contrast_weight:
            terms["contrast"] = config.contrast_weight * self.contrast(passes.unlabelled.middle, self.time(batch))
        if config.alignment_weight:
            kept = (batch.conditioning != NO_LABEL) * self.time(batch)  # (B,)
            apart = (passes.own.noise.float() - passes.unlabelled.noise.float()).square().mean(dim=(1, 2, 3))
            terms["alignment"] = config.alignment_weight * (kept * apart).mean()
        return terms

    def contrast(self, middle: Tensor, time: Tensor) -> Tensor:
        """The contrastive term over the images of all processes: `middle` (B, C, h, w), `time` (B,) -> scalar."""
        with without_autocast(middle):
            z = gather_with_gradient(normalize(middle.float().flatten(1), dim=1))
            weight = gather_with_gradient(time)
            # the anchor itself is its positive: its own logit is 0 after the shift, the 1 of the sum
            logits = (z @ z.T - 1) / self.config.temperature
            logits = logits - torch.diag(torch.diag(logits))
            term: Tensor = (weight * logits.logsumexp(dim=1)).mean()
            return term
