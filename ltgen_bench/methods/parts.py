"""Diffusion methods made of parts that can be joined: which target, which added terms, what the network gains."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from ltgen_bench.diffusion import NO_LABEL, UNet, UNetOutput
from ltgen_bench.methods.batches import DiffusionBatch
from ltgen_bench.methods.diffusion import DiffusionMethod


class Passes:
    """The network's outputs for the noisy images of a batch; those that several terms read are computed once."""

    def __init__(self, network: UNet, batch: DiffusionBatch):
        self.network, self.batch = network, batch

    @cached_property
    def own(self) -> UNetOutput:
        """With the labels that training keeps."""
        return self.of(self.batch.conditioning)

    @cached_property
    def unlabelled(self) -> UNetOutput:
        """Without any label."""
        return self.of(torch.full_like(self.batch.conditioning, NO_LABEL))

    def of(self, labels: Tensor) -> UNetOutput:
        """With these labels, int64 (B,): a pass of its own, with its own dropout."""
        output: UNetOutput = self.network(self.batch.x_t, self.batch.t, labels)
        return output


class PartMethod(DiffusionMethod):
    """A diffusion method that says what it adds to noise prediction, so that `--method a+b` can join it with others.

    mean ||target - eps_theta(x_t, t, y)||^2 + the sum of the terms. It may define `target`, `terms`, `adapt_network`
    and `image_weights`; of joined methods one at most may define the first and the last two, and any number has terms.

    `compares_classes` is True where its terms vanish for a model that is trained without labels.
    """

    compares_classes: bool = False

    def target(self, batch: DiffusionBatch) -> Tensor:
        """What the network's output is compared with, (B, C, H, W); by default the noise."""
        return batch.noise

    def terms(self, batch: DiffusionBatch, passes: Passes) -> dict[str, Tensor]:
        """The named scalar losses that are added; one whose weight is 0 is left out."""
        return {}

    def losses(self, batch: DiffusionBatch) -> dict[str, Tensor]:
        """The mean squared error of the predicted noise, and the terms."""
        passes = Passes(self.network, batch)
        diffusion = mse_loss(passes.own.noise.float(), self.target(batch))
        return {"diffusion": diffusion, **self.terms(batch, passes)}
