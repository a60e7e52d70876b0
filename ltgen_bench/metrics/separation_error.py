"""How far the numbers of `separation` would move with other images of the same classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_DRAWS = 1000  # of means, which are cheap
_DRAWS_NC1 = 100
_PARTS = 10  # of the jackknife


def bootstrap_means(values: _Floats, labels: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of `values` (N,), images drawn anew within their classes."""
    generator = np.random.default_rng(seed)
    total = np.zeros(_DRAWS)
    for c in np.unique(labels):
        own = values[labels == c]
        if len(own) > 1:
            distinct, counts = np.unique(own, return_counts=True)  # many are 0 or 1, or one of k + 1 shares
            draws = generator.multinomial(len(own), counts / len(own), _DRAWS)
            total += draws @ distinct
        else:
            total += own.sum()
    low, high = np.percentile(total / len(values), [2.5, 97.5])
    return float(low), float(high)


def bootstrap_nc1(
    statistic: Callable[[_Floats, NDArray[np.int64], _Floats], float],
    features: _Floats,
    labels: NDArray[np.int64],
    value: float,
    seed: int,
) -> tuple[float, float]:
    """`value` and 1.96 standard deviations of the statistic of images that are drawn anew within their classes."""
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    found = []
    for _ in range(_DRAWS_NC1):
        weights = np.zeros(len(labels))
        for own in members:
            weights[own] = np.bincount(generator.integers(len(own), size=len(own)), minlength=len(own))
        found.append(statistic(features, labels, weights))
    reach = 1.96 * float(np.std(found, ddof=1))
    return max(0.0, value - reach), value + reach


def jackknife_rank(statistic: Callable[[_Floats], float], features: _Floats, seed: int) -> float:
    """The standard error of a statistic of one class's features (n, D), a tenth of them left out at a time.

    A bootstrap would repeat images, and repeats lower a rank.
    """
    n = len(features)
    parts = min(_PARTS, n)
    if n < 3:
        return 0.0
    part = np.random.default_rng(seed).permutation(n) % parts
    found = [statistic(features[part != one]) for one in range(parts)]
    return float(np.sqrt((parts - 1) / parts * np.square(np.array(found) - np.mean(found)).sum()))
