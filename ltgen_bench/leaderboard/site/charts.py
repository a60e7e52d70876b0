"""Charts as inline SVG: no script, colours from the page's style sheet, so that they follow light and dark mode.

Every text passes through `escape`; every chart has a title for screen readers, and the page has its numbers as a table.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from ltgen_bench.core.choices import Group

MAX_SERIES = 8  # lines that can still be told apart
MAX_CLASS_LABELS = 24
MAX_POINTS = 60  # more classes are drawn as means of neighbouring ones
WIDTH = 520
_MARKS = 8


@dataclass(frozen=True)
class Series:
    """One line of a chart: a name and a value per class, None where nothing was computed."""

    name: str
    values: Sequence[float | None]


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`."""
    span = max(high - low, 1e-12)
    step = 10 ** math.floor(math.log10(span / wanted))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def tick_number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def _short(name: str, length: int = 18) -> str:
    # Names of one family differ at their ends, so what is left out lies in the middle.
    half = length // 2
    return name if len(name) <= length else f"{name[: length - half - 1].rstrip()}…{name[-half:].lstrip()}"


def svg(height: float, title: str, parts: list[str], width: int = WIDTH) -> Markup:
    """A chart of `height`, with its title for screen readers."""
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width} {height:.0f}" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def head_tail_chart(title: str, rows: Sequence[tuple[str, dict[Group, float | None]]]) -> Markup:
    """One line a method with a mark for head, medium and tail: how far a method falls off towards the tail.

    `rows`: (method, group -> value). The axis holds every value, and 0 only where it is near.
    """
    rows = [row for row in rows if any(value is not None for value in row[1].values())]  # unconditional ones have none
    values = [value for _, groups in rows for value in groups.values() if value is not None]
    if not values:
        return Markup("")
    left, right, top, line = 140, 20, 46, 26
    low, high = min(values), max(values)
    marks = ticks(0.0 if low < 0.4 * high else low, high)
    scale = (WIDTH - left - right) / max(marks[-1] - marks[0], 1e-12)

    def x(value: float) -> float:
        return left + (value - marks[0]) * scale

    bottom = top + line * len(rows)
    parts = _legend_of_groups(left)
    for mark in marks:
        parts.append(f'<line class="grid" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{top - 8}" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{x(mark):.1f}" y="{bottom + 16}" text-anchor="middle">{tick_number(mark)}</text>'
        )
    for index, (name, groups) in enumerate(rows):
        y = top + line * index + line / 2 - 4
        present = [value for value in (groups.get(group) for group in Group) if value is not None]
        parts.append(
            f'<text class="label" x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(_short(name))}'
            f"<title>{escape(name)}</title></text>"
        )
        if present:
            parts.append(
                f'<line class="bond" x1="{x(min(present)):.1f}" x2="{x(max(present)):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        for position, group in enumerate(Group):
            value = groups.get(group)
            if value is not None:
                tip = f"{name}, {group.position}: {tick_number(value)}"
                parts.append(point_mark(x(value), y, position, f"group-{group}", tip))
    return svg(bottom + 26, title, parts)


def _legend_of_groups(left: float) -> list[str]:
    parts = []
    for position, group in enumerate(Group):
        at = left + 90 * position
        parts.append(point_mark(at + 6, 14, position, f"group-{group}", ""))
        parts.append(f'<text class="label" x="{at + 18}" y="18">{group.position}</text>')
    return parts


def point_mark(x: float, y: float, shape: int, css: str, tip: str) -> str:
    """A mark whose shape says as much as its colour."""
    r = 5
    side = 2 * r - 1
    shapes = (
        f'<circle class="mark {css}" cx="{x:.1f}" cy="{y:.1f}" r="{r}">',
        f'<rect class="mark {css}" x="{x - r + 0.5:.1f}" y="{y - r + 0.5:.1f}" width="{side}" height="{side}">',
        f'<path class="mark {css}" d="M{x:.1f} {y - r - 1:.1f}l{r + 1} {2 * r}h-{2 * r + 2}z">',
        f'<path class="mark {css}" d="M{x:.1f} {y - r - 1:.1f}l{r + 1} {r + 1}l-{r + 1} {r + 1}l-{r + 1}-{r + 1}z">',
    )
    opened = shapes[shape % len(shapes)]
    name = opened[1 : opened.index(" ")]
    return f"{opened}<title>{escape(tip)}</title></{name}>" if tip else f"{opened}</{name}>"


def horizontal_grid(marks: Sequence[float], y: Callable[[float], float], left: float, right: float) -> list[str]:
    """A line over the chart at every mark, with its number at the left."""
    parts = []
    for at in marks:
        parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH - right}" y1="{y(at):.1f}" y2="{y(at):.1f}"/>')
        parts.append(
            f'<text class="tick" x="{left - 8}" y="{y(at) + 4:.1f}" text-anchor="end">{tick_number(at)}</text>'
        )
    return parts


