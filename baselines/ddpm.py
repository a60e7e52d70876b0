"""DDPM (Ho, Jain and Abbeel 2020) with class labels: the trunk that the other methods add to."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss

from ltgen_bench.methods import DiffusionBatch, DiffusionMethod


class DDPM(DiffusionMethod):
    """Predict the noise: mean ||e - eps_theta(x_t, t, y)||^2 (their Eq. 14)."""

    title = "DDPM"
    paper = "Ho, Jain and Abbeel, Denoising Diffusion Probabilistic Models, NeurIPS 2020"

    def losses(self, batch: DiffusionBatch) -> dict[str, Tensor]:
        """The mean squared error of the predicted noise."""
        prediction = self.network(batch.x_t, batch.t, batch.conditioning)
        return {"diffusion": mse_loss(prediction.noise.float(), batch.noise)}
