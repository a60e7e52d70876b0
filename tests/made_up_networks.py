"""Feature networks with made-up weights, where the real ones are a download."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
from torch import nn


def random_weights_(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that keep activations of one size, and batch norms that do something."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith(("running_var", "bn.weight", "gamma")):
                value.copy_(0.5 + torch.rand(value.shape, generator=draw))
            elif value.dim() > 1:
                value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=draw)
            elif value.is_floating_point():
                value.normal_(0, 0.1, generator=draw)
    return module


def made_up_inception() -> Any:
    """torch-fidelity's InceptionV3, which would download its weights."""
    import torch_fidelity.feature_extractor_inceptionv3 as peer

    with (
        mock.patch.object(peer, "load_state_dict_from_url", return_value={}),
        mock.patch.object(peer.FeatureExtractorInceptionV3, "load_state_dict", return_value=None),
    ):
        layers = ["2048", "logits_unbiased"]
        network = peer.FeatureExtractorInceptionV3("inception-v3-compat", layers, verbose=False)
    return random_weights_(network)