def class_chart(title: str, series: Sequence[Series], names: Sequence[str], counts: Sequence[int]) -> Markup:
    """One line a method over the classes from head to tail: names and training counts in that order below.

    At most `MAX_SERIES` lines are drawn. More than `MAX_POINTS` classes become means of neighbouring ones.
    """
    series = list(series)[:MAX_SERIES]
    drawn, labels = _binned(series, names, counts)
    values = [value for line in drawn for value in line.values if value is not None]
    if not values:
        return Markup("")
    left, right, height = 56, 12, 190
    legend = series_legend(series, left)
    top = 14 + 20 * (1 + max(row for row, _ in legend))
    marks = ticks(min(0.0, *values), max(values))
    bottom = top + height
    step = (WIDTH - left - right) / max(1, len(labels))

    def x(index: int) -> float:
        return left + step * (index + 0.5)

    def y(value: float) -> float:
        return bottom - (value - marks[0]) / max(marks[-1] - marks[0], 1e-12) * height

    parts = [text for _, text in legend]
    parts += horizontal_grid(marks, y, left, right)
    for position, line in enumerate(drawn):
        points = [(x(i), y(value)) for i, value in enumerate(line.values) if value is not None]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline class="line series-{position % _MARKS}" points="{path}"/>')
        for index, value in enumerate(line.values):
            if value is not None:
                tip = f"{line.name}, {labels[index][0]}: {tick_number(value)}"
                parts.append(point_mark(x(index), y(value), position, f"series-{position % _MARKS}", tip))
    parts += _class_labels(labels, x, bottom)
    return svg(bottom + 54, title, parts)


def series_legend(series: Sequence[Series], left: float) -> list[tuple[int, str]]:
    """(row, SVG) of every entry, wrapped where the chart ends."""
    found, at, row = [], float(left), 0
    for position, line in enumerate(series):
        name = _short(line.name, 24)
        width = 32 + 7.4 * len(name)
        if at + width > WIDTH and at > left:
            at, row = float(left), row + 1
        y = 12 + 20 * row
        css = f"series-{position % _MARKS}"
        text = f'<text class="label" x="{at + 18:.1f}" y="{y + 4}">{escape(name)}</text>'
        found.append((row, point_mark(at + 6, y, position, css, line.name) + text))
        at += width
    return found


def _binned(
    series: Sequence[Series], names: Sequence[str], counts: Sequence[int]
) -> tuple[list[Series], list[tuple[str, str]]]:
    """Series and (name, count) labels, as they are or averaged over neighbouring classes."""
    classes = len(names)
    if classes <= MAX_POINTS:
        return list(series), [(name, f"{count:,}") for name, count in zip(names, counts, strict=True)]
    bins = 25
    edges = [round(classes * index / bins) for index in range(bins + 1)]
    spans = list(itertools.pairwise(edges))

    def mean(values: Sequence[float | None]) -> float | None:
        present = [value for value in values if value is not None]
        return sum(present) / len(present) if present else None

    return (
        [Series(line.name, [mean(line.values[a:b]) for a, b in spans]) for line in series],
        [(f"classes {a + 1} to {b}", f"{sum(counts[a:b]) / (b - a):,.0f}") for a, b in spans],
    )


def _class_labels(labels: Sequence[tuple[str, str]], x: object, bottom: float) -> list[str]:
    assert callable(x)
    every = max(1, math.ceil(len(labels) / MAX_CLASS_LABELS))
    parts = []
    for index in range(0, len(labels), every):
        name, count = labels[index]
        if not name.startswith("classes "):
            length = max(3, int(WIDTH / max(1, len(labels) / every) / 8))
            parts.append(
                f'<text class="tick" x="{x(index):.1f}" y="{bottom + 16:.1f}" text-anchor="middle">'
                f"{escape(_short(name, length))}<title>{escape(name)}</title></text>"
            )
        parts.append(
            f'<text class="tick quiet" x="{x(index):.1f}" y="{bottom + 31:.1f}" text-anchor="middle">'
            f"{escape(count)}</text>"
        )
    parts.append(
        f'<text class="tick quiet" x="{WIDTH / 2}" y="{bottom + 48:.1f}" text-anchor="middle">'
        "classes from head to tail, with their numbers of training images</text>"
    )
    return parts


def class_bars(
    title: str,
    values: Sequence[float | None],
    names: Sequence[str],
    counts: Sequence[int],
    groups: Sequence[str],
    floor: Sequence[float | None] | None = None,
) -> Markup:
    """One bar a class from head to tail, coloured by group; `floor` as a line over each bar (real against real)."""
    drawn, labels = _binned([Series("", values), Series("", floor or [None] * len(names))], names, counts)
    present = [value for line in drawn for value in line.values if value is not None]
    if not present:
        return Markup("")
    left, right, top, height = 56, 12, 34, 150
    marks = ticks(min(0.0, *present), max(*present, 1e-9))
    bottom = top + height
    step = (WIDTH - left - right) / len(labels)
    of_bin = [groups[round(index * len(groups) / len(labels))] for index in range(len(labels))]

    def x(index: int) -> float:
        return left + step * (index + 0.5)

    def y(value: float) -> float:
        return bottom - (value - marks[0]) / max(marks[-1] - marks[0], 1e-12) * height

    parts = _legend_of_groups(left)
    parts += horizontal_grid(marks, y, left, right)
    for index, value in enumerate(drawn[0].values):
        if value is None:
            parts.append(f'<text class="tick quiet" x="{x(index):.1f}" y="{bottom - 4}" text-anchor="middle">–</text>')
            continue
        tip = f"{labels[index][0]}: {tick_number(value)}"
        parts.append(
            f'<rect class="bar group-{of_bin[index]}" x="{x(index) - step * 0.38:.1f}" y="{y(max(value, 0)):.1f}" '
            f'width="{step * 0.76:.1f}" height="{abs(y(value) - y(0)):.1f}"><title>{escape(tip)}</title></rect>'
        )
    for index, value in enumerate(drawn[1].values):
        if value is not None:
            at = f'x1="{x(index) - step * 0.38:.1f}" x2="{x(index) + step * 0.38:.1f}"'
            parts.append(
                f'<line class="floor" {at} y1="{y(value):.1f}" y2="{y(value):.1f}">'
                f"<title>real against real: {tick_number(value)}</title></line>"
            )
    parts += _class_labels(labels, x, bottom)
    return svg(bottom + 54, title, parts)
