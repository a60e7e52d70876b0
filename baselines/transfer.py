"""T2H and its relatives: another image of the batch as the target of denoising (Zhang et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from baselines.ddpm import DDPM
from baselines.variants import VariantConfig
from ltgen_bench.methods import DataSpec, DiffusionBatch, MethodConfig, RunConfig


class TransferConfig(VariantConfig):
    """Which drawn image j may replace an image i: by how often their classes occur in the training set."""

    keep: Literal["at-least-as-frequent", "at-most-as-frequent", "any", "none"] = "at-least-as-frequent"
    """Which drawn images are kept, by how often their class occurs."""


class H2TConfig(TransferConfig):
    """The opposite direction."""

    keep: Literal["at-least-as-frequent", "at-most-as-frequent", "any", "none"] = "at-most-as-frequent"
    """Which drawn images are kept, by how often their class occurs."""


class FullTransferConfig(TransferConfig):
    """No gate."""

    keep: Literal["at-least-as-frequent", "at-most-as-frequent", "any", "none"] = "any"
    """Which drawn images are kept, by how often their class occurs."""


class T2H(DDPM):
    """DDPM in which rare images learn from similar images of frequent classes.

    The target for a noisy image i is the noise that leads to a plausible other image j of the batch.

    j is drawn from `transfer_weights` and kept if its class occurs at least as often as i's: tail images learn from
    similar head images. Candidates are the step's whole batch, over all processes and accumulation parts.
    """

    title = "T2H"
    fidelity = "parity with released code"
    paper = "Zhang et al., Long-tailed Diffusion Models with Oriented Calibration, ICLR 2024"
    Config: ClassVar[type[MethodConfig]] = TransferConfig

    def __init__(self, spec: DataSpec, run: RunConfig):
        super().__init__(spec, run)
        ratio = self.schedule.one_minus_alpha_bar / self.schedule.alpha_bar
        self.sigmas = torch.from_numpy(ratio).sqrt()  # sigma_t = sqrt(1 / alpha_bar - 1), float64 (T,)

    def to(self, device: torch.device) -> None:
        """Move the noise levels with the rest."""
        super().to(device)
        self.sigmas = self.sigmas.to(device, _widest(device))

    @torch.no_grad()
    def target(self, batch: DiffusionBatch) -> Tensor:
        """(x_t - sqrt(alpha_bar) x0_j) / sqrt(1 - alpha_bar), which is e + (x0_i - x0_j) / sigma_t, (B, C, H, W).

        The second form gives exactly the noise where an image keeps itself.
        """
        if self.config.keep == "none":
            return batch.noise
        images, labels = batch.whole()
        sigma = self.sigmas[batch.t]
        weights = transfer_weights(batch.x0.flatten(1), batch.noise.flatten(1), images.flatten(1), sigma)
        drawn = draw(weights, batch.uniform("transfer"))
        own, other = self.class_counts[batch.labels], self.class_counts[labels[drawn]]
        gates = {"at-least-as-frequent": other >= own, "at-most-as-frequent": other <= own}
        kept = gates.get(self.config.keep, torch.ones_like(own, dtype=torch.bool))[:, None, None, None]
        shift = (batch.x0 - images[drawn]) / sigma.float()[:, None, None, None]
        return batch.noise + torch.where(kept, shift, 0.0)


class H2T(T2H):
    """The opposite of T2H, for unconditional generation: frequent images learn from rare ones.

    j is kept if its class occurs at most as often as i's.

    Trained without labels and sampled without them, so nothing can be said of its images' classes.
    """

    title = "H2T"
    Config: ClassVar[type[MethodConfig]] = H2TConfig

    @classmethod
    def implied(cls, config: Any) -> dict[str, Any]:
        """No labels, in training and in sampling."""
        layer: Mapping[str, Any] = super().implied(config).get("training", {})
        return {"training": {**layer, "label_drop": 1.0}, "sampling": {"conditioning": "none", "guidance_scale": 0.0}}


class FullTransfer(T2H):
    """T2H in which images learn from similar ones of any class.

    Every drawn j is kept: the paper's weighted denoising score matching without its gate.
    """

    title = "Full transfer"
    Config: ClassVar[type[MethodConfig]] = FullTransferConfig


def transfer_weights(x0: Tensor, noise: Tensor, candidates: Tensor, sigma: Tensor) -> Tensor:
    """Posterior over the candidates given the noisy image x~_i = x0_i + sigma_i e_i, (B, N) in `sigma`'s dtype.

    `x0`, `noise`: (B, D); `candidates`: (N, D); `sigma`: (B,). Row i is softmax_j -||x~_i - c_j||^2 / (2 sigma_i^2).
    What does not depend on j leaves a softmax as it is, so (x~_i . c_j - ||c_j||^2 / 2) / sigma_i^2 will do: one matrix
    product instead of B x N x D differences. It is a small difference of large numbers where sigma is small (1e7 at
    sigma = 0.01), hence float64; it takes 8 (B + max(B, N)) D bytes for a while.
    """
    # Types first: an operation that mixes two of them takes ten times as long on a CPU.
    noisy = x0.to(sigma.dtype).addcmul_(noise.to(sigma.dtype), sigma[:, None])
    candidates = candidates.to(sigma.dtype)
    logits = noisy @ candidates.T  # (B, N)
    logits -= torch.linalg.vector_norm(candidates, dim=1).square() / 2
    logits /= sigma.square()[:, None]
    return logits.softmax(dim=1)


def draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """One column index a row by inversion of its distribution function, int64 (B,), from `uniform` in [0, 1), (B,)."""
    edges = weights.cumsum(dim=1)
    points = uniform.to(edges.dtype)[:, None] * edges[:, -1:]  # the last edge is 1 up to rounding
    return torch.searchsorted(edges, points, right=True).squeeze(1).clamp(max=weights.shape[1] - 1)


def _widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64
