"""Predictors of noise with known answers, noise that can be played twice, and where to start from."""

from __future__ import annotations

import math

import numpy as np
import torch

BETAS = np.linspace(1e-4, 0.02, 1000)
ALPHA_BAR = np.cumprod(1 - BETAS)
MEANS = np.array([-0.4, 0.1, 0.35])  # of each class
SPREAD = 0.2


def exact_noise(x: np.ndarray, t: int, labels: np.ndarray, alpha_bar: np.ndarray = ALPHA_BAR) -> np.ndarray:
    """E[noise | x_t, y] where class y is N(MEANS[y], SPREAD^2) in every coordinate; without a class N(0, 1)."""
    known = (labels >= 0).reshape(-1, 1, 1, 1)
    mean = np.where(known, MEANS[labels.clip(0)].reshape(-1, 1, 1, 1), 0.0)
    variance = np.where(known, SPREAD**2, 1.0)
    a = alpha_bar[t]
    return math.sqrt(1 - a) * (x - math.sqrt(a) * mean) / (a * variance + 1 - a)


def curved_noise(x: np.ndarray, t: int, labels: np.ndarray) -> np.ndarray:
    """No predictor of anything, but not linear in x either."""
    return exact_noise(x, t, labels) + 0.2 * np.sin(3 * x + t / 100)


class Model:
    """A NumPy predictor as a `NoiseModel`; it computes in float64 and remembers its calls."""

    def __init__(self, predict=exact_noise):
        self.predict, self.calls = predict, []

    def __call__(self, x, t, labels, /):
        assert t.dtype == torch.int64
        assert t.shape == labels.shape == x.shape[:1]
        assert t.unique().numel() == 1
        self.calls.append(int(t[0]))
        return torch.from_numpy(self.predict(x.double().numpy(), int(t[0]), labels.numpy())).to(x.dtype)


class Recorded:
    """Standard normal noise that can be played twice."""

    def __init__(self, shape, seed=0):
        self.generator, self.shape, self.given = np.random.default_rng(seed), shape, []

    def step(self):
        self.given.append(self.generator.standard_normal(self.shape, dtype=np.float32))
        return torch.from_numpy(self.given[-1])


def start(rows=6, dtype=torch.float32, seed=5, size=4):
    x = np.random.default_rng(seed).standard_normal((rows, 1, size, size), dtype=np.float32)
    return torch.from_numpy(x).to(dtype), torch.arange(rows) % 3
