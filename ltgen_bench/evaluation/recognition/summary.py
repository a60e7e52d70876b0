"""Means over classifiers and runs, and whether filling up helps: differences in pairs with their interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from ltgen_bench.core.choices import Group
from ltgen_bench.evaluation.recognition.recognize import ARMS, FILLED, REAL

PLACES = ("all", *(str(group) for group in Group))
CONFIDENCE = 0.95


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One method's table from the results of one or several sets of samples (seeds of the generator).

    For every arm and group the mean and the standard deviation: over classifier seeds for one set of samples, else over
    the sets' means. `gain` is filled minus real, of the same classifier seed; its interval is Student's over the sets
    where there are three or more, else over the classifier seeds.
    """
    table, gains = [], []
    for place in PLACES:
        for arm in ARMS:
            values = _values(results, arm, place)
            table.append({"arm": arm, "group": place, **_mean(values)})
        pairs = [_differences(result, place) for result in results]
        if any(pair is None for pair in pairs):
            gains.append({"group": place, **_mean([]), "low": None, "high": None})
            continue
        own: list[float] = [fmean(pair) for pair in pairs if pair] if len(pairs) >= 3 else list(pairs[0] or [])
        if 1 < len(pairs) < 3:
            own = [value for pair in pairs for value in (pair or [])]
        gains.append({"group": place, **_mean(own), **_interval(own)})
    return {"sets": len(results), "accuracy": table, "gain": gains}


def _values(results: Sequence[dict[str, Any]], arm: str, place: str) -> list[float]:
    each = [
        [row[place] for row in result["rows"] if row["arm"] == arm and row[place] is not None] for result in results
    ]
    return each[0] if len(each) == 1 else [fmean(values) for values in each if values]


def _differences(result: dict[str, Any], place: str) -> list[float] | None:
    of = {(row["arm"], row["seed"]): row[place] for row in result["rows"]}
    seeds = sorted({seed for _, seed in of})
    pairs = [(of[FILLED, seed], of[REAL, seed]) for seed in seeds]
    return None if any(None in pair for pair in pairs) else [filled - real for filled, real in pairs]


def _mean(values: Sequence[float]) -> dict[str, Any]:
    return {
        "n": len(values),
        "mean": fmean(values) if values else None,
        "std": stdev(values) if len(values) > 1 else None,
    }


def _interval(values: Sequence[float]) -> dict[str, float | None]:
    if len(values) < 2:
        return {"low": None, "high": None}
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return {"low": fmean(values) - half, "high": fmean(values) + half}
