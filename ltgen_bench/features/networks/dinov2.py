"""DINOv2 ViT-L/14 and ViT-B/14: features learned without labels, for FD-DINOv2.

Stein et al. 2023 (arXiv:2306.04675) find distances in these features closer to human judgement than FID. The network is
Oquab et al. 2023 (arXiv:2304.07193): a vision transformer (arXiv:2010.11929) with LayerScale (arXiv:2103.17239). It is
defined here, because the usual way, torch.hub, downloads and runs code; the weights file and its names are the
published ones.

`dinov2-vit-l-14` is what papers call FD-DINOv2: that of dgm-eval (74c79f7) and of edm2 in its mode `pil` (4bf8162),
with Pillow's bicubic resize to 224 x 224, 8-bit images, and ImageNet's mean and deviation. `dinov2-vit-b-14` is
torch-fidelity's: a smaller network after a TensorFlow-style resize. Their numbers do not compare.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from ltgen_bench.features.base import ExtractorOutput, as_rgb
from ltgen_bench.features.info import BUILTIN
from ltgen_bench.features.networks.from_state import State, StateExtractor
from ltgen_bench.features.networks.imagenet import Normalise
from ltgen_bench.features.networks.resize import Resize

_INPUT_SIZE = 224
PATCH = 14
TRAINED_GRID = 37  # patches each way at the 518 px that the position table was trained for
DEPTH, DIM, HEADS = 12, 768, 12
LAYER_NORM_EPSILON = 1e-6
POSITION_OFFSET = 0.1  # added to the target grid when the published code scales the position table; weights expect it


class LayerScale(nn.Module):
    """One learned factor a channel."""

    def __init__(self, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> (B, T, D)."""
        return x * self.gamma


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> (B, T, D)."""
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)  # (B, heads, T, d)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        projected: torch.Tensor = self.proj(mixed.transpose(1, 2).reshape(b, t, d))
        return projected


class Block(nn.Module):
    """A pre-norm transformer block with LayerScale on both branches."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, LAYER_NORM_EPSILON)
        self.attn = Attention(dim, heads)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, LAYER_NORM_EPSILON)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 4 * dim), "fc2": nn.Linear(4 * dim, dim)})
        self.ls2 = LayerScale(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        change: torch.Tensor = self.ls2(self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(x)))))
        return x + change


class PatchEmbedding(nn.Module):
    """Patches of 14 x 14 pixels to tokens."""

    def __init__(self, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, stride=PATCH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, H W / 196, D)."""
        tokens: torch.Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return tokens


class VisionTransformer(nn.Module):
    """float (B, 3, 224, 224), normalised -> (B, D), the normalised class token."""

    def __init__(self, depth: int = DEPTH, dim: int = DIM, heads: int = HEADS):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TRAINED_GRID**2, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # used in training only; part of the file
        self.patch_embed = PatchEmbedding(dim)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, LAYER_NORM_EPSILON)

    def forward(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Class tokens of normalised images; `positions` (1, 1 + tokens, D) is `position_table`'s."""
        tokens = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1) + positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0])  # type: ignore[no-any-return]


def position_table(pos_embed: torch.Tensor, grid: int) -> torch.Tensor:
    """The trained position table (1, 1 + 37^2, D) scaled bicubically to (1, 1 + grid^2, D), in float32.

    The scale factor carries the offset of 0.1 that the published code has against a rounding problem; it moves the
    sampling positions, so leaving it out would give other features.
    """
    table = pos_embed.float()
    patches = table[:, 1:].view(1, TRAINED_GRID, TRAINED_GRID, -1).permute(0, 3, 1, 2)
    factor = (grid + POSITION_OFFSET) / TRAINED_GRID
    patches = functional.interpolate(patches, scale_factor=(factor, factor), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], patches.flatten(2).transpose(1, 2)], 1)


class DINOv2Extractor(StateExtractor):
    """768 features, no logits."""

    name = "dinov2-vit-b-14"
    info = BUILTIN[name]
    dim = info.dim
    compute_batch_cpu = 16
    compute_batch_gpu = 128

    shape: ClassVar[dict[str, int]] = {"depth": DEPTH, "dim": DIM, "heads": HEADS}
    resize = "tensorflow"

    def build(self, state: State) -> None:
        """The transformer, and its table of positions at our number of patches."""
        with torch.device("meta"):
            network = VisionTransformer(**self.shape)
        network.load_state_dict(state, assign=True)
        positions = position_table(network.pos_embed.detach(), _INPUT_SIZE // PATCH)
        self._positions = positions.to(device=self.device, dtype=self._dtype)
        self._network = network.requires_grad_(False).eval().to(device=self.device, dtype=self._dtype)
        self._resize = Resize(self.resize, _INPUT_SIZE, self.device)
        self._normalise = Normalise(self.device)

    def compute(self, images: torch.Tensor) -> ExtractorOutput:
        """Features (B, D) of uint8 images (B, 1 or 3, H, W)."""
        x = self._normalise(as_rgb(self._resize(images.float()))).to(self._dtype)
        return ExtractorOutput(self._network(x, self._positions).float(), None)


class DINOv2LargeExtractor(DINOv2Extractor):
    """1,024 features, no logits."""

    name = "dinov2-vit-l-14"
    info = BUILTIN[name]
    dim = info.dim
    compute_batch_cpu = 8
    compute_batch_gpu = 64
    shape: ClassVar[dict[str, int]] = {"depth": 24, "dim": 1024, "heads": 16}
    resize = "pillow-bicubic"
