"""Leaving out generated images that a classifier of the real ones does not take for what they should be."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ltgen_bench.datasets import ImageSet
from ltgen_bench.evaluation.recognition.training import probabilities

QUANTILE = 0.05
"""Share of the real training images that the threshold itself would leave out."""


def kept_by(network: nn.Module, generated: ImageSet, real: ImageSet, device: torch.device) -> np.ndarray:
    """Which generated images stay, bool (N,): their class is the most likely one, and likely enough.

    Likely enough is the `QUANTILE` of the probability that the same classifier, trained on the real long-tailed images,
    gives those images' own classes. In the spirit of DiffuLT (Shao et al. 2024), whose rule is not public.
    """
    of_real = probabilities(network, real.images, device)[np.arange(len(real)), real.labels]
    of_generated = probabilities(network, generated.images, device)
    own = of_generated[np.arange(len(generated)), generated.labels]
    kept: np.ndarray = (of_generated.argmax(axis=1) == generated.labels) & (own >= np.quantile(of_real, QUANTILE))
    return kept
