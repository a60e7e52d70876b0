"""How often each class is drawn in training, an option of every diffusion method (`training.class_sampling`)."""

from __future__ import annotations

import torch
from torch import Tensor

from ltgen_bench.core.config import NATURAL


def class_shares(rule: str, counts: Tensor) -> Tensor | None:
    """The share of the draws that each class gets, float64 (C,) summing to 1; None for `natural`: plain epochs.

    `counts`: training images of each class, (C,). `balanced`: all alike (of n^q, q = 0); `exponent:q`: in proportion to
    n^q (Kang et al. 2020, Eq. 1); `tail:f`: f^(c / (C - 1)) for the c-th class from head to tail, an exponential tail
    of ratio f whatever the data's own (the batch resampling of CCUA, arXiv 2507.09052, with f = 0.1). A class without
    images gets nothing.
    """
    if rule == NATURAL:
        return None
    kind, _, value = rule.partition(":")
    n = counts.double()
    if kind == "tail":
        position = torch.empty_like(n)
        position[torch.argsort(n, descending=True, stable=True)] = torch.arange(len(n), dtype=torch.float64)
        share = float(value) ** (position / max(1, len(n) - 1))
    else:
        exponent = 0.0 if kind == "balanced" else float(value)
        if exponent == 1.0:
            return None
        share = n.clamp(min=1) ** exponent
    share = torch.where(n > 0, share, 0.0)
    return share / share.sum()


def image_weights_by_class(rule: str, labels: Tensor, class_count: int) -> Tensor | None:
    """The weight of each training image, float64 (N,), that gives its class its share; None for plain epochs."""
    counts = torch.bincount(labels, minlength=class_count)
    shares = class_shares(rule, counts)
    return None if shares is None else (shares / counts.clamp(min=1))[labels]
