"""Confidence intervals that all mean one thing: how far a number moves when the same trained model is sampled again.

The reference set belongs to the protocol and stands still; generated samples are drawn anew. Where the protocol fixes
the number of samples of every class, so does the redrawing (`strata` are the labels); where labels are drawn at random,
that draw is part of the interval (`strata` is None). Nothing depends on the order of the rows.

Each metric says in its own module how large its standard error is; here it becomes an interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.metrics.inputs import IntArray

MEANING = "how far the number moves when the same trained model is sampled again"


@dataclass(frozen=True)
class Interval:
    """A confidence interval: `low` to `high` at `level` (0.95: 95 %), and how it was found."""

    low: float
    high: float
    level: float
    method: str

    def to_dict(self) -> dict[str, float | str]:
        """The interval with the key names of a record."""
        return {"low": self.low, "high": self.high, "level": self.level, "method": self.method}


@dataclass(frozen=True)
class StandardError:
    """How uncertain a number is: its standard deviation over new samples, and the degrees of freedom behind it."""

    value: float
    method: str
    dof: float = math.inf

    def times(self, factor: float) -> StandardError:
        """That of the number multiplied by `factor`."""
        return StandardError(abs(factor) * self.value, self.method, self.dof)

    def as_of(self, share: float) -> StandardError:
        """That of so small a share of the samples: the others are repeats of them."""
        dof = max(1.0, share * self.dof)
        return StandardError(self.value / math.sqrt(share), f"{self.method}, repeats counted once", dof)


def residuals(values: NDArray[Any], strata: IntArray | None) -> tuple[NDArray[np.float64], int]:
    """`values` (N, ...) less their mean, or less that of their own stratum, and the degrees of freedom that leaves.

    With as many strata as values nothing is left of them, and their own mean is taken off instead.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if strata is not None:
        _, index, counts = np.unique(strata, return_inverse=True, return_counts=True)
        if len(numbers) > len(counts):
            sums = np.zeros((len(counts), *numbers.shape[1:]))
            np.add.at(sums, index, numbers)
            means = (sums.T / counts).T
            return numbers - means[index], len(numbers) - len(counts)
    return numbers - numbers.mean(axis=0), max(1, len(numbers) - 1)


def error_of_mean(values: NDArray[Any], strata: IntArray | None, count: int | None = None) -> StandardError:
    """The standard error of the mean of per-sample `values` (n,).

    `count` is the number of samples behind the mean where `values` are those of some of them only. Strata are of equal
    size, so their variances are pooled.
    """
    rest, dof = residuals(values, strata)
    variance = float(rest @ rest) / dof
    how = "over samples, whose number in every class is fixed" if strata is not None else "over samples"
    return StandardError(math.sqrt(variance / (count or len(values))), f"standard error {how}", dof)


def t_quantile(level: float, dof: float) -> float:
    """Student's t quantile of a two-sided interval; the normal one for infinite `dof`."""
    from scipy.stats import norm, t

    return float(norm.ppf((1 + level) / 2) if math.isinf(dof) else t.ppf((1 + level) / 2, dof))


def number_interval(
    value: float, error: StandardError, level: float, *, least: float = -math.inf, most: float = math.inf
) -> Interval:
    """value +- t times the standard error, within `least` ... `most`, which the number can never leave."""
    half = t_quantile(level, error.dof) * error.value
    return Interval(max(least, value - half), min(most, value + half), level, f"Student's t with the {error.method}")


def share_interval(value: float, error: StandardError, level: float, *, count: int) -> Interval:
    """The interval of a share, within 0 ... 1: Wilson's (1927), at the number of draws that the error amounts to.

    That number is p (1 - p) / error^2. Where the error says nothing, as at a share of 0 or 1, it is the exact interval
    of `count` independent draws (Clopper and Pearson 1934).
    """
    if error.value <= 0 or value <= 0 or value >= 1:
        return proportion_interval(round(value * count), count, level)
    draws = value * (1 - value) / error.value**2
    if draws < 1:  # no share of draws varies so much
        return number_interval(value, error, level, least=0.0, most=1.0)
    z = t_quantile(level, error.dof)
    centre = (value + z**2 / (2 * draws)) / (1 + z**2 / draws)
    half = z / (1 + z**2 / draws) * math.sqrt(value * (1 - value) / draws + z**2 / (4 * draws**2))
    low, high = min(value, max(0.0, centre - half)), max(value, min(1.0, centre + half))
    return Interval(low, high, level, f"Wilson's with the {error.method}")


def difference_interval(a: float, of_a: Interval, b: float, of_b: Interval) -> Interval:
    """The interval of a - b, from those of two numbers that come from different samples.

    The distances to the limits are added in squares (Newcombe 1998, method 10), which also holds for shares near 0 and
    1, where limits are not symmetric.
    """
    low = a - b - math.hypot(a - of_a.low, of_b.high - b)
    high = a - b + math.hypot(of_a.high - a, b - of_b.low)
    return Interval(low, high, of_a.level, f"Newcombe's, from the two intervals: {of_a.method}")


def proportion_interval(successes: int, count: int, level: float) -> Interval:
    """The exact interval of a share of `count` independent samples (Clopper and Pearson 1934), rather too wide."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, successes, count - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, count - successes)) if successes < count else 1.0
    return Interval(low, high, level, f"Clopper-Pearson over {count}: nothing varies that could be measured")
