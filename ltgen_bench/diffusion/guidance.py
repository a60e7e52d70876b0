"""What a sampler asks of a network, and classifier-free guidance (Ho and Salimans 2022)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

NO_LABEL = -1
"""The label that stands for "no class": the unconditional prediction."""


class NoiseModel(Protocol):
    """Predicts the noise in x: (B, C, H, W) floating, t (B,) int64, labels (B,) int64 -> (B, C, H, W).

    Each row depends on its own inputs only.
    """

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor, /) -> Tensor:
        """Predict the noise."""
        ...


class Guide(Protocol):
    """Moves predicted noise towards what is wanted, as DDIM does: (x_t, t, labels, noise) -> noise, (B, C, H, W).

    For a gradient g of log p(y | x_t) it is noise - s sqrt(1 - alpha_bar_t) g (Dhariwal and Nichol 2021, algorithm 2).
    Each row depends on its own inputs only. It is called where gradients are off, and may switch them on.
    """

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor, noise: Tensor, /) -> Tensor:
        """Give the guided noise."""
        ...


class HasNoise(Protocol):
    """An output with the predicted noise in it, such as `UNetOutput`."""

    @property
    def noise(self) -> Tensor:
        """Predicted noise, (B, C, H, W)."""
        ...


def noise_model(network: Callable[[Tensor, Tensor, Tensor], HasNoise]) -> NoiseModel:
    """Turn a network that returns an output with `.noise` (a `UNet`, compiled or not) into a `NoiseModel`."""

    def predict(x: Tensor, t: Tensor, labels: Tensor, /) -> Tensor:
        return network(x, t, labels).noise

    return predict


def guided_noise(model: NoiseModel, x: Tensor, t: Tensor, labels: Tensor, guidance_scale: float) -> Tensor:
    """Noise eps_c + w (eps_c - eps_u), which is (1 + w) eps_c - w eps_u: equation 6 of Ho and Salimans.

    `x`: (B, C, H, W); `t`, `labels`: (B,) int64; `guidance_scale` is w. Both predictions come from one forward pass of
    2 B rows, the conditional ones first; at w = 0 there is one conditional pass of B rows.
    """
    if guidance_scale == 0.0:
        return model(x, t, labels)
    both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([labels, torch.full_like(labels, NO_LABEL)]))
    conditional, unconditional = both.chunk(2)
    return torch.add(conditional, conditional - unconditional, alpha=guidance_scale)
