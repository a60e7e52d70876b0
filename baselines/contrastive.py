"""Contrastive losses on embeddings with a weight for each anchor: what CORAL and its ambient counterpart share."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from baselines.metric_learning import MetricLearningLoss
from baselines.variants import TimeIndex, VariantConfig
from ltgen_bench.methods import gather_with_gradient


class ContrastiveConfig(VariantConfig):
    """The term lambda(t) L_con with lambda(t) = weight exp((1 - t/T) / decay): Eq. 5-7 of the CORAL paper."""

    differences: ClassVar[Any] = {
        "paper": {"lambda_unit": "anchor", "lambda_factor": "none", "dropped_labels": "include", "time_index": "one"},
        "released": {
            "lambda_unit": "batch",
            "lambda_factor": "temperature",
            "dropped_labels": "skip",
            "time_index": "zero",
        },
    }

    weight: float = Field(0.01, ge=0)
    """The weight w of the loss that separates classes."""
    temperature: float = Field(0.1, gt=0)
    """tau_SC of that loss."""
    decay: float = Field(1.0, gt=0)
    """tau_r: how fast the weight falls with the noise level."""
    loss: str = "SupConLoss"
    """SupConLoss, or any other loss of pytorch-metric-learning by its name."""
    loss_options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of that loss."""
    lambda_unit: Literal["anchor", "batch"] = "anchor"
    """Whether every anchor has its own lambda(t), or the batch their mean."""
    lambda_factor: Literal["none", "temperature"] = "none"
    """The released code multiplies lambda by tau_SC once more."""
    time_index: TimeIndex = "one"
    """Whether t/T counts t from one or from zero, as the released code does."""
    dropped_labels: Literal["include", "skip"] = "include"
    """Whether images whose label the network did not see take part."""


class SupConLoss(nn.Module):
    """Supervised contrastive loss (Khosla et al. 2020, Eq. 2; Eq. 5 of the CORAL paper).

    It gives the values of pytorch-metric-learning's `SupConLoss` without reading anything back to the host: the mean
    over the anchors that have a positive (Eq. 5 writes a sum), 0 where a batch has no positive or no negative pair.
    """

    def __init__(self, temperature: float):
        super().__init__()
        self.temperature = temperature

    def forward(self, z: Tensor, labels: Tensor, weights: Tensor, kept: Tensor | None = None) -> Tensor:
        """Mean over anchors with positives of weights_i l_i.

        `z`: (B, d) of unit length; `labels`, `weights`: (B,); rows that are not `kept` (B,) take no part at all.
        """
        others = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
        if kept is not None:
            others = others & kept[:, None] & kept[None, :]
        same = labels[:, None] == labels[None, :]
        positive = same & others
        logits = (z @ z.T / self.temperature).masked_fill(~others, torch.finfo(z.dtype).min)
        log_probability = logits.log_softmax(dim=1)  # over S(i)
        positives = positive.sum(dim=1)  # |P(i)|
        losses = -torch.where(positive, log_probability, 0.0).sum(dim=1) / positives.clamp(min=1)
        usable = (losses > 0) & (others & ~same).any()  # (B,); an anchor without positives has the loss 0
        return torch.where(usable, weights * losses, 0.0).sum() / usable.sum().clamp(min=1)


def make_contrastive_loss(config: ContrastiveConfig, class_count: int, embedding_size: int) -> nn.Module:
    """The loss that a configuration names; it is called as `SupConLoss.forward` is."""
    if config.loss == "SupConLoss" and not config.loss_options:
        return SupConLoss(config.temperature)
    return MetricLearningLoss(config.loss, config.loss_options, config.temperature, class_count, embedding_size)


def contrastive_term(
    config: ContrastiveConfig, loss: nn.Module, embeddings: Tensor, labels: Tensor, time: Tensor, kept: Tensor
) -> Tensor:
    """lambda(t) L_con over the images of all processes, a scalar in float32.

    `embeddings`: (B, d), normalised here; `labels`: (B,) the true ones; `time`: (B,) t / T; `kept`: (B,) bool, whether
    the network saw the label.
    """
    with without_autocast(embeddings):
        z = gather_with_gradient(normalize(embeddings.float(), dim=1))
        labels, kept = gather_with_gradient(labels), gather_with_gradient(kept)
        lambdas = config.weight * torch.exp((1 - gather_with_gradient(time)) / config.decay)
        if config.lambda_unit == "batch":
            lambdas = lambdas.mean().expand(len(z))
        if config.lambda_factor == "temperature":
            lambdas = lambdas * config.temperature
        term: Tensor = loss(z, labels, lambdas, kept if config.dropped_labels == "skip" else None)
        return term


def without_autocast(tensor: Tensor) -> torch.autocast:
    """A context in which nothing on the tensor's device is done in half precision."""
    return torch.autocast(tensor.device.type, enabled=False)
