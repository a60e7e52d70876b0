"""The channel mean and deviation that torchvision's ImageNet networks and DINOv2 were trained with."""

from __future__ import annotations

import torch

MEAN = (0.485, 0.456, 0.406)  # of images in [0, 1]
DEVIATION = (0.229, 0.224, 0.225)


class Normalise:
    """float (B, 3, H, W) in [0, 255] -> zero mean and unit deviation, by ImageNet's statistics."""

    def __init__(self, device: torch.device):
        self._mean = 255 * torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
        self._deviation = 255 * torch.tensor(DEVIATION, device=device).view(1, 3, 1, 1)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """The normalised images."""
        return (images - self._mean) / self._deviation
