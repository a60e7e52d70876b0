"""The forward process and its coefficients (Ho, Jain and Abbeel 2020, "Denoising Diffusion Probabilistic Models").

Tables are float64 on the host, so that the coefficients of a sampler are rounded once, when they meet the images.
Index 0 of every table is the paper's t = 1 and index T - 1 its t = T; `alpha_bar` before index 0 is 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltgen_bench.core.errors import ConfigError


@dataclass(frozen=True)
class ScheduleTables:
    """Float32 copies on one device of the tables that training gathers from; each of shape (T,)."""

    alpha_bar: Tensor
    sqrt_alpha_bar: Tensor
    sqrt_one_minus_alpha_bar: Tensor


@dataclass(frozen=True, eq=False)
class DiffusionSchedule:
    """A variance-preserving forward process given by its betas, float64 of shape (T,), each in (0, 1).

    Raises ConfigError when `betas` is empty, not one-dimensional, or leaves (0, 1).
    """

    betas: NDArray[np.float64]
    _tables: dict[torch.device, ScheduleTables] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        betas = np.array(self.betas, dtype=np.float64)  # a copy, so that nobody else can change it
        if betas.ndim != 1 or betas.size == 0:
            raise ConfigError(f"betas have shape {betas.shape}; a schedule needs one beta a step, shape (T,)")
        if not bool(np.all((betas > 0.0) & (betas < 1.0))):
            raise ConfigError(f"betas lie in [{betas.min():g}, {betas.max():g}]; every one must be above 0 and below 1")
        betas.flags.writeable = False
        object.__setattr__(self, "betas", betas)

    @property
    def steps(self) -> int:
        """T, the number of noise levels."""
        return int(self.betas.size)

    @cached_property
    def alpha_bar(self) -> NDArray[np.float64]:
        """Product of (1 - beta) up to and with each index, float64 (T,); section 2 of the paper."""
        return _frozen(np.cumprod(1.0 - self.betas))

    @cached_property
    def alpha_bar_previous(self) -> NDArray[np.float64]:
        """`alpha_bar` one step nearer to the data, float64 (T,); 1 at index 0."""
        return _frozen(np.concatenate([[1.0], self.alpha_bar[:-1]]))

    @cached_property
    def one_minus_alpha_bar(self) -> NDArray[np.float64]:
        """1 - alpha_bar, float64 (T,), without cancellation where alpha_bar is close to 1."""
        return _frozen(-np.expm1(np.cumsum(np.log1p(-self.betas))))

    @cached_property
    def sqrt_alpha_bar(self) -> NDArray[np.float64]:
        """Factor of x0 in equation 4, float64 (T,)."""
        return _frozen(np.sqrt(self.alpha_bar))

    @cached_property
    def sqrt_one_minus_alpha_bar(self) -> NDArray[np.float64]:
        """Factor of the noise in equation 4, float64 (T,)."""
        return _frozen(np.sqrt(self.one_minus_alpha_bar))

    @cached_property
    def posterior_variance(self) -> NDArray[np.float64]:
        """Variance of q(x_{t-1} | x_t, x_0), the paper's beta tilde of equation 7, float64 (T,); 0 at index 0."""
        one_minus_previous = np.concatenate([[0.0], self.one_minus_alpha_bar[:-1]])
        return _frozen(self.betas * one_minus_previous / self.one_minus_alpha_bar)

    @cached_property
    def fixed_large_variance(self) -> NDArray[np.float64]:
        """The betas with the first one replaced by the posterior variance of index 1, float64 (T,).

        Section 3.2 of the paper takes sigma_t^2 = beta_t; the reference code replaces the first.
        """
        first = self.posterior_variance[1:2] if self.steps > 1 else self.betas[:1]
        return _frozen(np.concatenate([first, self.betas[1:]]))

    def tables(self, device: torch.device | str) -> ScheduleTables:
        """The tables that training needs as float32 on `device`, made once a device."""
        device = torch.device(device)
        if device not in self._tables:
            self._tables[device] = ScheduleTables(
                *(
                    torch.tensor(table, dtype=torch.float32, device=device)
                    for table in (self.alpha_bar, self.sqrt_alpha_bar, self.sqrt_one_minus_alpha_bar)
                )
            )
        return self._tables[device]

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Draw x_t given x_0 and unit noise: sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise (equation 4).

        `x0` and `noise`: (B, ...) floating; `t`: (B,) int64 table indices in [0, T) on the same device. No value is
        read back to the host.
        """
        tables = self.tables(x0.device)
        shape = (-1,) + (1,) * (x0.ndim - 1)
        signal = tables.sqrt_alpha_bar[t].reshape(shape)
        sigma = tables.sqrt_one_minus_alpha_bar[t].reshape(shape)
        return (signal * x0 + sigma * noise).to(x0.dtype)


def linear_schedule(steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> DiffusionSchedule:
    """Betas on a straight line from `beta_start` to `beta_end`, both included (Ho et al. 2020, section 4).

    Raises ConfigError when `steps` is not positive or a beta leaves (0, 1).
    """
    if steps < 1:
        raise ConfigError(f"steps = {steps}; a schedule needs at least 1 step")
    return DiffusionSchedule(np.linspace(beta_start, beta_end, steps, dtype=np.float64))


def _frozen(table: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    frozen: NDArray[np.float64] = np.array(table, dtype=np.float64)
    frozen.flags.writeable = False
    return frozen
