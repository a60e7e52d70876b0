"""The U-Net that DDPM, CBDM, T2H and CORAL share (Ho et al. 2020, appendix B, with class labels).

Every level has residual blocks that take the embedding of time and class; chosen levels and the middle have one-head
self-attention. The way up concatenates what the way down stored.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.diffusion.unet_config import UNetConfig
from ltgen_bench.diffusion.unet_layers import Downsample, ResidualBlock, Upsample, sinusoid_table, zero_bias_xavier_

TAIL_GAIN = 1e-5
"""Xavier gain of the layers that start near zero: the last convolution of every block, and the tail."""


class UNetOutput(NamedTuple):
    """What one forward pass gives, in the dtype of the input images."""

    noise: Tensor
    """Predicted noise, (B, C, H, W)."""
    bottleneck: Tensor
    """The middle's output averaged over its pixels, (B, bottleneck_channels)."""
    middle: Tensor
    """The middle's output itself, (B, bottleneck_channels, h, w)."""


class UNet(nn.Module):
    """Noise predictor eps(x_t, t, y).

    `generator` draws the initial weights (a seed is turned into a generator), so the weights depend on nothing else.
    """

    time_table: Tensor

    def __init__(self, config: UNetConfig, generator: torch.Generator | int = 0):
        super().__init__()
        self.config = config
        channels = [config.base_channels * multiplier for multiplier in config.channel_multipliers]
        embedding = config.embedding_channels
        # Derived from the configuration, so not part of a checkpoint.
        self.register_buffer("time_table", sinusoid_table(config.steps, config.base_channels), persistent=False)
        self.time_embedding = nn.Sequential(
            nn.Linear(config.base_channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.class_embedding = nn.Embedding(config.class_count, embedding)

        def block(inputs: int, outputs: int, attention: bool) -> ResidualBlock:
            return ResidualBlock(inputs, outputs, embedding, config.norm_groups, config.dropout, attention)

        self.head = nn.Conv2d(config.image_channels, config.base_channels, 3, padding=1)
        self.down = nn.ModuleList()
        stored = [config.base_channels]  # channels of what the way down stores
        current = config.base_channels
        for level, outputs in enumerate(channels):
            for _ in range(config.residual_blocks):
                self.down.append(block(current, outputs, level in config.attention_levels))
                current = outputs
                stored.append(current)
            if level + 1 < len(channels):
                self.down.append(Downsample(current))
                stored.append(current)
        self.middle = nn.ModuleList([block(current, current, True), block(current, current, False)])
        self.up = nn.ModuleList()
        for level, outputs in reversed(list(enumerate(channels))):
            for _ in range(config.residual_blocks + 1):
                self.up.append(block(current + stored.pop(), outputs, level in config.attention_levels))
                current = outputs
            if level > 0:
                self.up.append(Upsample(current))
        self.tail = nn.Sequential(
            nn.GroupNorm(config.norm_groups, current),
            nn.SiLU(),
            nn.Conv2d(current, config.image_channels, 3, padding=1),
        )
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | int) -> None:
        """Draw all weights again: Xavier uniform (gain 1e-5 where a block ends), biases 0, class embedding N(0, 1)."""
        if isinstance(generator, int):
            generator = torch.Generator().manual_seed(generator)
        # Attention's projections are not among them: the authors' code means to start them near zero, and then draws
        # every layer of the block again, so that published networks began with gain 1.
        near_zero = {id(m.conv2) for m in self.modules() if isinstance(m, ResidualBlock)} | {id(self.tail[-1])}
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                zero_bias_xavier_(module, TAIL_GAIN if id(module) in near_zero else 1.0, generator)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, generator=generator)
            elif isinstance(module, nn.GroupNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)

    def embed(self, t: Tensor, labels: Tensor) -> Tensor:
        """Embedding of time and class, (B, embedding_channels); label -1 adds nothing to the time embedding."""
        embedding: Tensor = self.time_embedding(self.time_table[t])
        known = (labels >= 0).unsqueeze(1)  # (B, 1)
        # Masked rather than skipped: the class embedding takes part in every graph, so DDP finds no unused parameter.
        classes: Tensor = self.class_embedding(labels.clamp(min=0))
        return embedding + classes * known

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> UNetOutput:
        """Predict the noise in `x`.

        `x`: (B, C, H, W) floating; `t`: (B,) int64 table indices in [0, T); `labels`: (B,) int64 in [0, classes), or -1
        for no label. Raises ConfigError when `x` has another shape than the configuration says.
        """
        expected = (self.config.image_channels, self.config.image_size, self.config.image_size)
        if x.shape[1:] != expected:
            raise ConfigError(f"images of shape {tuple(x.shape[1:])}; this U-Net takes (C, H, W) = {expected}")
        embedding = functional.silu(self.embed(t, labels))  # every block starts with the same SiLU: done once
        hidden: Tensor = self.head(x)
        stored = [hidden]
        for layer in self.down:
            hidden = layer(hidden, embedding)
            stored.append(hidden)
        for layer in self.middle:
            hidden = layer(hidden, embedding)
        middle = hidden.to(x.dtype)
        for layer in self.up:
            if isinstance(layer, ResidualBlock):
                hidden = torch.cat([hidden, stored.pop()], dim=1)
            hidden = layer(hidden, embedding)
        return UNetOutput(self.tail(hidden).to(x.dtype), middle.mean(dim=(2, 3)), middle)
