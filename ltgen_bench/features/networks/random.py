"""Networks with random weights: features that nobody can tune samples to, as nobody knows the seed beforehand.

Random convolutions keep what a Fréchet distance needs (edges, strokes, textures, colours and where they are) and have
no training data to favour. They are weaker than a trained network, and used as a second opinion only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_WIDTHS = (32, 64, 64)
DIMENSION = 64  # of the features
_ROWS = 256


def random_features(images: np.ndarray, seed: int, *, device: str = "cpu") -> np.ndarray:
    """Features float32 (N, 64) of uint8 images (N, C, H, W) in the network that `seed` draws.

    Three 3 x 3 convolutions with orthogonal filters and random biases, ReLU, average pooling to 4 x 4 at the most
    between them; the last map is projected at random together with its places, so that where something is counts.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    layers: list[tuple[torch.Tensor, torch.Tensor]] = []
    channels = images.shape[1]
    for width in _WIDTHS:
        weight = torch.nn.init.orthogonal_(torch.empty(width, channels * 9), gain=2**0.5, generator=generator)
        bias = 0.1 * torch.randn(width, generator=generator)
        layers.append((weight.reshape(width, channels, 3, 3).to(device), bias.to(device)))
        channels = width
    projection: torch.Tensor | None = None
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), _ROWS):
            x = torch.from_numpy(np.ascontiguousarray(images[start : start + _ROWS])).to(device).float() / 127.5 - 1
            for number, (weight, bias) in enumerate(layers):
                x = torch.nn.functional.conv2d(x, weight, bias, padding=1).relu()
                if min(x.shape[2:]) >= 8 or number == len(layers) - 1:
                    x = torch.nn.functional.avg_pool2d(x, 2, ceil_mode=True)
            whole = all(
                4 % size == 0 for size in x.shape[2:]
            )  # then every place of the 4 x 4 is one of the map's: faster
            resize = torch.nn.functional.interpolate if whole else torch.nn.functional.adaptive_avg_pool2d
            x = resize(x, (4, 4)).flatten(1)
            if projection is None:
                projection = torch.randn(x.shape[1], DIMENSION, generator=generator).div_(x.shape[1] ** 0.5).to(device)
            found.append((x @ projection).cpu())
    return torch.cat(found).numpy()
