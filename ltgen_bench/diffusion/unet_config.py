"""Sizes of the U-Net, as data."""

from __future__ import annotations

from dataclasses import dataclass

from ltgen_bench.core.errors import ConfigError


@dataclass(frozen=True)
class UNetConfig:
    """Everything that fixes the U-Net's parameters. Raises ConfigError when the sizes do not fit together."""

    image_channels: int
    image_size: int
    """Height and width in pixels; divisible by 2 once for every level but the first."""
    class_count: int
    base_channels: int = 128
    """Channels of the first level, and numbers in the sinusoidal time table."""
    channel_multipliers: tuple[int, ...] = (1, 2, 2, 2)
    """Channels of each level as multiples of `base_channels`; each level halves the resolution of the one before."""
    residual_blocks: int = 2
    """Blocks a level on the way down; the way up has one more."""
    attention_levels: tuple[int, ...] = (1,)
    """Levels, counted from 0, whose blocks end in self-attention. The middle has it in any case."""
    dropout: float = 0.1
    norm_groups: int = 32
    steps: int = 1000
    """T, the number of rows of the time table."""

    def __post_init__(self) -> None:
        for name in ("image_channels", "image_size", "class_count", "base_channels", "residual_blocks", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}; it must be at least 1")
        if not self.channel_multipliers or min(self.channel_multipliers) < 1:
            raise ConfigError(f"channel_multipliers = {self.channel_multipliers}; one number of at least 1 a level")
        levels = len(self.channel_multipliers)
        factor = 2 ** (levels - 1)
        if self.image_size % factor:
            raise ConfigError(f"image_size = {self.image_size}; {levels} levels need a multiple of {factor}")
        if any(not 0 <= level < levels for level in self.attention_levels):
            raise ConfigError(f"attention_levels = {self.attention_levels}; the levels are 0 to {levels - 1}")
        if self.base_channels % 2 or self.norm_groups < 1 or self.base_channels % self.norm_groups:
            raise ConfigError(
                f"base_channels = {self.base_channels}; it must be even and a multiple of "
                f"norm_groups = {self.norm_groups}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout = {self.dropout}; it must be at least 0 and below 1")

    @property
    def bottleneck_channels(self) -> int:
        """Width of the pooled bottleneck features: 256 for the 32-pixel network."""
        return self.base_channels * self.channel_multipliers[-1]

    @property
    def embedding_channels(self) -> int:
        """Width of the embedding of time and class: 512 for the 32-pixel network."""
        return 4 * self.base_channels
