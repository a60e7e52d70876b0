"""What a guide does to each sampler: literal transcriptions of Dhariwal and Nichol, and a case with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sampler_support import ALPHA_BAR, BETAS, Model, Recorded, curved_noise, start

from ltgen_bench.diffusion import linear_schedule, sample_ddim, sample_ddpm, sample_dpm_solver_pp_2m

SCHEDULE = linear_schedule(1000, 1e-4, 0.02)
SCALE = 0.7


def slope(x: np.ndarray, t: int, labels: np.ndarray) -> np.ndarray:
    """Some gradient of log p(y | x_t)."""
    return np.cos(x + labels.reshape(-1, 1, 1, 1)) * (1 + t / 1000)


def guide(x, t, labels, noise, /):
    sigma = math.sqrt(1 - ALPHA_BAR[int(t[0])])
    gradient = torch.from_numpy(slope(x.double().numpy(), int(t[0]), labels.numpy()))
    return noise - SCALE * sigma * gradient.to(noise.dtype)


@pytest.mark.parametrize("clip", [False, True])
def test_ancestral_moves_the_mean_by_the_variance_times_the_gradient(clip: bool) -> None:
    """Their algorithm 1 with the variance beta_t; x_0 is limited before, and not after."""
    schedule = linear_schedule(1000, 1e-4, 0.02)
    x, labels = start()
    noise = Recorded(tuple(x.shape))
    ours = sample_ddpm(Model(curved_noise), x, labels, schedule, noise=noise, guide=guide, clip_x0=clip)
    y, drawn = x.double().numpy(), iter(noise.given)
    for t in reversed(range(1000)):
        alpha, bar, before = 1 - BETAS[t], ALPHA_BAR[t], ALPHA_BAR[t - 1] if t else 1.0
        x0 = (y - math.sqrt(1 - bar) * curved_noise(y, t, labels.numpy())) / math.sqrt(bar)
        x0 = x0.clip(-1, 1) if clip else x0
        mean = (math.sqrt(before) * BETAS[t] * x0 + math.sqrt(alpha) * (1 - before) * y) / (1 - bar)
        mean = mean + BETAS[t] * SCALE * slope(y, t, labels.numpy())
        y = mean + (math.sqrt(BETAS[t]) * next(drawn) if t else 0.0)
    np.testing.assert_allclose(ours.numpy(), y.clip(-1, 1), atol=2e-4)


@pytest.mark.parametrize("clip", [False, True])
def test_ddim_moves_the_noise(clip: bool) -> None:
    """Their algorithm 2: eps' = eps - sqrt(1 - ab) s g, eps being that of the limited x_0."""
    x, labels = start()
    ours = sample_ddim(
        Model(curved_noise), x, labels, SCHEDULE, noise=Recorded(tuple(x.shape)), steps=20, guide=guide, clip_x0=clip
    )
    y = x.double().numpy()
    from ltgen_bench.diffusion import step_indices

    levels = step_indices(1000, 20, "trailing")
    for k, t in enumerate(levels):
        bar, after = ALPHA_BAR[t], ALPHA_BAR[levels[k + 1]] if k + 1 < len(levels) else 1.0
        eps = curved_noise(y, t, labels.numpy())
        if clip:
            x0 = ((y - math.sqrt(1 - bar) * eps) / math.sqrt(bar)).clip(-1, 1)
            eps = (y - math.sqrt(bar) * x0) / math.sqrt(1 - bar)
        eps = eps - math.sqrt(1 - bar) * SCALE * slope(y, t, labels.numpy())
        x0 = (y - math.sqrt(1 - bar) * eps) / math.sqrt(bar)
        y = math.sqrt(after) * x0 + math.sqrt(1 - after) * eps
    np.testing.assert_allclose(ours.numpy(), y.clip(-1, 1), atol=2e-4)


MEANS, SHARES, SPREAD = np.array([-0.5, 0.1, 0.6]), np.array([0.7, 0.2, 0.1]), 0.15


def mixture(x: np.ndarray, t: int, labels: np.ndarray) -> np.ndarray:
    """E[noise | x_t] of a mixture of Gaussians with unequal shares, in every pixel; of one class where it is known."""
    a = ALPHA_BAR[t]
    variance = a * SPREAD**2 + 1 - a
    scores = -(x[..., None] - math.sqrt(a) * MEANS) / variance
    weights = posterior(x, t)
    known = labels >= 0
    weights = np.where(known.reshape(-1, 1, 1, 1, 1), np.eye(3)[labels.clip(0)][:, None, None, None], weights)
    return -math.sqrt(1 - a) * (weights * scores).sum(-1)


def posterior(x: np.ndarray, t: int) -> np.ndarray:
    a = ALPHA_BAR[t]
    variance = a * SPREAD**2 + 1 - a
    logits = np.log(SHARES) - (x[..., None] - math.sqrt(a) * MEANS) ** 2 / (2 * variance)
    logits = logits - logits.max(-1, keepdims=True)
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def exact_guide(x, t, labels, noise, /):
    """The exact gradient of log p(y | x_t): the difference of the scores with the class and without."""
    level, values, y = int(t[0]), x.double().numpy(), labels.numpy()
    free = mixture(values, level, np.full_like(y, -1))
    return noise + torch.from_numpy(mixture(values, level, y) - free).to(noise.dtype)


@pytest.mark.parametrize("sampler", [sample_ddim, sample_dpm_solver_pp_2m])
def test_an_exact_classifier_makes_an_unconditional_model_conditional(sampler) -> None:
    x, labels = start(rows=9)
    model = Model(mixture)

    def untold(x, t, labels, /):
        return model(x, t, torch.full_like(labels, -1))

    noise = Recorded(tuple(x.shape))
    guided = sampler(untold, x, labels, SCHEDULE, noise=noise, steps=50, guide=exact_guide)
    conditional = sampler(model, x, labels, SCHEDULE, noise=noise, steps=50)
    free = sampler(untold, x, labels, SCHEDULE, noise=noise, steps=50)
    np.testing.assert_allclose(guided.numpy(), conditional.numpy(), atol=1e-4)
    assert np.abs(free.numpy() - conditional.numpy()).max() > 0.5
