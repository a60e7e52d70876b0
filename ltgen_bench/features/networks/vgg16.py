"""VGG16 trained on ImageNet, read after its second fully connected layer: the space of improved precision and recall.

Kynkäänniemi et al. 2019 (arXiv:1904.06991) define the metric there. The layers are Simonyan and Zisserman's (2015,
arXiv:1409.1556) configuration D; the weights are torchvision's, under torchvision's names; the preprocessing is that
of torch-fidelity's `vgg16` with its feature `fc2_relu`, which these features equal: a TensorFlow-style resize to
224 x 224, then the ImageNet mean and deviation.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ltgen_bench.features.base import ExtractorOutput, as_rgb
from ltgen_bench.features.info import BUILTIN
from ltgen_bench.features.networks.from_state import State, StateExtractor
from ltgen_bench.features.networks.imagenet import Normalise
from ltgen_bench.features.networks.resize import Resize

_INPUT_SIZE = 224
WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # a max pool after each group


class VGG16Network(nn.Module):
    """float (B, 3, 224, 224), normalised -> (B, 4096), after the ReLU of fc2."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for group in WIDTHS:
            for width in group:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.ModuleDict({"0": nn.Linear(512 * 7 * 7, 4096), "3": nn.Linear(4096, 4096)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of normalised images."""
        x = self.features(x).flatten(1)
        for layer in self.classifier.values():
            x = functional.relu(layer(x))
        return x


class VGG16Extractor(StateExtractor):
    """4096 features, no logits."""

    name = "vgg16-fc2"
    info = BUILTIN[name]
    dim = info.dim
    compute_batch_cpu = 16
    compute_batch_gpu = 128

    def build(self, state: State) -> None:
        """The network up to fc2; the weights of fc3 are not used."""
        with torch.device("meta"):  # half a gigabyte of random numbers that nobody needs
            network = VGG16Network()
        wanted = {name: value for name, value in state.items() if not name.startswith("classifier.6.")}
        network.load_state_dict(wanted, assign=True)
        self._network = self.placed(network)
        self._resize = Resize("tensorflow", _INPUT_SIZE, self.device)
        self._normalise = Normalise(self.device)

    def compute(self, images: torch.Tensor) -> ExtractorOutput:
        """Features (B, 4096) of uint8 images (B, 1 or 3, H, W)."""
        x = self._normalise(as_rgb(self._resize(images.float())))
        return ExtractorOutput(self._network(self.for_network(x)).float(), None)
