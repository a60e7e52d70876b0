"""Samplers against literal float64 transcriptions of the papers and against known solutions."""

from __future__ import annotations

import inspect
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from sampler_support import ALPHA_BAR, MEANS, SPREAD, Model, Recorded, curved_noise, exact_noise, start

from ltgen_bench.core.errors import ConfigError, UnknownNameError
from ltgen_bench.diffusion import (
    SAMPLERS,
    DiffusionSchedule,
    SampleNoise,
    linear_schedule,
    sample_ddim,
    sample_ddpm,
    sample_dpm_solver_pp_2m,
    step_indices,
    to_uint8,
)


def guided(predict, x, t, labels, w):
    conditional = predict(x, t, labels)
    return conditional + w * (conditional - predict(x, t, np.full_like(labels, -1))) if w else conditional


def literal_ancestral(predict, x, labels, noises, *, w=0.0, clip=False, large=True, visited=None):
    """Algorithm 2 of Ho et al., with the paper's t = 1 ... T, in float64; x_0 is limited through equation 7."""
    visited = list(range(1000)) if visited is None else sorted(visited)
    noises = list(noises)
    x = x.astype(np.float64)
    for n in range(len(visited), 0, -1):
        now = ALPHA_BAR[visited[n - 1]]
        before = ALPHA_BAR[visited[n - 2]] if n > 1 else 1.0
        alpha = now / before
        beta = 1 - alpha
        eps = guided(predict, x, visited[n - 1], labels, w)
        if clip:
            x0 = np.clip((x - np.sqrt(1 - now) * eps) / np.sqrt(now), -1, 1)
            mean = np.sqrt(before) * beta / (1 - now) * x0 + np.sqrt(alpha) * (1 - before) / (1 - now) * x
        else:
            mean = (x - beta / np.sqrt(1 - now) * eps) / np.sqrt(alpha)
        variance = beta if large else (1 - before) / (1 - now) * beta
        x = mean + np.sqrt(variance) * noises.pop(0) if n > 1 else mean
    assert not noises
    return np.clip(x, -1, 1)


@pytest.mark.parametrize("predict", [exact_noise, curved_noise])
@pytest.mark.parametrize(("w", "clip", "large"), [(0.0, False, True), (1.5, False, True), (0.8, True, False)])
def test_ddpm_equals_a_float64_transcription_over_1000_steps(predict, w, clip, large):
    x, labels = start()
    noise, model = Recorded(x.shape), Model(predict)
    variance = "fixed-large" if large else "fixed-small"
    got = sample_ddpm(
        model, x, labels, linear_schedule(), noise=noise, guidance_scale=w, clip_x0=clip, variance=variance
    )
    expected = literal_ancestral(predict, x.numpy(), labels.numpy(), noise.given, w=w, clip=clip, large=large)
    assert model.calls == list(range(999, -1, -1))
    assert got.dtype == torch.float32
    assert np.abs(expected).max() > 0.3  # there is something to compare
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize("spacing", ["trailing", "linspace", "leading"])
@pytest.mark.parametrize("clip", [False, True])
def test_strided_ddpm_equals_a_transcription(spacing, clip):
    x, labels = start(dtype=torch.float64)
    noise = Recorded(x.shape)
    got = sample_ddpm(
        Model(curved_noise), x, labels, linear_schedule(), noise=noise, steps=37, spacing=spacing, clip_x0=clip
    )
    expected = literal_ancestral(
        curved_noise, x.numpy(), labels.numpy(), noise.given, clip=clip, visited=step_indices(1000, 37, spacing)
    )
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-9)


