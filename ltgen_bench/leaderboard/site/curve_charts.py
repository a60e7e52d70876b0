"""Charts of curves, as inline SVG: numbers against the scale of guidance, and precision against recall along it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ltgen_bench.evaluation.record import GuidancePoint
from ltgen_bench.leaderboard.collect import Board, Entry
from ltgen_bench.leaderboard.guidance import CURVES, CurvePoint, chosen_scales, curve
from ltgen_bench.leaderboard.ranking import Row
from ltgen_bench.leaderboard.site.charts import (
    MAX_SERIES,
    WIDTH,
    Series,
    horizontal_grid,
    point_mark,
    series_legend,
    svg,
    tick_number,
    ticks,
)

_LEFT, _RIGHT, _HEIGHT = 56, 12, 190


@dataclass(frozen=True)
class Curve:
    """A method's curve over the scale, and the scales that were chosen for its seeds."""

    name: str
    points: Sequence[CurvePoint]
    chosen: Sequence[float]


@dataclass(frozen=True)
class Path:
    """A method's (recall, precision) along the scale, ascending, and the scale of each; `chosen` as in `Curve`."""

    name: str
    points: Sequence[tuple[float, float]]
    scales: Sequence[float]
    chosen: Sequence[float]


def guidance_charts(board: Board, ordered: Sequence[Row]) -> list[tuple[str, Markup]]:
    """(heading, chart) of what the choice of guidance saw; none where the protocol does not choose."""
    entries = [row.entry for row in ordered if chosen_scales(row.entry)]
    charts = []
    for key in ("fid", "few_fid", "recall"):
        title, value = CURVES[key]
        heading = f"Guidance: {title.format(fid=board.fid_label)}"
        charts.append((heading, curve_chart(heading, [_curve(entry, value) for entry in entries])))
    heading = "Guidance: precision against recall"
    charts.append((heading, trade_off_chart(heading, [_path(entry) for entry in entries])))
    return [(heading, chart) for heading, chart in charts if chart]


def _curve(entry: Entry, value: Callable[[GuidancePoint], float | None]) -> Curve:
    return Curve(entry.method, curve(entry, value), chosen_scales(entry))


def _path(entry: Entry) -> Path:
    recall, precision = (
        {point.scale: point.mean for point in curve(entry, CURVES[key][1])} for key in ("recall", "precision")
    )
    scales = sorted(recall.keys() & precision.keys())
    return Path(entry.method, [(recall[s], precision[s]) for s in scales], scales, chosen_scales(entry))


_SCALE_AXIS = "scale of guidance w, 0 is off; the band is the range of the seeds"


def curve_chart(title: str, curves: Sequence[Curve], axis: str = _SCALE_AXIS, symbol: str = "w") -> Markup:
    """One line a method against the scale (or what `axis` and `symbol` say), its seeds' range as a band.

    At most `MAX_SERIES` lines are drawn.
    """
    drawn = [one for one in curves if one.points][:MAX_SERIES]
    if not drawn:
        return Markup("")
    values = [value for one in drawn for point in one.points for value in (point.low, point.high)]
    scales = [point.scale for one in drawn for point in one.points]
    x, y, parts, bottom = _axes([one.name for one in drawn], scales, values)
    for position, one in enumerate(drawn):
        css = f"series-{position % MAX_SERIES}"
        upper = [f"{x(point.scale):.1f},{y(point.high):.1f}" for point in one.points]
        lower = [f"{x(point.scale):.1f},{y(point.low):.1f}" for point in reversed(one.points)]
        parts.append(f'<polygon class="band {css}" points="{" ".join(upper + lower)}"/>')
        line = " ".join(f"{x(point.scale):.1f},{y(point.mean):.1f}" for point in one.points)
        parts.append(f'<polyline class="line {css}" points="{line}"/>')
        for point in one.points:
            reach = f"{tick_number(point.low)} to {tick_number(point.high)}"
            tip = f"{one.name}, {symbol} = {point.scale:g}: {tick_number(point.mean)} ({reach})"
            parts.append(point_mark(x(point.scale), y(point.mean), position, css, tip))
    parts.append(_axis_title(axis, bottom))
    return svg(bottom + 40, title, parts)


def trade_off_chart(title: str, paths: Sequence[Path]) -> Markup:
    """Precision against recall along the scale, one line a method; what was chosen is drawn with a ring."""
    paths = [path for path in paths if path.points][:MAX_SERIES]
    if not paths:
        return Markup("")
    recalls = [recall for path in paths for recall, _ in path.points]
    precisions = [precision for path in paths for _, precision in path.points]
    x, y, parts, bottom = _axes([path.name for path in paths], recalls, precisions, zero=False)
    for position, path in enumerate(paths):
        css = f"series-{position % MAX_SERIES}"
        line = " ".join(f"{x(recall):.1f},{y(precision):.1f}" for recall, precision in path.points)
        parts.append(f'<polyline class="line {css}" points="{line}"/>')
        for (recall, precision), scale in zip(path.points, path.scales, strict=True):
            seeds = sum(abs(scale - chosen) < 1e-9 for chosen in path.chosen)
            chosen = f", chosen for {seeds} of {len(path.chosen)} seeds" if seeds else ""
            tip = (
                f"{path.name}, w = {scale:g}: precision {tick_number(precision)}, recall {tick_number(recall)}{chosen}"
            )
            if seeds:
                parts.append(f'<circle class="ring {css}" cx="{x(recall):.1f}" cy="{y(precision):.1f}" r="9"/>')
            parts.append(point_mark(x(recall), y(precision), position, css, tip))
    parts.append(_axis_title("recall; upwards: precision. Rings: scales that were chosen", bottom))
    return svg(bottom + 40, title, parts)


def _axes(
    names: Sequence[str], across: Sequence[float], up: Sequence[float], zero: bool = True
) -> tuple[Callable[[float], float], Callable[[float], float], list[str], float]:
    """Where values lie, and the SVG of legend, grid and ticks."""
    legend = series_legend([Series(name, []) for name in names], _LEFT)
    top = 14 + 20 * (1 + max(row for row, _ in legend))
    bottom = float(top + _HEIGHT)
    low = 0.0 if zero and min(up) < 0.4 * max(up) else min(up)
    rows, columns = ticks(low, max(up)), ticks(min(across), max(across))

    def x(value: float) -> float:
        return _LEFT + (value - columns[0]) / max(columns[-1] - columns[0], 1e-12) * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return bottom - (value - rows[0]) / max(rows[-1] - rows[0], 1e-12) * _HEIGHT

    parts = [text for _, text in legend] + horizontal_grid(rows, y, _LEFT, _RIGHT)
    under = f'y="{bottom + 16:.1f}" text-anchor="middle"'
    parts += [f'<text class="tick" x="{x(column):.1f}" {under}>{tick_number(column)}</text>' for column in columns]
    return x, y, parts, bottom


def _axis_title(text: str, bottom: float) -> str:
    return f'<text class="tick quiet" x="{WIDTH / 2}" y="{bottom + 34:.1f}" text-anchor="middle">{text}</text>'
