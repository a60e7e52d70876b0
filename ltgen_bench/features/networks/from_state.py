"""The base of the extractors here: a network that is built from the tensors of one weights file."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Self

import torch

from ltgen_bench.features.base import PRECISIONS, Extractor
from ltgen_bench.features.weights import fitting_error, read_state

State = dict[str, torch.Tensor]  # the tensors of a weights file by name


class StateExtractor(Extractor):
    """An extractor whose `build` turns the tensors of a weights file into its network."""

    def __init__(self, state: State, *, weights_sha256: str, device: str = "cpu", precision: str = "fp32"):
        super().__init__(weights_sha256=weights_sha256, device=device, precision=precision)
        self._dtype = PRECISIONS[precision]
        self.build(state)

    @abc.abstractmethod
    def build(self, state: State) -> None:
        """Set the network up on `self.device`; raises KeyError or RuntimeError for another network's tensors."""

    @classmethod
    def load(cls, weights: Path, *, weights_sha256: str, device: str, precision: str) -> Self:
        """The network with the weights in `weights`.

        Raises CheckpointError when they do not fit, and what `build` raises for a package that is not installed.
        """
        state = read_state(weights, name=cls.name)
        try:
            return cls(state, weights_sha256=weights_sha256, device=device, precision=precision)
        except (KeyError, RuntimeError) as error:
            raise fitting_error(weights, cls.name, error) from error

    def for_network(self, images: torch.Tensor) -> torch.Tensor:
        """Images in the network's precision and, because its convolutions are fastest there, channels last."""
        return images.to(self._dtype).contiguous(memory_format=torch.channels_last)

    def placed(self, network: torch.nn.Module) -> torch.nn.Module:
        """The frozen network on the extractor's device, in its precision and memory order (`for_network`)."""
        network = network.requires_grad_(False).eval()
        return network.to(self.device, self._dtype).to(memory_format=torch.channels_last)
