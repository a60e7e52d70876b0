"""Samplers as free functions of one shape: `sample_x(model, x, labels, schedule, *, noise, steps, ...) -> images`.

Common arguments:

* `model`: a `NoiseModel`; its t are table indices (0 is the paper's t = 1).
* `x`: (B, C, H, W) standard normal noise; it is not changed. `labels`: (B,) int64, -1 for no class.
* `noise`: a `NoiseSource`, asked once for every step that adds noise.
* `steps`, `spacing`: how many noise levels, and which: see `spacing.step_indices`. None visits all.
* `guidance_scale`: w of `guidance.guided_noise`; 0 is off.
* `guide`: a `Guide`, such as a classifier's; it acts behind `clip_x0`, and may leave the range.
* `clip_x0`: limit each prediction of x_0 to [-1, 1].
* `progress`: called after each step with the steps done and the steps in all.

Each gives (B, C, H, W) in the dtype of `x`, limited to [-1, 1]. Coefficients are float64 on the host and meet
the images as scalars; no value is read back, so a device is never waited for.
All raise ConfigError for shapes that do not fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

import torch
from torch import Tensor

from ltgen_bench.core.choices import SamplerName
from ltgen_bench.core.errors import ConfigError, UnknownNameError, did_you_mean
from ltgen_bench.diffusion.guidance import Guide, NoiseModel, guided_noise
from ltgen_bench.diffusion.noise import NoiseSource
from ltgen_bench.diffusion.schedule import DiffusionSchedule
from ltgen_bench.diffusion.spacing import Spacing, step_indices

StepCount = Callable[[int, int], None]
Variance = Literal["fixed-large", "fixed-small"]


@torch.no_grad()
def sample_ddpm(
    model: NoiseModel,
    x: Tensor,
    labels: Tensor,
    schedule: DiffusionSchedule,
    *,
    noise: NoiseSource,
    steps: int | None = None,
    spacing: Spacing = "trailing",
    guidance_scale: float = 0.0,
    guide: Guide | None = None,
    clip_x0: bool = False,
    variance: Variance = "fixed-large",
    progress: StepCount | None = None,
) -> Tensor:
    """Ancestral sampling: algorithm 2 of Ho et al. 2020, "Denoising Diffusion Probabilistic Models".

    The mean is that of equation 11; with `clip_x0` that of equation 7 with the limited x_0. With fewer steps the betas
    are those between the visited levels (Nichol and Dhariwal 2021, equation 19). `variance`: "fixed-large" is beta,
    "fixed-small" the posterior variance (Ho et al., section 3.2). The step to the data adds no noise. A guide moves the
    mean by the variance times its gradient (Dhariwal and Nichol 2021, algorithm 1).
    """
    if variance not in ("fixed-large", "fixed-small"):
        choices = ("fixed-large", "fixed-small")
        raise UnknownNameError(f"no DDPM variance {variance!r}; {did_you_mean(variance, choices)}")
    for step in _trajectory(x, labels, schedule, steps, spacing, progress):
        eps = guided_noise(model, x, step.t, labels, guidance_scale)
        # the mean moves by variance x gradient: sqrt(1 - alpha_bar) s g is what the guide takes off the noise
        shift = None if guide is None else eps - guide(x, step.t, labels, eps)
        alpha = step.alpha_bar / step.alpha_bar_next  # alpha and beta of this jump
        beta = (step.one_minus - step.one_minus_next) / step.alpha_bar_next
        if clip_x0:
            x0 = _predict_x0(x, eps, step).clamp_(-1.0, 1.0)
            x0_weight = math.sqrt(step.alpha_bar_next) * beta / step.one_minus
            x = torch.add(x * (math.sqrt(alpha) * step.one_minus_next / step.one_minus), x0, alpha=x0_weight)
        else:
            x = torch.add(x * (1.0 / math.sqrt(alpha)), eps, alpha=-beta / math.sqrt(step.one_minus * alpha))
        sigma2 = beta if variance == "fixed-large" else beta * step.one_minus_next / step.one_minus
        if shift is not None:
            x.add_(shift, alpha=sigma2 / math.sqrt(step.one_minus))
        if not step.last:
            x.add_(noise.step(), alpha=math.sqrt(sigma2))
    return x.clamp_(-1.0, 1.0)


@torch.no_grad()
def sample_ddim(
    model: NoiseModel,
    x: Tensor,
    labels: Tensor,
    schedule: DiffusionSchedule,
    *,
    noise: NoiseSource,
    steps: int | None = None,
    spacing: Spacing = "trailing",
    guidance_scale: float = 0.0,
    guide: Guide | None = None,
    clip_x0: bool = False,
    eta: float = 0.0,
    progress: StepCount | None = None,
) -> Tensor:
    """Implicit sampling: equations 12 and 16 of Song, Meng and Ermon 2021, "Denoising Diffusion Implicit Models".

    `eta` = 0 is deterministic and asks for no noise; `eta` = 1 is DDPM with the posterior variance. With `clip_x0` the
    noise is computed anew from the limited x_0, so that both describe the same x_t.
    """
    for step in _trajectory(x, labels, schedule, steps, spacing, progress):
        eps = guided_noise(model, x, step.t, labels, guidance_scale)
        beta = (step.one_minus - step.one_minus_next) / step.alpha_bar_next
        sigma2 = eta**2 * beta * step.one_minus_next / step.one_minus  # equation 16, squared
        signal = math.sqrt(step.alpha_bar_next)
        direction = math.sqrt(max(step.one_minus_next - sigma2, 0.0))
        if guide is not None:
            if clip_x0:  # the noise that leads to the limited x_0; what the guide adds to it is not limited again
                x0 = _predict_x0(x, eps, step).clamp_(-1.0, 1.0)
                eps = torch.add(x, x0, alpha=-math.sqrt(step.alpha_bar)) / math.sqrt(step.one_minus)
            eps = guide(x, step.t, labels, eps)
        if clip_x0 and guide is None:
            x0 = _predict_x0(x, eps, step).clamp_(-1.0, 1.0)
            ratio = direction / math.sqrt(step.one_minus)  # eps = (x - sqrt(alpha_bar) x0) / sqrt(1 - alpha_bar)
            x = torch.add(x * ratio, x0, alpha=signal - ratio * math.sqrt(step.alpha_bar))
        else:
            ratio = signal / math.sqrt(step.alpha_bar)  # x0 = (x - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar)
            x = torch.add(x * ratio, eps, alpha=direction - ratio * math.sqrt(step.one_minus))
        if sigma2 > 0.0:
            x.add_(noise.step(), alpha=math.sqrt(sigma2))
    return x.clamp_(-1.0, 1.0)


@torch.no_grad()
def sample_dpm_solver_pp_2m(
    model: NoiseModel,
    x: Tensor,
    labels: Tensor,
    schedule: DiffusionSchedule,
    *,
    noise: NoiseSource | None = None,
    steps: int | None = None,
    spacing: Spacing = "trailing",
    guidance_scale: float = 0.0,
    guide: Guide | None = None,
    clip_x0: bool = False,
    progress: StepCount | None = None,
) -> Tensor:
    """DPM-Solver++(2M): algorithm 2 of Lu et al. 2022, "DPM-Solver++: Fast Solver for Guided Sampling ...".

    Second order in the log signal-to-noise ratio from two x_0 predictions. The first step has no predecessor and the
    last one goes to infinite ratio, so these two are first order. Deterministic: `noise` is not asked.
    """
    previous: Tensor | None = None  # x_0 prediction of the step before
    previous_h = math.nan
    for step in _trajectory(x, labels, schedule, steps, spacing, progress):
        eps = guided_noise(model, x, step.t, labels, guidance_scale)
        x0 = _predict_x0(x, eps, step)
        if clip_x0:
            x0.clamp_(-1.0, 1.0)
        if guide is not None:
            x0.add_(eps - guide(x, step.t, labels, eps), alpha=math.sqrt(step.one_minus / step.alpha_bar))
        if step.last:
            x = x0
            continue
        h = _half_log_snr(step.alpha_bar_next, step.one_minus_next) - _half_log_snr(step.alpha_bar, step.one_minus)
        # x <- (sigma_next / sigma) x - alpha_next (exp(-h) - 1) D, with D extrapolated from the two predictions.
        x = x * math.sqrt(step.one_minus_next / step.one_minus)
        x0_weight = -math.sqrt(step.alpha_bar_next) * math.expm1(-h)
        if previous is None:
            x.add_(x0, alpha=x0_weight)
        else:
            extra = h / (2.0 * previous_h)  # 1 / (2 r)
            x.add_(x0, alpha=x0_weight * (1.0 + extra)).add_(previous, alpha=-x0_weight * extra)
        previous, previous_h = x0, h
    return x.clamp(-1.0, 1.0)


class Sampler(Protocol):
    """The signature that all samplers share."""

    def __call__(
        self,
        model: NoiseModel,
        x: Tensor,
        labels: Tensor,
        schedule: DiffusionSchedule,
        *,
        noise: NoiseSource,
        steps: int | None = None,
        spacing: Spacing = "trailing",
        guidance_scale: float = 0.0,
        guide: Guide | None = None,
        clip_x0: bool = False,
        progress: StepCount | None = None,
    ) -> Tensor:
        """Turn noise into images."""
        ...


SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {SamplerName.DDPM: sample_ddpm, SamplerName.DDIM: sample_ddim, SamplerName.DPM_SOLVER: sample_dpm_solver_pp_2m}
)


def to_uint8(x: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8 of the same shape: (x + 1) 127.5 rounded to the nearest, halves to the even number.

    Values outside are limited. Raises ConfigError when a value is not finite.
    """
    if not bool(torch.isfinite(x).all()):
        raise ConfigError("images hold values that are not finite; they cannot be turned into uint8")
    return ((x.float() + 1.0) * 127.5).round().clamp(0.0, 255.0).to(torch.uint8)


