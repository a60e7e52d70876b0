"""ADA-style geometric augmentation with conditioning, an option of any diffusion method.

Karras et al. 2020 (ADA) transform the images of small training sets; Karras et al. 2022 (EDM, appendix F.2) tell the
diffusion model which transform an image went through, so that asking for "none" gives images without traces of them.
CBDM's second recipe trains this way. Ours are four of their transforms, each with the same probability, in one
bilinear resampling with reflected borders (theirs filters more finely): scaling, rotation, stretching, shifting.
Mirroring is the trainer's own business.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

CONDITION_SIZE = 7
"""log2 scale; cos - 1 and sin of the rotation; log2 stretch (2 numbers); shift in x and y: all 0 for no transform."""

_SCALE = 0.2  # standard deviation of log2 of a scaling or stretching
_SHIFT = 0.125  # standard deviation of a shift, in widths of the image


@dataclass(frozen=True)
class Augmentations:
    """One transform for each image."""

    affine: Tensor  # (B, 2, 3): from output to input coordinates, both in [-1, 1]
    condition: Tensor  # (B, CONDITION_SIZE): what the network is told

    def part(self, which: slice) -> Augmentations:
        """Those of a part of the batch."""
        return Augmentations(self.affine[which], self.condition[which])


def draw_augmentations(count: int, probability: float, generator: torch.Generator) -> Augmentations:
    """Draw transforms for `count` images; each kind is applied with `probability`, independently."""
    device = generator.device
    applied = torch.rand(4, count, generator=generator, device=device) < probability
    normal = torch.randn(4, count, generator=generator, device=device)
    turn = (torch.rand(2, count, generator=generator, device=device) * 2 - 1) * math.pi
    scale = torch.where(applied[0], _SCALE * normal[0], 0.0)  # log2
    angle = torch.where(applied[1], turn[0], 0.0)
    stretch = torch.where(applied[2], _SCALE * normal[1], 0.0)  # log2, along the direction turn[1]
    shift = torch.where(applied[3], _SHIFT * normal[2:], 0.0)  # (2, B), in widths
    # Output to input: the inverse of each transform. Coordinates run over [-1, 1], so a width is 2.
    matrix = _rotation(-angle) * torch.exp2(-scale)[:, None, None]
    along = torch.stack([torch.exp2(-stretch), torch.exp2(stretch)], dim=-1).diag_embed()
    matrix = matrix @ _rotation(turn[1]) @ along @ _rotation(-turn[1])
    offset = -(matrix @ (2 * shift.T).unsqueeze(-1))  # (B, 2, 1)
    condition = torch.stack(
        [
            scale,
            angle.cos() - 1,
            angle.sin(),
            # twice the angle: to stretch along a direction is to shrink across it
            stretch * (2 * turn[1]).cos(),
            stretch * (2 * turn[1]).sin(),
            shift[0],
            shift[1],
        ],
        dim=1,
    )
    return Augmentations(torch.cat([matrix, offset], dim=2), condition)


def _rotation(angle: Tensor) -> Tensor:
    """Rotation matrices (B, 2, 2)."""
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cosine, -sine], dim=-1), torch.stack([sine, cosine], dim=-1)], dim=-2)


def augment(images: Tensor, augmentations: Augmentations) -> Tensor:
    """The transformed images, (B, C, H, W) in their dtype; those without a transform stay as they are, to the bit."""
    grid = functional.affine_grid(augmentations.affine, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    untouched = (augmentations.condition == 0).all(dim=1)[:, None, None, None]
    return torch.where(untouched, images, moved)


class AugmentationCondition(nn.Module):
    """Adds a linear map of a batch's transforms to a network's time embedding, in training only.

    It hangs on the embedding as a hook: the network's own weights, and so the model that is saved and sampled from,
    are those of a network without it. No transform is a condition of zeros, which adds nothing.
    """

    def __init__(self, embedding: nn.Module, channels: int):
        super().__init__()
        self.linear = nn.Linear(CONDITION_SIZE, channels, bias=False)
        self._condition: Tensor | None = None
        embedding.register_forward_hook(self._add)

    @contextlib.contextmanager
    def of(self, condition: Tensor) -> Iterator[None]:
        """Inside, the network's batch is one that was transformed as `condition` (B, CONDITION_SIZE) says."""
        self._condition = condition
        try:
            yield
        finally:
            self._condition = None

    def _add(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if self._condition is None or not module.training:
            return output
        # a method may stack several passes over its batch into one
        condition = self._condition.repeat(len(output) // len(self._condition), 1)
        added: Tensor = output + self.linear(condition)
        return added
