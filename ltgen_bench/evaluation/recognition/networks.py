"""Recognition's classifiers: a small network for 8 pixels, CIFAR's ResNet-32, and ResNet-10 and -18 for 64."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def make_classifier(name: str, channels: int, class_count: int, seed: int) -> nn.Module:
    """An untrained classifier, (B, C, H, W) -> (B, classes); its weights depend on the seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "cnn":
            return _small(channels, class_count)
        if name == "resnet32":
            return ResNet32(channels, class_count)
        from torchvision.models.resnet import BasicBlock, ResNet

        layers = {"resnet10": [1, 1, 1, 1], "resnet18": [2, 2, 2, 2]}[name]
        network: nn.Module = ResNet(BasicBlock, layers, num_classes=class_count)
        network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        return network


def _small(channels: int, class_count: int) -> nn.Module:
    def layer(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *layer(channels, 32),
        *layer(32, 64),
        nn.MaxPool2d(2),
        *layer(64, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, class_count),
    )


class ResNet32(nn.Module):
    """He et al. 2016, section 4.2, with n = 5: three stages of 16, 32 and 64 channels, shortcuts without parameters."""

    def __init__(self, channels: int, class_count: int):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        blocks: list[nn.Module] = []
        inputs = 16
        for outputs in (16, 32, 64):
            for _ in range(5):
                blocks.append(_Block(inputs, outputs))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(64, class_count)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes)."""
        scores: Tensor = self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))
        return scores


class _Block(nn.Module):
    """Two convolutions; where the stage changes, the shortcut drops every second pixel and pads channels with 0."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.stride, self.padding = (1, 0) if inputs == outputs else (2, (outputs - inputs) // 2)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=self.stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        short = x[:, :, :: self.stride, :: self.stride]
        return functional.relu(out + functional.pad(short, (0, 0, 0, 0, self.padding, self.padding)))