@dataclass(frozen=True)
class _Step:
    """One jump of a trajectory, from a level to the next one nearer to the data (alpha_bar = 1 after the last)."""

    t: Tensor  # (B,) int64, the table index of the level
    alpha_bar: float
    one_minus: float  # 1 - alpha_bar
    alpha_bar_next: float
    one_minus_next: float
    last: bool


def _trajectory(
    x: Tensor,
    labels: Tensor,
    schedule: DiffusionSchedule,
    steps: int | None,
    spacing: Spacing,
    progress: StepCount | None,
) -> Iterator[_Step]:
    if x.ndim != 4 or labels.shape != x.shape[:1]:
        raise ConfigError(
            f"x has shape {tuple(x.shape)} and labels {tuple(labels.shape)}; they must be (B, C, H, W) and (B,)"
        )
    indices = step_indices(schedule.steps, steps, spacing)
    rows = torch.tensor(indices, device=x.device)[:, None].expand(-1, x.shape[0])  # (steps, B): one copy to the device
    alpha_bar = [*schedule.alpha_bar[indices].tolist(), 1.0]
    one_minus = [*schedule.one_minus_alpha_bar[indices].tolist(), 0.0]
    for k, t in enumerate(rows.contiguous().unbind()):
        last = k + 1 == len(indices)
        yield _Step(t, alpha_bar[k], one_minus[k], alpha_bar[k + 1], one_minus[k + 1], last)
        if progress is not None:
            progress(k + 1, len(indices))


def _predict_x0(x: Tensor, eps: Tensor, step: _Step) -> Tensor:
    """x_0 from x_t and the noise: equation 4 of Ho et al. turned round."""
    return torch.add(x * (1.0 / math.sqrt(step.alpha_bar)), eps, alpha=-math.sqrt(step.one_minus / step.alpha_bar))


def _half_log_snr(alpha_bar: float, one_minus: float) -> float:
    """Lambda = log(alpha / sigma) of Lu et al."""
    return 0.5 * (math.log(alpha_bar) - math.log(one_minus))
