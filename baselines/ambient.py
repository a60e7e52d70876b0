"""The contrastive term in image space: what the CORAL paper compares itself with in its Table 4."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from baselines.contrastive import ContrastiveConfig, contrastive_term, make_contrastive_loss
from baselines.ddpm import DDPM
from ltgen_bench.methods import NO_LABEL, DiffusionBatch, MethodConfig, Passes


class AmbientConfig(ContrastiveConfig):
    """The contrastive term's keys and the output that it compares."""

    output: Literal["x0", "noise"] = "x0"
    """What the loss compares: the predicted image or the predicted noise. The paper does not say which; it writes
    "the image space"."""


class AmbientContrastive(DDPM):
    """DDPM that also separates classes in the space of images.

    DDPM + lambda(t) L_con on the network's output, flattened and normalised, without a projection head.

    In the style of DiffROP (Yan et al. 2024), whose regulariser is a divergence between such outputs. The paper gives
    neither equation nor settings for its Table 4; this is the reading in which only the space differs from CORAL.
    """

    title = "Ambient contrastive"
    fidelity = "reconstruction"
    paper = "Rodriguez et al., CORAL, 2025, Table 4; after Yan et al., DiffROP, 2024"
    Config: ClassVar[type[MethodConfig]] = AmbientConfig
    in_batch = True

    def extra_modules(self) -> dict[str, nn.Module]:
        """The loss."""
        channels, height, width = self.spec.image_shape
        return {"loss": make_contrastive_loss(self.config, self.spec.class_count, channels * height * width)}

    def terms(self, batch: DiffusionBatch, passes: Passes) -> dict[str, Tensor]:
        """The contrastive term."""
        if self.config.weight == 0.0:
            return {}
        noise = passes.own.noise.float()
        # The direction is all that counts, so the predicted x0 may stay multiplied by sqrt(alpha_bar): no blow-up at T.
        sigma = self.schedule.tables(noise.device).sqrt_one_minus_alpha_bar[batch.t][:, None, None, None]
        output = noise if self.config.output == "noise" else batch.x_t - sigma * noise
        kept = batch.conditioning != NO_LABEL
        term = contrastive_term(
            self.config, self.extra["loss"], output.flatten(1), batch.labels, self.time(batch), kept
        )
        return {"contrastive": term}
