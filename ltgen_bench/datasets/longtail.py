"""How a balanced set becomes long-tailed: class counts, index selection, and head / medium / tail groups.

Pure functions of numbers and labels. The index rule is the one that LDAM-DRW (Cao et al. 2019), CBDM (Qin et al.
2023) and T2H (Zhang et al. 2024) share, so that the same images are chosen here as there.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.core.errors import ConfigError, DataError
from ltgen_bench.datasets.base import Groups, Indices

THIRDS_RULE = "thirds of the classes from head to tail; sizes differ by one at most, larger ones first"
MAX_PARETO_ALPHA = 1000  # far more than any cut needs; the powers stay finite
MANY_MORE_THAN, FEW_FEWER_THAN = 100, 20
COUNTS_RULE = (
    f"many: more than {MANY_MORE_THAN} training images, medium: {FEW_FEWER_THAN} to {MANY_MORE_THAN}, "
    f"few: fewer than {FEW_FEWER_THAN}"
)


def exponential_counts(n_max: int, imbalance: float, class_count: int) -> tuple[int, ...]:
    """Class counts n_i = floor(N rho^(i / (C - 1))), i = 0 ... C-1 (Cao et al. 2019, "exponential").

    `n_max` is N, the head's count; `imbalance` is rho, in (0, 1]; `class_count` is C. The floor is exact for rho as
    it is written in decimals: 0.01 means one hundredth and not the nearest binary number. Raises ConfigError for
    arguments out of range and when the tail would be empty.
    """
    if n_max < 1 or class_count < 1:
        raise ConfigError(f"class counts need a head of at least 1 image and 1 class, got {n_max} and {class_count}")
    if not 0 < imbalance <= 1:
        raise ConfigError(f"imbalance is smallest / largest class, in (0, 1]; got {imbalance}")
    if class_count == 1:
        return (n_max,)
    rho = Fraction(repr(float(imbalance)))
    counts = tuple(_exact_floor(n_max, rho, i, class_count - 1) for i in range(class_count))
    if counts[-1] < 1:
        raise ConfigError(
            f"imbalance {imbalance} leaves no image in the smallest class of {n_max} ... {n_max * float(rho):.3g}; "
            f"the smallest possible is {1 / n_max:.3g}"
        )
    return counts


def _exact_floor(n_max: int | Fraction, rho: Fraction, i: int, steps: int) -> int:
    """Floor of n_max * rho^(i / steps): a float guess, corrected by comparing both sides' powers as integers."""
    head = Fraction(n_max)
    limit = head.numerator**steps * rho.numerator**i
    scale = head.denominator**steps * rho.denominator**i
    count = int(n_max * float(rho) ** (i / steps))
    while (count + 1) ** steps * scale <= limit:
        count += 1
    while count**steps * scale > limit:
        count -= 1
    return count


def pareto_counts(n_max: int, alpha: float, class_count: int, n_min: int = 1) -> tuple[int, ...]:
    """Class counts max(n_min, floor(N q_i / q_0)), q_i = ((i + 1/2) / C)^(-1/alpha) - 1, i = 0 ... C-1.

    The q_i are the quantiles, in equal steps, of the Pareto distribution of power `alpha` that starts at 0 (Lomax; what
    `numpy.random.pareto` draws from). `n_max` is N, the head's count; `n_min` truncates the tail. With alpha 6, N 1280
    and n_min 5 the sum over 1,000 classes is 99,952 where ImageNet-LT has 115,846: its authors drew their counts, and a
    cut by this formula is another data set. The floor is that of 40 decimals, the same on every machine. Raises
    ConfigError for counts out of range.
    """
    if n_max < 1 or class_count < 1 or not 1 <= n_min <= n_max:
        raise ConfigError(
            f"class counts need a head of at least 1 image and 1 class and a tail not above the head, got {n_max}, "
            f"{class_count} and {n_min}"
        )
    with decimal.localcontext(decimal.Context(prec=40)):
        power = -1 / decimal.Decimal(repr(float(alpha)))
        quantiles = [(decimal.Decimal(2 * i + 1) / (2 * class_count)) ** power - 1 for i in range(class_count)]
        return (n_max, *(max(n_min, int(n_max * q / quantiles[0])) for q in quantiles[1:]))


def largest_counts(available: Sequence[int], counts_of: Callable[[int], Sequence[int]]) -> tuple[int, ...]:
    """`counts_of(N)` for the largest head N that asks no class for more than its `available` images.

    `counts_of` must not fall as N grows. For a balanced set N is the size of its classes.
    """
    low, high = 1, available[0]
    while low < high:  # counts grow with the head, so the largest fitting one can be bisected
        middle = (low + high + 1) // 2
        fits = all(count <= most for count, most in zip(counts_of(middle), available, strict=True))
        low, high = (middle, high) if fits else (low, middle - 1)
    return tuple(counts_of(low))


