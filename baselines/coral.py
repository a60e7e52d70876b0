"""CORAL: contrastive alignment of the U-Net's bottleneck (Rodriguez et al. 2025)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from baselines.contrastive import ContrastiveConfig, contrastive_term, make_contrastive_loss, without_autocast
from baselines.ddpm import DDPM
from ltgen_bench.methods import NO_LABEL, DiffusionBatch, MethodConfig, Passes


class CORALConfig(ContrastiveConfig):
    """The contrastive term's keys and the projection head's size."""

    embedding_channels: int = Field(128, gt=0)
    """Channels of the projection head."""


class CORAL(DDPM):
    """DDPM that also separates classes in the network's bottleneck.

    DDPM + lambda(t) L_con(z, y), z = the normalised projection of the pooled bottleneck features (Eq. 5-7).

    The projection head is trained with the network and has no part in sampling. The labels are the true ones, also
    where the network did not see them. Fine-tuning of a trained DDPM, which the paper suggests under Limitations:
    `--set training.init_from=.../model.safetensors`.
    """

    title = "CORAL"
    fidelity = "parity with released code"
    paper = "Rodriguez et al., CORAL: Disentangling Latent Representations in Long-Tailed Diffusion, 2025"
    Config: ClassVar[type[MethodConfig]] = CORALConfig
    in_batch = True

    def extra_modules(self) -> dict[str, nn.Module]:
        """The projection head, one linear layer (256 -> 128: 32,896 parameters), and the loss."""
        size = self.config.embedding_channels
        return {
            "head": nn.Linear(self.network.config.bottleneck_channels, size),
            "loss": make_contrastive_loss(self.config, self.spec.class_count, size),
        }

    def terms(self, batch: DiffusionBatch, passes: Passes) -> dict[str, Tensor]:
        """The contrastive term."""
        if self.config.weight == 0.0:
            return {}
        bottleneck = passes.own.bottleneck
        with without_autocast(bottleneck):
            embeddings = self.extra["head"](bottleneck.float())
        kept = batch.conditioning != NO_LABEL
        term = contrastive_term(self.config, self.extra["loss"], embeddings, batch.labels, self.time(batch), kept)
        return {"contrastive": term}
