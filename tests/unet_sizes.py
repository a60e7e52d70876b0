"""U-Nets of the sizes that papers use, and one that is small enough for tests."""

from __future__ import annotations

from dataclasses import replace

from ltgen_bench.diffusion import UNetConfig

_SIZES = {
    # Ho et al. 2020 on CIFAR-10; attention at 16x16.
    "cifar32": UNetConfig(3, 32, 10),
    # The same widths with attention at 16x16, which is the third level of 64x64 images.
    "image64": UNetConfig(3, 64, 5, attention_levels=(2,)),
    # Small enough to train in a minute on one core; attention at 4x4.
    "tiny8": UNetConfig(1, 8, 10, base_channels=32, channel_multipliers=(1, 2), residual_blocks=1, norm_groups=8),
}


def unet_of(name: str, image_channels: int, image_size: int, class_count: int) -> UNetConfig:
    """The named sizes for images and classes of this data set."""
    return replace(_SIZES[name], image_channels=image_channels, image_size=image_size, class_count=class_count)
