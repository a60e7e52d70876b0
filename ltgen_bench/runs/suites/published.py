"""A suite's numbers beside those that a paper printed: the difference, and whether it lies within our interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import tabulate as tabulate_module

from ltgen_bench.evaluation.report.tables import title_of

_NAMES = {"ambient space contrastive": "ambient contrastive"}  # as a paper calls what we call otherwise
Printed = Mapping[tuple[str, str], Mapping[str, float]]  # (data set, method) -> number by name


def beside_published(rows: Sequence[dict[str, Any]], printed: Printed) -> list[dict[str, Any]]:
    """A row for every number that is both printed and in the suite; `rows` are those of `collect`.

    `low` and `high`: the 95 % interval of our mean over seeds (Student's t; null with one seed). `within` says whether
    the printed number lies in it, null where there is none, or where our distance is in another network than theirs.
    """
    from scipy.stats import t as student

    known = {(dataset, _plain(method)): values for (dataset, method), values in printed.items()}
    found = []
    for row in rows:
        for name, theirs in known.get((row["dataset"], _plain(row["method"])), {}).items():
            ours = row["metrics"].get(name)
            if ours is None or ours["mean"] is None:
                continue
            low = high = within = None
            if ours["std"] is not None:
                n = len(ours["values"])
                reach = float(student.ppf(0.975, n - 1)) * ours["std"] / n**0.5
                low, high = ours["mean"] - reach, ours["mean"] + reach
            comparable = row["label"] == "FID"
            if comparable and low is not None and high is not None:
                within = bool(low <= theirs <= high)
            found.append(
                {
                    "dataset": row["dataset"],
                    "method": row["method"],
                    "settings": row["settings"],
                    "number": name,
                    "n": row["n"],
                    "ours": ours["mean"],
                    "low": low,
                    "high": high,
                    "published": theirs,
                    "difference": ours["mean"] - theirs,
                    "within": within,
                    "reason": "" if comparable else f"ours is measured in another network ({row['label']})",
                }
            )
    return found


def published_markdown(found: Sequence[dict[str, Any]]) -> str:
    """The same as a table, and a line where nothing could be compared."""
    if not found:
        return "No number of this suite is printed in the published tables for the same data set and method.\n"
    table = [
        {
            "Data set": row["dataset"],
            "Method": row["method"],
            "Number": title_of(row["number"], "FID"),
            "Ours": f"{row['ours']:.3g}" + ("" if row["low"] is None else f" ({row['low']:.3g} to {row['high']:.3g})"),
            "n": str(row["n"]),
            "Published": f"{row['published']:.3g}",
            "Difference": f"{row['difference']:+.3g}",
            "In our interval": {None: row["reason"] or "one seed has none", True: "yes", False: "no"}[row["within"]],
        }
        for row in found
    ]
    wide, tabulate_module.WIDE_CHARS_MODE = tabulate_module.WIDE_CHARS_MODE, False
    try:
        return str(pd.DataFrame(table).to_markdown(index=False, tablefmt="pipe", disable_numparse=True)) + "\n"
    finally:
        tabulate_module.WIDE_CHARS_MODE = wide


def _plain(method: str) -> str:
    folded = method.casefold()
    return _NAMES.get(folded, folded)
