"""TIW: unconditional diffusion towards a uniform distribution of classes, by weights and a correction in time.

After TIW-DSM (arXiv 2403.01189), whose weights come from a small balanced reference set. Here they come from the labels
of the long-tailed set itself: w(x_t) = sum_y (u_y / pi_y) p(y | x_t), from a classifier of noisy images.

Of the released code these are not reproduced: every image is multiplied by the batch's sum of weights, so the weighting
is lost; the correction is the gradient of the weight and not of its logarithm, with the opposite sign; the option that
it reads does not exist, so that it cannot start; the resolution that it converts time by is the number of channels.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from baselines.ddpm import DDPM
from baselines.variants import VariantConfig
from ltgen_bench.core.errors import ConfigError
from ltgen_bench.methods import (
    ClassifierConfig,
    DataSpec,
    DiffusionBatch,
    FitContext,
    ImageSet,
    MethodConfig,
    NoiseClassifier,
    RunConfig,
    fit_classifier,
)


class TIWConfig(VariantConfig):
    """The classifier's keys, and how far the classes are made equal."""

    classifier: ClassifierConfig = ClassifierConfig()
    """Sizes and training of the classifier of noisy images."""
    balance: float = Field(1.0, ge=0, le=1)
    """b in the target shares u_y of pi_y^(1 - b): 1: all classes alike; 0: the data's own, which is DDPM."""

    @model_validator(mode="after")
    def _of_the_data_as_they_are(self) -> TIWConfig:
        if self.classifier.class_sampling != "natural":
            raise ValueError("classifier.class_sampling has to be natural: the weights are those of the data's shares")
        return self


class TIWUnconditional(DDPM):
    """Unconditional diffusion towards equally frequent classes, with time-dependent importance weights.

    mean w(x_t) ||e* - h_0||^2, e* = e - sqrt(1 - ab_t) grad log w(x_t), w(x_t) = sum_y (u_y / pi_y) p(y | x_t).

    The classifier is trained first, on the data as they are. Trained and sampled without labels, so nothing can be said
    of its images' classes.
    """

    title = "TIW, unconditional"
    fidelity = "from the paper"
    paper = "Kim et al., Training Unbiased Diffusion Models From Biased Dataset, ICLR 2024"
    Config: ClassVar[type[MethodConfig]] = TIWConfig
    classifier: NoiseClassifier

    def __init__(self, spec: DataSpec, run: RunConfig):
        super().__init__(spec, run)
        if run.training.class_sampling != "natural":
            raise ConfigError("tiw-unconditional weighs the data as they are: leave training.class_sampling at natural")
        self.classifier = NoiseClassifier(spec, run, self.config.classifier)

    @classmethod
    def implied(cls, config: Any) -> dict[str, Any]:
        """No labels, in training and in sampling."""
        training = super().implied(config).get("training", {})
        return {
            "training": {**training, "label_drop": 1.0},
            "sampling": {"conditioning": "none", "guidance_scale": 0.0},
        }

    def fit(self, train_set: ImageSet, context: FitContext) -> None:
        """Train the classifier, then the network."""
        if self.config.balance:
            self.classifier = fit_classifier(self.spec, self.run, self.config.classifier, train_set, context)
        super().fit(train_set, context)

    def losses(self, batch: DiffusionBatch) -> dict[str, Tensor]:
        """The weighted mean squared error of the predicted noise against the corrected one."""
        if self.config.balance == 0.0:
            return super().losses(batch)
        weight, gradient = self.importance(batch.x_t, batch.t)
        sigma = self.schedule.tables(batch.t.device).sqrt_one_minus_alpha_bar[batch.t][:, None, None, None]
        prediction = self.network(batch.x_t, batch.t, batch.conditioning).noise.float()
        errors = (prediction - (batch.noise - sigma * gradient)).square().mean(dim=(1, 2, 3))  # (B,)
        return {"diffusion": (weight * errors).mean()}

    def importance(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """w(x_t), (B,), and the gradient of its logarithm with respect to x_t, (B, C, H, W); both without gradient."""
        shares = self.classifier.shares
        target = torch.where(shares > 0, shares.clamp(min=1e-12) ** (1 - self.config.balance), 0.0)
        ratio = target / target.sum() / shares.clamp(min=1e-12)  # u_y / pi_y
        with torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            log_weight = (ratio.clamp(min=1e-12).log().float() + self.classifier.log_probability(x, t)).logsumexp(dim=1)
            (gradient,) = torch.autograd.grad(log_weight.sum(), x)
        return log_weight.detach().exp(), gradient
