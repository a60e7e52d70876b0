"""The bundled network for 8x8 grey digits.

Three 3x3 convolutions, a 64-wide layer (the features) and a softmax over ten classes; 47,530 parameters. Its training
script is `train_digits_cnn.py`. Trained on a random four fifths of scikit-learn's 1,797 digits it classifies the other
fifth right in 99.4 % of the cases (357 of 359; `--holdout` measures it again). The weights of `digits-cnn` are trained
on all of them: their accuracy on real digits is a training accuracy. Those of `digits-cnn-unseen`, which protocols of
version 2 use, are trained on the 1,200 that a training set may contain, and are right on 593 of the 597 others.

Inference runs in float64 and is rounded to float32 at the end: at this size it costs nothing, and the features are
the same on every processor.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ltgen_bench.features.base import ExtractorOutput
from ltgen_bench.features.info import BUILTIN
from ltgen_bench.features.networks.from_state import State, StateExtractor


class DigitsNetwork(nn.Module):
    """float (B, 1, 8, 8) in [-1, 1] -> (features (B, 64), logits (B, 10))."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)  # (B, 16, 8, 8)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, stride=2)  # (B, 32, 4, 4)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)  # (B, 32, 4, 4)
        self.features = nn.Linear(32 * 4 * 4, 64)
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and logits of scaled images."""
        for convolution in (self.conv1, self.conv2, self.conv3):
            x = functional.silu(convolution(x))
        features = functional.silu(self.features(x.flatten(1)))
        return features, self.classifier(features)


def scaled(images: torch.Tensor) -> torch.Tensor:
    """uint8 images as float64 in [-1, 1]."""
    return images.double() / 127.5 - 1


class DigitsExtractor(StateExtractor):
    """64 features and 10 logits of 8x8 grey images, in `FD[digits-cnn]`."""

    name = "digits-cnn"
    info = BUILTIN[name]
    dim = info.dim
    class_names = tuple("0123456789")
    image_channels = (1,)
    image_size = 8
    precisions = ("fp32",)
    compute_batch_cpu = 64
    compute_batch_gpu = 256

    def build(self, state: State) -> None:
        """The network in float64, whatever the precision: it is tiny, and so exact everywhere."""
        network = DigitsNetwork()
        network.load_state_dict(state)
        self._network = network.double().requires_grad_(False).eval().to(self.device)

    def compute(self, images: torch.Tensor) -> ExtractorOutput:
        """Features (B, 64) and logits (B, 10) of uint8 images (B, 1, 8, 8)."""
        features, logits = self._network(scaled(images))
        return ExtractorOutput(features.float(), logits.float())


class UnseenDigitsExtractor(DigitsExtractor):
    """The same network, trained without the images that protocols of version 2 compare with."""

    name = "digits-cnn-unseen"
    info = BUILTIN[name]
