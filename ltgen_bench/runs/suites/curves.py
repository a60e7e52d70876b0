"""Numbers against a setting that a suite varies, everything else equal (Figure 8 of the CORAL paper)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ltgen_bench.core.storage import sha256_json
from ltgen_bench.evaluation.record_files import read_record
from ltgen_bench.evaluation.report.curves import curves_figure
from ltgen_bench.evaluation.report.saving import save_figure
from ltgen_bench.runs.suites.plan import PlannedRun

_FEWEST = 3  # values that make a curve
_NUMBERS = {
    "fid": "fid",
    "few_fid": "groups.few.fid",
    "precision": "precision",
    "recall": "recall",
    "label_accuracy": "label_accuracy",
}


@dataclass(frozen=True)
class SettingCurve:
    """One method on one data set against one key: means over seeds by its value, ascending."""

    dataset: str
    protocol: str
    method: str
    key: str
    label: str  # what the distance is called
    rows: list[dict[str, Any]]


def setting_curves(runs: Sequence[PlannedRun]) -> list[SettingCurve]:
    """A curve for every key that takes three numbers or more among finished runs that agree in everything else."""
    keys = list(dict.fromkeys(key for run in runs for key in run.cell.settings))
    found = []
    for key in keys:
        groups: dict[tuple[str, str, str, str], list[tuple[float, PlannedRun]]] = {}
        for run in runs:
            if (place := _without(run, key)) is not None and run.folder.record.is_file():
                rest, value = place
                title = run.resolved.method_class.title or run.cell.method
                where = (run.resolved.dataset.name, run.resolved.config.protocol.name, title, rest)
                groups.setdefault(where, []).append((value, run))
        for (dataset, protocol, method, _), members in groups.items():
            if len({value for value, _ in members}) >= _FEWEST:
                label, rows = _rows(key, members)
                found.append(SettingCurve(dataset, protocol, method, key, label, rows))
    return found


def write_curves(folder: Path, runs: Sequence[PlannedRun]) -> list[Path]:
    """Write each curve as a figure, the best value of a panel starred; their paths."""
    written = []
    for curve in setting_curves(runs):
        figure = curves_figure(
            curve.rows,
            curve.key,
            title=f"{curve.method} on {curve.dataset}, {curve.protocol}, against {curve.key}",
            label=curve.label,
            x_title=curve.key,
            starred=True,
        )
        path = folder / f"{curve.dataset}--{curve.protocol}" / f"{curve.method.lower()}-against-{curve.key}.png"
        save_figure(figure, path)
        written.append(path)
    return written


def _without(run: PlannedRun, key: str) -> tuple[str, float] | None:
    """What a run is but for one key and the seed, as a hash, and the number that the key has; None for words."""
    *path, name = key.split(".")
    identity = copy.deepcopy(run.resolved.config.identity())
    part: Any = identity
    for step in path:
        part = part.get(step) if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(part.get(name), (int, float)) or isinstance(part.get(name), bool):
        return None
    # a scale that was asked for makes the protocol a custom one, and says nothing else
    value = float(part.pop(name))
    return sha256_json(identity), value


def _rows(key: str, members: Sequence[tuple[float, PlannedRun]]) -> tuple[str, list[dict[str, Any]]]:
    rows, label = [], ""
    for value in sorted({value for value, _ in members}):
        records = [read_record(run.folder.record) for own, run in members if own == value]
        label = records[0].extractors["features"].label
        row: dict[str, Any] = {key: value, "seeds": len(records)}
        for name, number in _NUMBERS.items():
            values = [found for record in records if (found := record.metrics.number(number)) is not None]
            row[name] = fmean(values) if values else None
        rows.append(row)
    return label, rows
