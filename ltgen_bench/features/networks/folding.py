"""Batch normalisation folded into the convolution before it.

In a frozen network y = gamma (w * x + b - mean) / sqrt(var + eps) + beta is a convolution again. The folding runs in
float64, so that the only difference to the unfolded network is the order of float32 roundings.
"""

from __future__ import annotations

import torch
from torch import nn


def folded(
    weight: torch.Tensor,
    *,
    gamma: torch.Tensor,
    beta: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    epsilon: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(weight, bias) in float32 of a bias-free convolution (O, I, kh, kw) followed by batch normalisation over O."""
    factor = gamma.double() / torch.sqrt(variance.double() + epsilon)
    bias = beta.double() - mean.double() * factor
    return (weight.double() * factor.view(-1, 1, 1, 1)).float(), bias.float()


def fold_into(convolution: nn.Conv2d, normalisation: nn.Module) -> nn.Identity:
    """Change `convolution` in place so that it includes `normalisation`, and return what takes the latter's place."""
    weight, bias = folded(
        convolution.weight.detach(),
        gamma=normalisation.weight.detach(),  # type: ignore[operator]
        beta=normalisation.bias.detach(),  # type: ignore[operator]
        mean=normalisation.running_mean,  # type: ignore[arg-type]
        variance=normalisation.running_var,  # type: ignore[arg-type]
        epsilon=normalisation.eps,  # type: ignore[arg-type]
    )
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.bias = nn.Parameter(bias, requires_grad=False)
    return nn.Identity()
