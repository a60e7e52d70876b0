"""The U-Net's sizes, from a run's configuration and its images."""

from __future__ import annotations

from ltgen_bench.core.config import RunConfig
from ltgen_bench.diffusion import UNetConfig
from ltgen_bench.methods.interface import DataSpec


def unet_config(spec: DataSpec, run: RunConfig) -> UNetConfig:
    """The U-Net of a run; raises ConfigError when its sizes do not fit the images."""
    network = run.network
    return UNetConfig(
        image_channels=spec.image_shape[0],
        image_size=spec.image_shape[1],
        class_count=spec.class_count,
        base_channels=network.base_channels,
        channel_multipliers=network.channel_multipliers,
        residual_blocks=network.residual_blocks,
        attention_levels=network.attention_levels,
        dropout=network.dropout,
        norm_groups=network.norm_groups,
        steps=run.diffusion.timesteps,
    )
