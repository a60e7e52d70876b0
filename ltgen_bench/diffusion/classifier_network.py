"""The encoder half of the shared U-Net with attention pooling: class scores of noisy images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.diffusion.unet_config import UNetConfig
from ltgen_bench.diffusion.unet_layers import Downsample, ResidualBlock, sinusoid_table, zero_bias_xavier_

_HEAD_CHANNELS = 64  # of the pooling's attention, as in ADM


class ClassifierNetwork(nn.Module):
    """Scores (logits) of classes from x_t and t; Dhariwal and Nichol 2021, section 4, on the blocks of `UNet`.

    `config` says the sizes as for the U-Net; `generator` draws the initial weights (a seed is turned into one).
    """

    time_table: Tensor

    def __init__(self, config: UNetConfig, generator: torch.Generator | int = 0):
        super().__init__()
        self.config = config
        embedding = config.embedding_channels
        self.register_buffer("time_table", sinusoid_table(config.steps, config.base_channels), persistent=False)
        self.time_embedding = nn.Sequential(
            nn.Linear(config.base_channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )

        def block(inputs: int, outputs: int, attention: bool) -> ResidualBlock:
            return ResidualBlock(inputs, outputs, embedding, config.norm_groups, config.dropout, attention)

        self.head = nn.Conv2d(config.image_channels, config.base_channels, 3, padding=1)
        self.down = nn.ModuleList()
        current = config.base_channels
        for level, multiplier in enumerate(config.channel_multipliers):
            for _ in range(config.residual_blocks):
                self.down.append(block(current, config.base_channels * multiplier, level in config.attention_levels))
                current = config.base_channels * multiplier
            if level + 1 < len(config.channel_multipliers):
                self.down.append(Downsample(current))
        self.middle = nn.ModuleList([block(current, current, True), block(current, current, False)])
        self.norm = nn.GroupNorm(config.norm_groups, current)
        side = config.image_size // 2 ** (len(config.channel_multipliers) - 1)
        self.pool = AttentionPool(current, side * side, config.class_count)
        self._reset(torch.Generator().manual_seed(generator) if isinstance(generator, int) else generator)

    @torch.no_grad()
    def _reset(self, generator: torch.Generator) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                zero_bias_xavier_(module, 1.0, generator)
        positions = self.pool.positions
        positions.copy_(torch.randn(positions.shape, generator=generator) / positions.shape[1] ** 0.5)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """`x`: (B, C, H, W) floating; `t`: (B,) int64 table indices -> float (B, classes), before any softmax.

        Raises ConfigError when `x` has another shape than the configuration says.
        """
        expected = (self.config.image_channels, self.config.image_size, self.config.image_size)
        if x.shape[1:] != expected:
            raise ConfigError(f"images of shape {tuple(x.shape[1:])}; this classifier takes (C, H, W) = {expected}")
        embedding = functional.silu(self.time_embedding(self.time_table[t]))
        hidden: Tensor = self.head(x)
        for layer in [*self.down, *self.middle]:
            hidden = layer(hidden, embedding)
        scores: Tensor = self.pool(functional.silu(self.norm(hidden)))
        return scores


class AttentionPool(nn.Module):
    """One layer of attention from the mean of all positions to them and itself, (B, C, h, w) -> (B, outputs).

    The mean is prepended as a position of its own, learned positions are added, and the result is read there (the
    pooling of CLIP, Radford et al. 2021, which ADM's classifier takes over).
    """

    def __init__(self, channels: int, pixels: int, outputs: int):
        super().__init__()
        self.heads = max(1, channels // _HEAD_CHANNELS)
        self.positions = nn.Parameter(torch.zeros(pixels + 1, channels))
        self.query, self.key = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.value, self.output = nn.Linear(channels, channels), nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, outputs)."""
        tokens = x.flatten(2).transpose(1, 2)  # (B, h w, C)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.positions
        size = len(tokens)
        query, key, value = (
            layer(part).reshape(size, part.shape[1], self.heads, -1).transpose(1, 2)  # (B, heads, tokens, C / heads)
            for layer, part in ((self.query, tokens[:, :1]), (self.key, tokens), (self.value, tokens))
        )
        pooled = functional.scaled_dot_product_attention(query, key, value)  # (B, heads, 1, C / heads)
        scores: Tensor = self.output(pooled.transpose(1, 2).reshape(size, -1))
        return scores
