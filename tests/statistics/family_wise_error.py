"""How often a board of equal methods calls some pair different, and how often it sees a true difference.

    OMP_NUM_THREADS=1 python tests/statistics/family_wise_error.py 4000 > tests/statistics/family_wise_error.md

Values are normal; in the paired setting equal seeds share a term of the same size. `before` is what the first
boards did: each method against the best by an uncorrected paired t. Unequal noise is what no test that pools
the methods' noise is made for; it is in the table to show what happens.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from scipy.stats import t

from ltgen_bench.leaderboard.comparison import SeedSeries, compare_all


def table_of(
    random: np.random.Generator, methods: int, seeds: int, noise: np.ndarray, *, pairs: bool, shift: float = 0.0
) -> np.ndarray:
    """Values (methods, seeds); the last method's mean is higher by `shift`."""
    values = random.standard_normal((methods, seeds)) * noise[:, None] + pairs * random.standard_normal(seeds)
    values[-1] += shift
    return values


def differ(values: np.ndarray, *, pairs: bool) -> tuple[bool, bool]:
    """Whether any pair is beyond noise, and whether the last and the first method are."""
    found = compare_all([SeedSeries(dict(enumerate(map(float, row))), pairs) for row in values])
    last = found[-1][0]
    anywhere = any(gap is not None and gap.beyond_noise for row in found for gap in row)
    return anywhere, last is not None and last.beyond_noise


def before(values: np.ndarray) -> bool:
    """Whether any method differed from the best by the uncorrected test."""
    best = values.mean(axis=1).argmin()
    gaps = np.delete(values, best, axis=0) - values[best]
    error = gaps.std(axis=1, ddof=1) / np.sqrt(gaps.shape[1])
    return bool((np.abs(gaps.mean(axis=1)) > t.ppf(0.975, gaps.shape[1] - 1) * error).any())


def main() -> None:
    """Print the table."""
    boards = int(sys.argv[1])
    random = np.random.default_rng(0)
    rows = []
    for methods in (8, 15):
        for seeds in (3, 5, 10):
            for name, noise in (
                ("equal", np.ones(methods)),
                ("from 1 to 3", np.linspace(1, 3, methods)),
                ("one method 3 times as large", np.r_[np.ones(methods - 1), 3.0]),
            ):
                tables = [table_of(random, methods, seeds, noise, pairs=True) for _ in range(boards)]
                apart = [table_of(random, methods, seeds, noise, pairs=False) for _ in range(boards)]
                row: dict[str, object] = {
                    "methods": methods,
                    "seeds": seeds,
                    "noise": name,
                    "before": np.mean([before(values) for values in tables]),
                    "paired": np.mean([differ(values, pairs=True)[0] for values in tables]),
                    "unpaired": np.mean([differ(values, pairs=False)[0] for values in apart]),
                }
                for shift in (1, 2, 3):
                    moved = (
                        table_of(random, methods, seeds, noise, pairs=True, shift=shift) for _ in range(boards // 8)
                    )
                    row[f"seen at {shift}"] = np.mean([differ(values, pairs=True)[1] for values in moved])
                rows.append(row)
                print(row, file=sys.stderr)
    print(f"Share of {boards:,} boards of equal methods with any pair beyond noise, and how often a true difference of")
    print(f"1, 2, 3 standard deviations of a seed is seen ({boards // 8:,} boards).\n")
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3f"))


if __name__ == "__main__":
    main()
