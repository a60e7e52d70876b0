"""Schedule tables and the choice of steps, against closed forms."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltgen_bench.core.errors import ConfigError, UnknownNameError
from ltgen_bench.diffusion import SPACINGS, DiffusionSchedule, linear_schedule, step_indices


def exact_alpha_bar(betas: np.ndarray) -> list[Fraction]:
    product, products = Fraction(1), []
    for beta in betas:
        product *= 1 - Fraction(float(beta))
        products.append(product)
    return products


def test_linear_schedule_is_the_papers():
    schedule = linear_schedule()
    assert schedule.steps == 1000
    assert schedule.betas.dtype == np.float64
    assert schedule.betas[0] == 1e-4
    assert schedule.betas[-1] == 0.02
    np.testing.assert_allclose(np.diff(schedule.betas), (0.02 - 1e-4) / 999, rtol=1e-10)
    # sum of log(1 - beta) to high accuracy: the paper's sqrt(alpha_bar_T) is about 6.35e-3
    log_alpha_bar = math.fsum(math.log1p(-beta) for beta in schedule.betas)
    np.testing.assert_allclose(schedule.alpha_bar[-1], math.exp(log_alpha_bar), rtol=1e-12)


def test_tables_equal_exact_rational_arithmetic():
    schedule = linear_schedule(40, 1e-4, 0.3)
    alpha_bar = exact_alpha_bar(schedule.betas)
    one_minus = [1 - a for a in alpha_bar]
    np.testing.assert_allclose(schedule.alpha_bar, [float(a) for a in alpha_bar], rtol=1e-14)
    np.testing.assert_allclose(schedule.one_minus_alpha_bar, [float(a) for a in one_minus], rtol=1e-13)
    np.testing.assert_allclose(schedule.sqrt_alpha_bar, [math.sqrt(a) for a in alpha_bar], rtol=1e-14)
    np.testing.assert_allclose(schedule.sqrt_one_minus_alpha_bar, [math.sqrt(a) for a in one_minus], rtol=1e-13)
    previous = [Fraction(1), *alpha_bar[:-1]]
    posterior = [
        Fraction(float(beta)) * (1 - before) / (1 - now)
        for beta, before, now in zip(schedule.betas, previous, alpha_bar, strict=True)
    ]
    np.testing.assert_allclose(schedule.posterior_variance, [float(v) for v in posterior], rtol=1e-13)
    assert schedule.alpha_bar_previous[0] == 1.0
    np.testing.assert_array_equal(schedule.alpha_bar_previous[1:], schedule.alpha_bar[:-1])


def test_fixed_large_replaces_the_first_beta():
    schedule = linear_schedule()
    assert schedule.fixed_large_variance[0] == schedule.posterior_variance[1]
    np.testing.assert_array_equal(schedule.fixed_large_variance[1:], schedule.betas[1:])


def test_tables_cannot_be_changed():
    betas = np.array([0.1, 0.2])
    schedule = DiffusionSchedule(betas)
    betas[0] = 0.5
    assert schedule.betas[0] == 0.1
    with pytest.raises(ValueError, match="read-only"):
        schedule.alpha_bar[0] = 1.0
    assert schedule.tables("cpu") is schedule.tables(torch.device("cpu"))


def test_add_noise_is_equation_4():
    schedule = linear_schedule()
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn((2, 5, 3, 4, 4), generator=generator)
    t = torch.tensor([0, 1, 500, 998, 999])
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[t.numpy()].reshape(5, 1, 1, 1)
    expected = np.sqrt(alpha_bar) * x0.double().numpy() + np.sqrt(1 - alpha_bar) * noise.double().numpy()
    got = schedule.add_noise(x0, noise, t)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-6)  # a few float32 roundings of numbers < 5


@pytest.mark.parametrize(
    ("betas", "message"),
    [
        ([], r"shape \(0,\)"),
        ([[0.1]], r"shape \(1, 1\)"),
        ([0.1, 1.0], r"\[0.1, 1\].*below 1"),
        ([0.0, 0.1], "above 0"),
        ([float("nan")], "above 0"),
    ],
)
def test_impossible_betas_are_refused(betas, message):
    with pytest.raises(ConfigError, match=message):
        DiffusionSchedule(np.array(betas))


def test_no_steps_is_refused():
    with pytest.raises(ConfigError, match="steps = 0; a schedule needs at least 1"):
        linear_schedule(0)


def test_spacings_by_example():
    assert step_indices(1000, 4, "trailing") == [999, 749, 499, 249]
    assert step_indices(1000, 4, "linspace") == [999, 666, 333, 0]
    assert step_indices(1000, 4, "leading") == [750, 500, 250, 0]
    assert step_indices(10, 1, "linspace") == [9]


@settings(deadline=None)
@given(total=st.integers(1, 2000), data=st.data(), spacing=st.sampled_from(SPACINGS))
def test_spacings_fall_strictly_and_stay_in_range(total, data, spacing):
    steps = data.draw(st.integers(1, total))
    indices = step_indices(total, steps, spacing)
    assert len(indices) == steps
    assert all(a > b for a, b in pairwise(indices))
    assert indices[-1] >= 0
    if spacing == "leading":
        assert indices[-1] == 0
    else:
        assert indices[0] == total - 1
    assert step_indices(total, None, spacing) == list(range(total))[::-1]


def test_bad_spacings_are_named():
    with pytest.raises(ConfigError, match="steps = 11; a schedule of 10 steps can be sampled in 1 to 10"):
        step_indices(10, 11)
    with pytest.raises(UnknownNameError, match="did you mean 'trailing'"):
        step_indices(10, 5, "trailling")  # type: ignore[arg-type]
