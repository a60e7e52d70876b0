"""A comparison (`side_by_side.compare`) as files for papers and spreadsheets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ltgen_bench.evaluation.report.tables import SCALES, number, title_of
from ltgen_bench.leaderboard import text

LATEX_METRICS = ("fid", "few.fid", "recall", "precision", "label_accuracy", "few.label_accuracy")


def _columns(result: Mapping[str, Any]) -> list[str]:
    """The columns that fit a page; all of them where somebody chose his own."""
    here = list(result["methods"][0]["metrics"])
    usual = [name for name in LATEX_METRICS if name in here]
    return here if len(here) <= len(LATEX_METRICS) else usual


def comparison_csv(result: Mapping[str, Any]) -> str:
    """One line for each method and metric that has a value: mean, deviation, difference to the first, its interval."""
    lines = []
    for row in result["methods"]:
        name = str(row["method"])
        for metric, value in row["metrics"].items():
            if value["mean"] is None:
                continue
            difference = value["difference"] or {}
            lines.append(
                {
                    "dataset": result["dataset"],
                    "protocol": result["protocol"],
                    "method": text.csv(name),
                    "n": len(row["seeds"]),
                    "metric": metric,
                    "mean": value["mean"],
                    "std": value["std"],
                    "difference": difference.get("mean"),
                    "low": difference.get("low"),
                    "high": difference.get("high"),
                    "beyond_noise": difference.get("beyond_noise"),
                }
            )
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n", float_format="%.8g")


def comparison_latex(result: Mapping[str, Any]) -> str:
    """A `tabular` with `booktabs` rules, one line a method and the columns that fit a page; * is beyond noise."""
    names = [
        name for name in _columns(result) if any(row["metrics"][name]["mean"] is not None for row in result["methods"])
    ]
    lines = []
    for row in result["methods"]:
        cells = [text.latex(str(row["method"]))]
        for name in names:
            value, scale = row["metrics"][name], SCALES.get(name.rpartition(".")[2], 1.0)
            if value["mean"] is None:
                cells.append("--")
                continue
            spread = "" if value["std"] is None else rf" $\pm$ {number(value['std'], scale)}"
            beyond = "*" if (value["difference"] or {}).get("beyond_noise") else ""
            cells.append(f"{number(value['mean'], scale)}{spread}{beyond}")
        lines.append(cells)
    titles = ["Method", *(text.latex(title_of(name, result["label"])) for name in names)]
    body = pd.DataFrame(lines, columns=titles).to_latex(index=False, escape=False, column_format="l" + "r" * len(names))
    first = text.latex(result["baseline"])
    head = (
        f"% {result['dataset']}, protocol {result['protocol']}; * differs from {first} beyond noise\n"
        "% made by ltgen-bench compare; needs \\usepackage{booktabs}\n"
    )
    return head + body