def mean_exponential_counts(available: Sequence[int], imbalance: float) -> tuple[int, ...]:
    """Class counts min(available_i, floor(m rho^(i / (C - 1)))), m the mean of `available` (CCUA, arXiv 2507.09052).

    The classes are those of `available` in its order. Of ImageNet's 1,281,167 images in 1,000 classes it leaves 275,288
    at 0.01, of Places365's 1,803,460 in 365 classes 388,960. Raises ConfigError when the tail would be empty.
    """
    rho, steps = Fraction(repr(float(imbalance))), max(1, len(available) - 1)
    mean = Fraction(sum(available), len(available))
    counts = tuple(min(n, _exact_floor(mean, rho, i, steps)) for i, n in enumerate(available))
    if min(counts) < 1:
        raise ConfigError(f"imbalance {imbalance} leaves no image in the smallest class")
    return counts


def largest_exponential_counts(available: Sequence[int], imbalance: float) -> tuple[int, ...]:
    """`exponential_counts` with the largest head that asks no class for more than its `available` images.

    Raises ConfigError when even that leaves a class empty.
    """
    rho, steps = Fraction(repr(float(imbalance))), max(1, len(available) - 1)
    counts = largest_counts(available, lambda n: [_exact_floor(n, rho, i, steps) for i in range(len(available))])
    return exponential_counts(counts[0], imbalance, len(available))


def largest_pareto_counts(available: Sequence[int], alpha: float, imbalance: float | None) -> tuple[int, ...]:
    """`pareto_counts` with the largest head that fits; the tail is truncated at floor(imbalance * head), at least 1."""
    rho = Fraction(0) if imbalance is None else Fraction(repr(float(imbalance)))
    return largest_counts(available, lambda n: pareto_counts(n, alpha, len(available), max(1, int(n * rho))))


def select_longtail_indices(
    labels: NDArray[np.integer], counts: Sequence[int] | NDArray[np.int64], seed: int = 0
) -> Indices:
    """Positions of the images that a long-tailed set keeps, int64 (sum of counts,), class by class.

    The shared rule: one legacy `numpy.random.RandomState(seed)`; for each class in ascending order *all* its
    positions are shuffled and the first `counts[class]` kept. The draws do not depend on the counts, so a set with
    smaller counts is contained in one with larger counts, and its positions come first in each class.

    `labels` is (N,) of integers below len(counts). Raises DataError when a class has too few images.
    """
    if labels.ndim != 1 or (len(labels) and not 0 <= labels.min() <= labels.max() < len(counts)):
        raise DataError(f"labels must be one axis of numbers from 0 to {len(counts) - 1}")
    random = np.random.RandomState(seed)  # legacy: the published sets were drawn by it
    chosen = []
    for label, count in enumerate(counts):
        positions = np.flatnonzero(labels == label)
        if not 0 <= count <= len(positions):
            raise DataError(f"class {label} has {len(positions)} images, {count} are asked for")
        random.shuffle(positions)
        chosen.append(positions[:count])
    return np.concatenate(chosen).astype(np.int64, copy=False) if chosen else np.zeros(0, np.int64)


def select_balanced_indices(labels: NDArray[np.integer], per_class: int, class_count: int, seed: int = 0) -> Indices:
    """Positions of a balanced subset, int64 (per_class * class_count,), by the rule of `select_longtail_indices`.

    Smaller subsets are contained in larger ones. Raises DataError when a class has fewer than `per_class` images.
    """
    return select_longtail_indices(labels, [per_class] * class_count, seed)


def groups_by_thirds(class_count: int, order: Sequence[int] | None = None) -> Groups:
    """Head, medium and tail as thirds of `order`, class indices from head to tail (default 0 ... C-1).

    The sizes differ by one at most, larger ones first: CIFAR-10 gives 0-3, 4-6, 7-9 and CIFAR-100 gives
    0-33, 34-66, 67-99. Two classes are head and tail.
    """
    order = range(class_count) if order is None else order
    parts = [tuple(sorted(int(i) for i in part)) for part in np.array_split(np.asarray(order, np.int64), 3)]
    if class_count == 2:
        parts = [parts[0], (), parts[1]]
    return Groups(parts[0], parts[1], parts[2], THIRDS_RULE)


def groups_by_counts(class_counts: Sequence[int]) -> Groups:
    """Many, medium and few shot by training images: more than 100, 20 to 100, fewer than 20 (Liu et al. 2019)."""
    classes = range(len(class_counts))
    return Groups(
        many=tuple(i for i in classes if class_counts[i] > MANY_MORE_THAN),
        medium=tuple(i for i in classes if FEW_FEWER_THAN <= class_counts[i] <= MANY_MORE_THAN),
        few=tuple(i for i in classes if class_counts[i] < FEW_FEWER_THAN),
        rule=COUNTS_RULE,
    )
