"""Separation of the classes against the noise level, one line a method of a board."""

from __future__ import annotations

from statistics import fmean

from markupsafe import Markup

from ltgen_bench.leaderboard.collect import Board, Entry
from ltgen_bench.leaderboard.guidance import CurvePoint
from ltgen_bench.leaderboard.site.curve_charts import Curve, curve_chart

_CHARTS = (
    ("knn_purity", "all", "Neighbours of the same class, all classes"),
    ("knn_purity", "few", "Neighbours of the same class, tail"),
    ("probe_accuracy", "all", "Linear probe, all classes"),
)
_AXIS = "noise level t; the band is the range of the seeds"


def separation_charts(board: Board) -> list[tuple[str, Markup]]:
    """(heading, chart); none where no record of the board has such numbers of balanced images without their class."""
    charts = []
    for metric, group, heading in _CHARTS:
        curves = [Curve(entry.method, _points(entry, metric, group), ()) for entry in board.entries]
        curves = [one for one in curves if one.points]
        if curves:
            charts.append((heading, curve_chart(heading, curves, _AXIS, "t")))
    return charts


def _points(entry: Entry, metric: str, group: str) -> list[CurvePoint]:
    """Mean and range over seeds at every noise level that all seeds with such numbers have."""
    seeds = []
    for record in entry.records.values():
        values = {
            point.t: point.value
            for point in record.separation or []
            if (point.metric, point.group, point.label, point.images) == (metric, group, "withheld", "reference")
            and point.noise
            and point.value is not None
        }
        if values:
            seeds.append(values)
    if not seeds:
        return []
    shared = sorted(set.intersection(*(set(values) for values in seeds)))
    return [CurvePoint(t, fmean(of := [values[t] for values in seeds]), min(of), max(of)) for t in shared]
