"""Which methods differ beyond the noise of their seeds: one answer for the board and for `compare`.

All pairs of methods are compared at once, so that of methods that are equal and equally noisy, however many there are,
some pair is called different in at most 5 % of the boards (Tukey's studentized range). A seed's noise is measured on
all methods together, for three seeds of one method say next to nothing about it; two methods whose own noise is larger
are given theirs. Fréchet distances are compared by their ratio, for their noise grows with them. Where two methods ran
with the same seeds, and those mean the same labels and the same initial noise, what they share is taken out (randomised
blocks); elsewhere the seeds are independent samples.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
MOST_SEEDS_ASKED = 200
_TABULATED = (20, 24, 30, 40, 60, 120, 1000, 100_000)  # degrees of freedom, as tables of the range have them


@dataclass(frozen=True)
class SeedSeries:
    """One method's values by seed; `pairs` says that an equal seed means equal labels and initial noise elsewhere."""

    values: Mapping[int, float]
    pairs: bool

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(np.mean(list(self.values.values())))


@dataclass(frozen=True)
class Difference:
    """One method's mean minus another's, with its simultaneous interval.

    Arguments:
        mean: the difference of the means.
        low, high: the interval in the metric's units; of a ratio, times the other method's mean.
        beyond_noise: whether the interval leaves out 0.
        paired: whether what equal seeds share was taken out.
        seeds_needed: seeds of each at which a difference of this size would be beyond noise; None above 200.
    """

    mean: float
    low: float
    high: float
    beyond_noise: bool
    paired: bool
    seeds_needed: int | None


@dataclass(frozen=True)
class _Noise:
    """The variance of one value of one method, and its degrees of freedom."""

    variance: float
    dof: int


def compare_all(series: Sequence[SeedSeries], *, ratio: bool = False) -> list[list[Difference | None]]:
    """`result[i][j]` compares i with j; None where no noise could be measured, and on the diagonal.

    `ratio` is for positive numbers whose noise is proportional to them; where one is not positive, it has no effect.
    """
    ratio = ratio and all(value > 0 for one in series for value in one.values.values())
    values = [{seed: math.log(v) if ratio else v for seed, v in one.values.items()} for one in series]
    result: list[list[Difference | None]] = [[None] * len(series) for _ in series]
    apart = _independent_noise(values)
    blocks = _blocks(series)
    block_noise = {block: _block_noise([values[i] for i in members]) for block, members in blocks.items()}
    block_of = {i: block for block, members in blocks.items() for i in members}
    for i in range(len(series)):
        for j in range(len(series)):
            block = block_of.get(i)
            paired = i != j and block is not None and block == block_of.get(j)
            noise = block_noise[block] if paired and block is not None else apart
            if i == j or noise is None or not values[i] or not values[j]:
                continue
            result[i][j] = _difference(series[i], series[j], values[i], values[j], noise, len(series), paired, ratio)
    return result


def _blocks(series: Sequence[SeedSeries]) -> dict[tuple[int, ...], list[int]]:
    """The methods that ran with the same seeds, two or more of each, by these seeds."""
    found: dict[tuple[int, ...], list[int]] = {}
    for i, one in enumerate(series):
        if one.pairs and len(one.values) > 1:
            found.setdefault(tuple(sorted(one.values)), []).append(i)
    return {seeds: members for seeds, members in found.items() if len(members) > 1}


def _independent_noise(values: Sequence[Mapping[int, float]]) -> _Noise | None:
    """The variance of a value about its method's mean, over all methods."""
    dof = sum(len(one) - 1 for one in values if one)
    if dof < 2:
        return None
    squares = sum(float(np.var(list(one.values())) * len(one)) for one in values if one)
    return _Noise(squares / dof, dof)


