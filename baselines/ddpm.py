"""DDPM (Ho, Jain and Abbeel 2020) with class labels: the trunk that the other methods add to."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from baselines.variants import VariantConfig, implied_by_variant
from ltgen_bench.methods import DiffusionBatch, MethodConfig, PartMethod


class DDPM(PartMethod):
    """Predict the noise that was added to an image.

    mean ||e - eps_theta(x_t, t, y)||^2 (their Eq. 14); Eq. 3 of the CORAL paper.

    The mean goes over pixels as well as images, as in every released code; the papers write a sum over pixels.
    """

    title = "DDPM"
    fidelity = "parity with released code"
    paper = "Ho, Jain and Abbeel, Denoising Diffusion Probabilistic Models, NeurIPS 2020"
    Config: ClassVar[type[MethodConfig]] = VariantConfig

    @classmethod
    def implied(cls, config: Any) -> dict[str, Any]:
        """How labels are dropped: by sample, or by batch in the released variant."""
        return implied_by_variant(config) if isinstance(config, VariantConfig) else {}

    def time(self, batch: DiffusionBatch) -> Tensor:
        """t / T of each image, float32 (B,): from 1 / T to 1 as the papers count, or from 0 with `time_index` zero."""
        first = 0 if getattr(self.config, "time_index", "one") == "zero" else 1
        return (batch.t + first) / self.schedule.steps
