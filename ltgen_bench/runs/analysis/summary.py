"""Seeds as repetitions: mean and standard deviation by method, and whether separation goes with quality."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np

from ltgen_bench.evaluation.record import Record

_Row = dict[str, Any]
# what is compared with the numbers of a record: the key in the record, and its name
QUALITY = (
    ("fid", "distance"),
    ("groups.few.fid", "tail distance"),
    ("groups.few.label_accuracy", "tail label accuracy"),
)


def by_method(rows: Sequence[_Row]) -> list[_Row]:
    """Mean and standard deviation over seeds of every number; None with the reason where no seed has it.

    With one seed the interval is that of the images; with several `std` says how far seeds differ.
    """
    found: dict[tuple[Any, ...], list[_Row]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("method", "images", "t", "label", "noise", "group", "metric"))
        found.setdefault(key, []).append(row)
    table = []
    for key, members in found.items():
        values = [row["value"] for row in members if row["value"] is not None]
        one = members[0] if len(members) == 1 else None
        table.append(
            {
                **dict(zip(("method", "images", "t", "label", "noise", "group", "metric"), key, strict=True)),
                "n": len(values),
                "mean": fmean(values) if values else None,
                "std": stdev(values) if len(values) > 1 else None,
                "low": one["low"] if one else None,
                "high": one["high"] if one else None,
                "reason": next((row["reason"] for row in members if row["reason"]), ""),
            }
        )
    return table


def correlations(rows: Sequence[_Row], records: dict[str, Record], metric: str = "knn_purity") -> list[_Row]:
    """Spearman's rank correlation of a separation number with quality over runs, at every noise level.

    `records` by run. The interval is a bootstrap over the runs, the p-value a permutation test. None with a reason
    below four runs, or where one side does not vary.
    """
    from scipy.stats import spearmanr

    table = []
    places = sorted({(row["t"], row["label"], row["group"]) for row in rows if row["group"] in ("all", "few")})
    for t, label, group in places:
        own = {
            row["run"]: row["value"]
            for row in rows
            if (row["t"], row["label"], row["group"], row["metric"]) == (t, label, group, metric)
            and row["value"] is not None
            and row["run"] in records
        }
        for key, name in QUALITY:
            pairs = [(v, q) for run, v in own.items() if (q := records[run].metrics.number(key)) is not None]
            row = {"t": t, "label": label, "group": group, "metric": metric, "quality": name, "runs": len(pairs)}
            x, y = (np.array(side) for side in (zip(*pairs, strict=True) if pairs else ([], [])))
            if len(pairs) < 4 or len(set(x)) < 2 or len(set(y)) < 2:
                reason = "fewer than four runs" if len(pairs) < 4 else "one side does not vary"
                table.append({**row, "rho": None, "low": None, "high": None, "p": None, "reason": reason})
                continue
            rho = float(spearmanr(x, y).statistic)
            low, high, p = _uncertainty(x, y, rho)
            table.append({**row, "rho": rho, "low": low, "high": high, "p": p, "reason": ""})
    return table


def _uncertainty(x: np.ndarray, y: np.ndarray, rho: float, draws: int = 2000) -> tuple[float, float, float]:
    """The bootstrap's 95 % interval of Spearman's rho, and a permutation's two-sided p-value."""
    from scipy.stats import rankdata

    generator = np.random.default_rng(0)

    def statistic(a: np.ndarray, b: np.ndarray) -> float:
        a, b = rankdata(a), rankdata(b)
        a, b = a - a.mean(), b - b.mean()
        scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
        return float((a * b).sum()) / scale if scale else 0.0

    picks = generator.integers(len(x), size=(draws, len(x)))
    low, high = np.percentile([statistic(x[pick], y[pick]) for pick in picks], [2.5, 97.5])
    beyond = sum(abs(statistic(x, generator.permutation(y))) >= abs(rho) - 1e-12 for _ in range(draws))
    return float(low), float(high), (beyond + 1) / (draws + 1)