def literal_ddim(predict, x, labels, noises, visited, eta, clip):
    """Equations 12 and 16 of Song et al. with alpha = their alpha (our alpha_bar), in float64."""
    levels = [*ALPHA_BAR[visited], 1.0]
    noises = list(noises)
    for t, a, b in zip(visited, levels[:-1], levels[1:], strict=True):
        eps = predict(x, t, labels)
        x0 = (x - np.sqrt(1 - a) * eps) / np.sqrt(a)
        if clip:
            x0 = np.clip(x0, -1, 1)
            eps = (x - np.sqrt(a) * x0) / np.sqrt(1 - a)
        sigma = eta * np.sqrt((1 - b) / (1 - a)) * np.sqrt(1 - a / b)
        x = np.sqrt(b) * x0 + np.sqrt(1 - b - sigma**2) * eps
        x = x + sigma * noises.pop(0) if sigma > 0 else x
    assert not noises
    return np.clip(x, -1, 1)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_equals_a_transcription(eta, clip):
    x, labels = start(dtype=torch.float64)
    noise = Recorded(x.shape)
    got = sample_ddim(Model(curved_noise), x, labels, linear_schedule(), noise=noise, steps=25, eta=eta, clip_x0=clip)
    expected = literal_ddim(curved_noise, x.numpy(), labels.numpy(), noise.given, step_indices(1000, 25), eta, clip)
    assert len(noise.given) == (24 if eta else 0)
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", [None, 50])
def test_ddim_with_eta_1_is_ddpm_with_the_posterior_variance(steps):
    x, labels = start(dtype=torch.float64)
    schedule = linear_schedule()
    implicit = sample_ddim(Model(curved_noise), x, labels, schedule, noise=Recorded(x.shape), steps=steps, eta=1.0)
    ancestral = sample_ddpm(
        Model(curved_noise), x, labels, schedule, noise=Recorded(x.shape), steps=steps, variance="fixed-small"
    )
    torch.testing.assert_close(implicit, ancestral, rtol=0, atol=1e-9)


def literal_dpm_solver(predict, x, labels, visited, clip):
    """Algorithm 2 of Lu et al. (data prediction, multistep); the last jump goes to the prediction itself."""
    alpha, sigma = np.sqrt(ALPHA_BAR[visited]), np.sqrt(1 - ALPHA_BAR[visited])
    lam = np.log(alpha / sigma)

    def data(x, i):
        x0 = (x - sigma[i] * predict(x, visited[i], labels)) / alpha[i]
        return np.clip(x0, -1, 1) if clip else x0

    buffer = [data(x, 0)]
    for i in range(1, len(visited)):
        h = lam[i] - lam[i - 1]
        if i == 1:
            D = buffer[0]
        else:
            r = (lam[i - 1] - lam[i - 2]) / h
            D = (1 + 1 / (2 * r)) * buffer[-1] - 1 / (2 * r) * buffer[-2]
        x = sigma[i] / sigma[i - 1] * x - alpha[i] * (np.exp(-h) - 1) * D
        buffer.append(data(x, i))
    return np.clip(buffer[-1], -1, 1)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 20])
def test_dpm_solver_equals_a_transcription(steps, clip):
    x, labels = start(dtype=torch.float64)
    got = sample_dpm_solver_pp_2m(
        Model(curved_noise), x, labels, linear_schedule(), noise=Recorded(x.shape), steps=steps, clip_x0=clip
    )
    expected = literal_dpm_solver(curved_noise, x.numpy(), labels.numpy(), step_indices(1000, steps), clip)
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-9)


def gaussian_flow_error(sample, schedule, steps, spacing):
    """Largest error against the probability flow, which for Gaussian data keeps (x_t - mean_t) / std_t."""
    x, labels = start(dtype=torch.float64, rows=30)
    a = schedule.alpha_bar[-1]
    mean = MEANS[labels.numpy()].reshape(-1, 1, 1, 1)
    exact = mean + SPREAD * (x.numpy() - math.sqrt(a) * mean) / math.sqrt(a * SPREAD**2 + 1 - a)
    inside = np.abs(exact) < 0.9  # the final limit to [-1, 1] is not part of the flow
    model = Model(lambda x, t, labels: exact_noise(x, t, labels, schedule.alpha_bar))
    got = sample(model, x, labels, schedule, noise=Recorded(x.shape), steps=steps, spacing=spacing)
    return np.abs(got.numpy() - exact)[inside].max()


@pytest.mark.parametrize(("sample", "order"), [(sample_ddim, 1), (sample_dpm_solver_pp_2m, 2)])
def test_deterministic_samplers_converge_at_their_order(sample, order):
    """On levels that are even in log signal-to-noise ratio, where the orders are stated."""
    alpha_bar = 1 / (1 + np.exp(-2 * np.linspace(8, -4, 1601)))
    schedule = DiffusionSchedule(1 - alpha_bar / np.concatenate([[1.0], alpha_bar[:-1]]))
    errors = [gaussian_flow_error(sample, schedule, steps + 1, "linspace") for steps in (50, 100, 200)]
    # Each doubling divides the error by 2^order; a fifth of leeway as the orders are those of the limit.
    for coarse, better in pairwise(errors):
        assert coarse / better > 0.8 * 2**order
    assert errors[-1] < (2e-2 if order == 1 else 2e-3)