def _block_noise(values: Sequence[Mapping[int, float]]) -> _Noise | None:
    """The residual variance of a table of methods (rows) and seeds (columns), both effects taken out."""
    table = np.array([[one[seed] for seed in sorted(one)] for one in values])
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()
    dof = (table.shape[0] - 1) * (table.shape[1] - 1)
    return _Noise(float(np.square(rest).sum()) / dof, dof) if dof > 1 else None


def _difference(
    a: SeedSeries,
    b: SeedSeries,
    ours: Mapping[int, float],
    theirs: Mapping[int, float],
    noise: _Noise,
    methods: int,
    paired: bool,
    ratio: bool,
) -> Difference:
    mean = float(np.mean(list(ours.values()))) - float(np.mean(list(theirs.values())))
    variance = max(noise.variance * (1 / len(ours) + 1 / len(theirs)), _own_variance(ours, theirs, paired))
    error = math.sqrt(variance)
    half = critical_value(methods, noise.dof) * error
    low, high = mean - half, mean + half
    beyond = not low <= 0 <= high
    if ratio:
        low, high = (b.mean * math.expm1(edge) for edge in (low, high))
    now = min(len(ours), len(theirs))
    needed = _seeds_needed(abs(mean), _Noise(variance * now / 2, noise.dof), methods, now)
    return Difference(a.mean - b.mean, low, high, beyond, paired, needed)


def _own_variance(ours: Mapping[int, float], theirs: Mapping[int, float], paired: bool) -> float:
    """The variance of the difference of the two means as these two methods alone show it; 0 with single seeds."""
    if paired:
        return float(np.var([ours[seed] - theirs[seed] for seed in ours], ddof=1)) / len(ours)
    return sum(float(np.var(list(one.values()), ddof=1)) / len(one) for one in (ours, theirs) if len(one) > 1)


def _seeds_needed(difference: float, noise: _Noise, methods: int, now: int) -> int | None:
    """The smallest number of seeds of each at which `difference` would be beyond noise of this size."""

    def enough(seeds: int) -> bool:
        dof = max(2, round(noise.dof * (seeds - 1) / max(1, now - 1)))
        return difference > _critical_nearly(methods, dof) * math.sqrt(2 * noise.variance / seeds)

    # more seeds never see less, so the first number that is enough can be bisected
    found = bisect.bisect_left(range(2, MOST_SEEDS_ASKED + 1), True, key=enough) + 2
    return found if found <= MOST_SEEDS_ASKED else None


def _critical_nearly(methods: int, dof: int) -> float:
    """`critical_value` to three digits, from a few: between tabulated degrees of freedom it is linear in 1 / dof.

    One exact value takes a fifth of a second, and the search for a number of seeds would ask for hundreds.
    """
    if dof <= _TABULATED[0]:
        return critical_value(methods, dof)
    if dof >= _TABULATED[-1]:
        return critical_value(methods, _TABULATED[-1])
    after = bisect.bisect_left(_TABULATED, dof)
    low, high = _TABULATED[after - 1], _TABULATED[after]
    share = (1 / low - 1 / dof) / (1 / low - 1 / high)
    return (1 - share) * critical_value(methods, low) + share * critical_value(methods, high)


@functools.lru_cache(maxsize=4096)
def critical_value(methods: int, dof: int) -> float:
    """How many standard errors a difference must exceed where `methods` are compared with each other."""
    from scipy.stats import studentized_range, t

    if methods <= 2:
        return float(t.ppf((1 + LEVEL) / 2, dof))
    return float(studentized_range.ppf(LEVEL, methods, min(dof, 100_000))) / math.sqrt(2)


def rank_ranges(differences: Sequence[Sequence[Difference | None]]) -> list[tuple[int, int]]:
    """The best and the worst rank of every method that the differences leave open; a lower value is a better one."""
    ranges = []
    for row in differences:
        sure = [gap.mean for gap in row if gap is not None and gap.beyond_noise]
        ranges.append((1 + sum(gap > 0 for gap in sure), len(row) - sum(gap < 0 for gap in sure)))
    return ranges
