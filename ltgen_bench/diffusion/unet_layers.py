"""The U-Net's parts: residual block, one-head self-attention, changes of resolution, time table, initialisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def sinusoid_table(steps: int, channels: int, longest_period: float = 10_000.0) -> Tensor:
    """Sines and cosines of every step at geometric frequencies, float32 (steps, channels), channels even.

    Vaswani et al. 2017, section 3.5. Sine and cosine of one frequency are neighbours.
    """
    frequency = torch.exp(torch.arange(0, channels, 2, dtype=torch.float64) * (-math.log(longest_period) / channels))
    angle = torch.arange(steps, dtype=torch.float64)[:, None] * frequency  # (T, channels / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(steps, channels).float()


def zero_bias_xavier_(layer: nn.Linear | nn.Conv2d, gain: float, generator: torch.Generator) -> None:
    """Fill the weight from Xavier's uniform distribution (Glorot and Bengio 2010, equation 16) and zero the bias."""
    nn.init.xavier_uniform_(layer.weight, gain=gain, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class SelfAttention(nn.Module):
    """One-head self-attention over the pixels with a residual connection, (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, norm_groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.projection = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Let every pixel look at every other one; the softmax's scale is 1 / sqrt(C)."""
        normed = self.norm(x)
        # (B, heads = 1, H W, C). The fused kernels need the channels to be contiguous; in channels_last they are.
        query, key, value = (
            layer(normed).flatten(2).transpose(1, 2).contiguous().unsqueeze(1)
            for layer in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        mixed = mixed.squeeze(1).transpose(1, 2).reshape(x.shape)  # (B, C, H, W)
        out: Tensor = x + self.projection(mixed)
        return out


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution twice; the embedding of time and class is added between. Attention may follow."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding_channels: int,
        norm_groups: int,
        dropout: float,
        attention: bool,
    ):
        super().__init__()
        self.norm1 = nn.GroupNorm(norm_groups, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.embedding = nn.Linear(embedding_channels, outputs)
        self.norm2 = nn.GroupNorm(norm_groups, outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = SelfAttention(outputs, norm_groups) if attention else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """`x`: (B, inputs, H, W); `embedding`: (B, E) after its SiLU. Gives (B, outputs, H, W)."""
        hidden: Tensor = self.conv1(functional.silu(self.norm1(x)))
        hidden = hidden + self.embedding(embedding)[:, :, None, None]
        hidden = self.conv2(self.dropout(functional.silu(self.norm2(hidden))))
        hidden = hidden + self.shortcut(x)
        if self.attention is not None:
            hidden = self.attention(hidden)
        return hidden


class Downsample(nn.Module):
    """Halve the resolution by a strided convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / 2, W / 2); the embedding is not used."""
        out: Tensor = self.conv(x)
        return out


class Upsample(nn.Module):
    """Double the resolution by repeating pixels, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2 H, 2 W); the embedding is not used."""
        out: Tensor = self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out