def test_samplers_approach_the_flow_on_the_linear_schedule():
    errors = {
        name: [gaussian_flow_error(SAMPLERS[name], linear_schedule(), steps, "trailing") for steps in (25, 50, 1000)]
        for name in ("ddim", "dpm-solver++2m")
    }
    for first, second, all_levels in errors.values():
        assert first > second > all_levels
        assert all_levels < 5e-3
    assert errors["dpm-solver++2m"][1] < 0.5 * errors["ddim"][1]


def test_ddpm_samples_have_the_datas_moments():
    x, labels = start(rows=300, size=16)
    got = sample_ddpm(Model(), x, labels, linear_schedule(), noise=Recorded(x.shape)).numpy()
    for label, mean in enumerate(MEANS):
        values = got[labels.numpy() == label].ravel()
        # 25,600 independent values: 5 standard errors of mean and of standard deviation, and 1 % of discretisation
        assert values.mean() == pytest.approx(mean, abs=5 * SPREAD / math.sqrt(values.size))
        assert values.std() == pytest.approx(SPREAD, abs=0.01 * SPREAD + 5 * SPREAD / math.sqrt(2 * values.size))


@pytest.mark.parametrize("name", SAMPLERS)
def test_common_behaviour(name):
    x, labels = start()
    before, done, model = x.clone(), [], Model(lambda x, t, labels: -3.0 * np.sign(x))
    got = SAMPLERS[name](
        model,
        x,
        labels,
        linear_schedule(),
        noise=SampleNoise(range(6), (1, 4, 4)),
        steps=5,
        progress=lambda step, steps: done.append((step, steps)),
    )
    assert model.calls == [999, 799, 599, 399, 199]
    assert done == [(k, 5) for k in range(1, 6)]
    assert torch.equal(x, before)
    assert got.abs().max() == 1.0
    assert not got.requires_grad


def test_samplers_share_their_signature():
    common = ["model", "x", "labels", "schedule", "noise", "steps", "spacing", "guidance_scale", "clip_x0", "progress"]
    for sample in SAMPLERS.values():
        parameters = inspect.signature(sample).parameters
        assert [name for name in parameters if name in common] == common
        assert all(p.default is not p.empty for name, p in parameters.items() if name not in common)


def test_no_gradients_are_recorded():
    weight = torch.ones(1, requires_grad=True)
    x, labels = start()
    got = sample_ddim(lambda x, t, y: x * weight, x, labels, linear_schedule(), noise=Recorded(x.shape), steps=3)
    assert not got.requires_grad


def test_wrong_arguments_are_named():
    x, labels = start()
    schedule = linear_schedule()
    for sample in SAMPLERS.values():
        with pytest.raises(ConfigError, match=r"x has shape \(6, 1, 4, 4\) and labels \(3,\)"):
            sample(Model(), x, labels[:3], schedule, noise=Recorded(x.shape))
        with pytest.raises(ConfigError, match="steps = 1001; a schedule of 1000 steps"):
            sample(Model(), x, labels, schedule, noise=Recorded(x.shape), steps=1001)
    with pytest.raises(UnknownNameError, match="did you mean 'fixed-large'"):
        sample_ddpm(Model(), x, labels, schedule, noise=Recorded(x.shape), variance="fixedlarge")  # type: ignore[arg-type]


def test_to_uint8_rounds_halves_to_even():
    levels = torch.arange(256, dtype=torch.float64)
    assert torch.equal(to_uint8(levels / 127.5 - 1), levels.to(torch.uint8))
    assert to_uint8(torch.tensor([-1.0, 0.0, 1.0, 1.5, -7.0])).tolist() == [0, 128, 255, 255, 0]  # 127.5 -> 128
    assert to_uint8(torch.tensor([0.0, 0.0]) + 2.0**-23).tolist() == [128, 128]
    assert to_uint8(torch.tensor([-1 + 1 / 255 - 1e-5, -1 + 1 / 255 + 1e-5])).tolist() == [0, 1]
    with pytest.raises(ConfigError, match="not finite"):
        to_uint8(torch.tensor([0.0, float("nan")]))
