"""DDPM on class-balanced draws: every class is seen as often as any other (or anything in between)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from baselines.ddpm import DDPM
from baselines.variants import VariantConfig
from ltgen_bench.methods import MethodConfig, image_weights_by_class


class ResamplingConfig(VariantConfig):
    """A class of n images is drawn with probability in proportion to n^exponent."""

    exponent: float = Field(0.0, ge=0, le=1)
    """q in n^q, the probability of a class of n images: 0: all classes alike; 0.5: square root; 1: plain epochs,
    which is DDPM."""


class Resampling(DDPM):
    """DDPM that sees rare classes more often.

    Batches are drawn with replacement: a class by n^q (Kang et al. 2020, Eq. 1), then an image of it. The same as DDPM
    with `--set training.class_sampling=balanced`, which every method takes.
    """

    title = "DDPM, class-balanced resampling"
    fidelity = "from the paper"
    paper = "Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020"
    Config: ClassVar[type[MethodConfig]] = ResamplingConfig

    def image_weights(self, labels: Tensor) -> Tensor | None:
        """n^(q - 1) for each image of a class of n: the class's n images together have n^q."""
        return image_weights_by_class(f"exponent:{self.config.exponent}", labels, self.spec.class_count)
