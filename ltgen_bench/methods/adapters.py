"""Layers that a method adds to the network before training: a low-rank part beside chosen convolutions."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltgen_bench.diffusion import UNet
from ltgen_bench.diffusion.unet_layers import ResidualBlock, Upsample


class LowRankConv2d(nn.Conv2d):
    """A k x k convolution with the weight W + view(B A): A is (r k, c_in k), B is (c_out k, r k).

    A starts as Kaiming normal (a = sqrt 5) and B as 0, so that the layer starts as the convolution that it replaces.
    `low_rank` switches the second part off; `merge` adds it to W for good, which changes nothing that is computed.
    """

    def __init__(self, conv: nn.Conv2d, rank: int, generator: torch.Generator):
        size = conv.kernel_size[0]
        super().__init__(conv.in_channels, conv.out_channels, size, padding=conv.padding)  # type: ignore[arg-type]
        self.weight, self.bias = conv.weight, conv.bias
        down = torch.randn(rank * size, conv.in_channels * size, generator=generator)
        self.low_rank_a = nn.Parameter(down * math.sqrt(1 / (3 * conv.in_channels * size)))  # gain^2 = 2 / (1 + 5)
        self.low_rank_b = nn.Parameter(torch.zeros(conv.out_channels * size, rank * size))
        self.low_rank, self.merged = True, False

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H, W)."""
        weight: Tensor = self.weight
        if self.low_rank and not self.merged:
            weight = weight + (self.low_rank_b @ self.low_rank_a).view_as(weight)
        return functional.conv2d(x, weight, self.bias, padding=self.padding)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the second part to the weight, once; B becomes 0, so that a saved model stays what it is."""
        self.weight.add_((self.low_rank_b @ self.low_rank_a).view_as(self.weight))
        self.low_rank_b.zero_()
        self.merged = True


def add_low_rank_to_decoder(network: UNet, ratio: float, generator: torch.Generator) -> None:
    """Give every 3 x 3 convolution of the decoder's residual and upsampling blocks a low-rank part.

    Its rank is `ratio` times the smaller number of channels, at least 1. Shortcuts, attention, embeddings,
    encoder, middle, head and tail stay as they are.
    """
    for block in network.up:
        names: tuple[str, ...] = ("conv1", "conv2") if isinstance(block, ResidualBlock) else ()
        if isinstance(block, Upsample):
            names = ("conv",)
        for name in names:
            conv = getattr(block, name)
            rank = max(int(ratio * min(conv.in_channels, conv.out_channels)), 1)
            setattr(block, name, LowRankConv2d(conv, rank, generator))


@contextlib.contextmanager
def without_low_rank(network: nn.Module) -> Iterator[None]:
    """Inside, every low-rank part of a network is off."""
    layers = [layer for layer in network.modules() if isinstance(layer, LowRankConv2d)]
    for layer in layers:
        layer.low_rank = False
    try:
        yield
    finally:
        for layer in layers:
            layer.low_rank = True


def merge_low_rank(network: nn.Module) -> None:
    """Merge every low-rank part of a network for sampling."""
    for layer in network.modules():
        if isinstance(layer, LowRankConv2d):
            layer.merge()
