"""Spatial features of InceptionV3: what sFID compares.

Nash et al. 2021 (arXiv:2103.03841) compare images by the seven first channels of one layer with all its 17 x 17 places,
so that a distance sees where things are, which pooled features forget. Which layer is settled by ADM's evaluator, the
one that papers use: the 1x1 branch of the block that TensorFlow calls mixed_6 (torch-fidelity: Mixed_6d), after its
ReLU. Input and weights are those of FID's network.
"""

from __future__ import annotations

import torch

from ltgen_bench.features.base import ExtractorOutput, as_rgb
from ltgen_bench.features.info import BUILTIN
from ltgen_bench.features.networks.from_state import State, StateExtractor
from ltgen_bench.features.networks.inception import INPUT_SIZE, Convolution, inception_until_mixed_6c
from ltgen_bench.features.networks.resize import Resize

_CHANNELS = 7


class SpatialInceptionExtractor(StateExtractor):
    """17 x 17 places with 7 channels each; the Fréchet distance in them is called sFID."""

    name = "inception-v3-spatial"
    info = BUILTIN[name]
    dim = info.dim
    compute_batch_cpu = 16
    compute_batch_gpu = 128

    def build(self, state: State) -> None:
        """The folded network as far as it is needed."""
        last = Convolution(state, "Mixed_6d.branch1x1")
        last.weight, last.bias = last.weight[:_CHANNELS], last.bias[:_CHANNELS]
        self._network = self.placed(torch.nn.Sequential(inception_until_mixed_6c(state), last))
        self._resize = Resize("tensorflow", INPUT_SIZE, self.device)

    def compute(self, images: torch.Tensor) -> ExtractorOutput:
        """Features (B, 2023), place by place, of uint8 images (B, 1 or 3, H, W)."""
        x = as_rgb(self._resize((images.float() - 128) / 128))
        x = self._network(self.for_network(x))
        return ExtractorOutput(x.float().permute(0, 2, 3, 1).flatten(1), None)
