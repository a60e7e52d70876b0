"""One table over a suite: data sets and methods, mean and standard deviation over seeds, what is missing as such."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd
import tabulate as tabulate_module

from ltgen_bench.evaluation.record import Record
from ltgen_bench.evaluation.record_files import read_record
from ltgen_bench.evaluation.report.side_by_side import COLOURS, write_side_by_side
from ltgen_bench.runs.suites.plan import PlannedRun

_MISSING = "–"
# key, title, decimals: the columns of the paper's Table 1, and the tail beside them
SUITE_COLUMNS = (
    ("fid", "{fid} ↓", 2),
    ("inception_score", "IS ↑", 2),
    ("f8", "F8 ↑", 3),
    ("recall", "Recall ↑", 3),
    ("f1_8", "F1/8 ↑", 3),
    ("groups.few.fid", "Tail {fid} ↓", 2),
)


def collect(runs: Sequence[PlannedRun]) -> list[dict[str, Any]]:
    """A row for every data set, setting and method, as JSON values: every number's values by seed, mean and deviation.

    A mean is over the seeds that are there; `n` says how many, `wanted` how many the suite has.
    """
    rows: dict[tuple[str, str, str, str], list[PlannedRun]] = {}
    for run in runs:
        protocol = run.resolved.config.protocol.name
        rows.setdefault((run.resolved.dataset.name, protocol, run.cell.method, run.settings), []).append(run)
    return [_row(key, members) for key, members in rows.items()]


def _row(key: tuple[str, str, str, str], runs: Sequence[PlannedRun]) -> dict[str, Any]:
    dataset, protocol, method, settings = key
    records = {run.cell.seed: read_record(run.folder.record) for run in runs if run.folder.record.is_file()}
    first: Record | None = next(iter(records.values()), None)
    return {
        "dataset": dataset,
        "protocol": protocol,
        "method": runs[0].resolved.method_class.title or method,
        "settings": settings,
        "label": None if first is None else first.extractors["features"].label,
        "n": len(records),
        "wanted": len(runs),
        "metrics": {name: _summary(records, name) for name, _, _ in SUITE_COLUMNS},
    }


def _summary(records: dict[int, Record], name: str) -> dict[str, Any]:
    values = {seed: value for seed, r in records.items() if (value := r.metrics.number(name)) is not None}
    numbers = list(values.values())
    return {
        "values": {str(seed): value for seed, value in values.items()},
        "mean": fmean(numbers) if numbers else None,
        "std": stdev(numbers) if len(numbers) > 1 else None,
    }


def write_pictures(folder: Path, runs: Sequence[PlannedRun], class_name: str | None) -> list[Path]:
    """Distances by class and samples of one class, all methods side by side: a folder a data set and protocol.

    More rows than there are colours, as a sweep of settings has, are no picture.
    """
    boards: dict[str, dict[str, list[tuple[Record, Path | None]]]] = {}
    for run in runs:
        if run.folder.record.is_file():
            place = f"{run.resolved.dataset.name}--{run.resolved.config.protocol.name}"
            title = " ".join(
                word for word in (run.resolved.method_class.title or run.cell.method, run.settings) if word
            )
            methods = boards.setdefault(place, {})
            methods.setdefault(title, []).append((read_record(run.folder.record), run.folder.samples))
    return [
        path
        for place, methods in boards.items()
        if len(methods) <= len(COLOURS)
        for path in write_side_by_side(folder / place, methods, class_name)
    ]


def frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The rows as shown: `mean ± deviation`, and a dash for what is not there."""
    labels = {row["label"] for row in rows if row["label"] is not None}
    label = labels.pop() if len(labels) == 1 else "distance"
    table: dict[str, list[str]] = {
        "Data set": [row["dataset"] for row in rows],
        "Method": [row["method"] for row in rows],
    }
    if any(row["settings"] for row in rows):
        table["Settings"] = [row["settings"] for row in rows]
    for name, title, decimals in SUITE_COLUMNS:
        table[title.format(fid=label)] = [_cell(row["metrics"][name], decimals) for row in rows]
    table["n"] = [str(row["n"]) if row["n"] == row["wanted"] else f"{row['n']} of {row['wanted']}" for row in rows]
    return pd.DataFrame(table)


def _cell(summary: dict[str, Any], decimals: int) -> str:
    if summary["mean"] is None:
        return _MISSING
    shown = f"{summary['mean']:.{decimals}f}"
    return shown if summary["std"] is None else f"{shown} ± {summary['std']:.{decimals}f}"


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table in Markdown."""
    wide, tabulate_module.WIDE_CHARS_MODE = tabulate_module.WIDE_CHARS_MODE, False
    try:
        shown = frame(rows).map(lambda cell: str(cell).replace("|", "\\|"))
        return str(shown.to_markdown(index=False, tablefmt="pipe", disable_numparse=True)) + "\n"
    finally:
        tabulate_module.WIDE_CHARS_MODE = wide


def as_latex(rows: Sequence[dict[str, Any]]) -> str:
    """The table as a LaTeX `tabular` with `booktabs` rules."""
    shown = frame(rows)
    body = shown.to_latex(index=False, escape=True, column_format="ll" + "r" * (len(shown.columns) - 2))
    for sign, command in (("±", r"$\pm$"), ("↓", r"$\downarrow$"), ("↑", r"$\uparrow$"), (_MISSING, "--")):
        body = body.replace(sign, command)
    return str(body)


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The numbers without rounding for the eye."""
    flat = [
        {
            **{key: row[key] for key in ("dataset", "protocol", "method", "settings", "label", "n", "wanted")},
            **{
                f"{name}.{part}": row["metrics"][name][part] for name, _, _ in SUITE_COLUMNS for part in ("mean", "std")
            },
        }
        for row in rows
    ]
    return str(pd.DataFrame(flat).to_csv(index=False, float_format="%.8g", lineterminator="\n"))
