"""CM: capacity manipulation, a low-rank part of the decoder that rare classes get (Hong et al., ICLR 2026)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from baselines.ddpm import DDPM
from baselines.variants import VariantConfig
from ltgen_bench.methods import DiffusionBatch, MethodConfig, Passes, add_low_rank_to_decoder, without_low_rank


class CMConfig(VariantConfig):
    """The split of the decoder and the weights of its two halves."""

    differences: ClassVar[Any] = {
        "paper": {"diversity": 1.0},
        "released": {"diversity": 0.2, "largest_distance": 0.0},
    }

    rank_ratio: float = Field(0.1, ge=0, le=1)
    """Rank of the second part over the smaller number of channels of a convolution; 0: no such part."""
    consistency: float = Field(1.0, ge=0)
    """w_con: how much predictions for frequent classes are kept the same without the second part."""
    diversity: float = Field(1.0, ge=0)
    """w_div: how much those for rare classes are pushed away from what they would be without it."""

    largest_distance: float = Field(1.0, ge=0)
    """The guard of the rare classes' term, which has no lower bound: beyond this mean squared distance (that of the
    noise itself is 1) it pushes no further. 0: no guard, as published."""

    @model_validator(mode="after")
    def _weights_need_a_second_part(self) -> CMConfig:
        if not self.rank_ratio and (self.consistency or self.diversity):
            raise ValueError("consistency and diversity compare with the network without its low-rank part; set "
                             "rank_ratio above 0, or both to 0")  # fmt: skip
        return self


class CM(DDPM):
    """DDPM whose decoder has a low-rank second part, kept for what rare classes need and frequent ones do not.

    DDPM + C mean_i (w_con p_y - w_div q_y) mean (h - g)^2: h is the prediction, g the same without the second part,
    p_y = n_y / N, q_y = (1 / n_y) / sum_c (1 / n_c). The gradient goes through both; each pass has its own dropout.

    The second term is negative for rare classes and has no lower bound: what holds it is the first one. On the paper's
    other bases: `cm+cbdm`, and `cm+t2h`, which is what the released code does.
    """

    title = "CM"
    fidelity = "from the paper"  # the released code is `cm+t2h`
    paper = "Hong et al., Capacity Manipulation (ImbDiff-CM), ICLR 2026"
    Config: ClassVar[type[MethodConfig]] = CMConfig
    passes = 2

    def adapt_network(self, generator: torch.Generator) -> None:
        """The low-rank part of the decoder's convolutions."""
        if self.config.rank_ratio:
            add_low_rank_to_decoder(self.network, self.config.rank_ratio, generator)

    def terms(self, batch: DiffusionBatch, passes: Passes) -> dict[str, Tensor]:
        """The weighted distance of the two predictions; costs a second pass."""
        if not (self.config.consistency or self.config.diversity):
            return {}
        full = passes.own.noise.float()
        with without_low_rank(self.network):
            general = passes.of(batch.conditioning).noise.float()
        distance = (full - general).square().mean(dim=(1, 2, 3))  # (B,)
        weights = self.class_weights()[batch.labels]
        if limit := self.config.largest_distance:
            distance = torch.where(weights < 0, distance.clamp(max=limit), distance)
        return {"capacity": (weights * distance).mean()}

    def class_weights(self) -> Tensor:
        """C (w_con p_y - w_div q_y) of each class, float32 (C,): below 0 for rare ones."""
        counts = self.class_counts.double().clamp(min=1)
        frequent, rare = counts / counts.sum(), (1 / counts) / (1 / counts).sum()
        weights: Tensor = len(counts) * (self.config.consistency * frequent - self.config.diversity * rare)
        return weights.float()
