"""Numbers against a sampling setting: the curve behind a chosen guidance scale, and sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PANELS = (
    ("fid", "{label} (lower is better)"),
    ("few_fid", "tail {label} (lower is better)"),
    ("precision", "precision (higher is better)"),
    ("recall", "recall (higher is better)"),
    ("label_accuracy", "label accuracy (higher is better)"),
)


def curves_figure(
    rows: Sequence[Mapping[str, Any]],
    x: str,
    *,
    title: str,
    label: str,
    x_title: str,
    chosen: float | None = None,
    starred: bool = False,
) -> Any:
    """A panel for every number of `PANELS` that some row has, against `row[x]`; the chosen value is marked.

    `starred` marks the best value of every panel.

    Values of `x` that are words stand in the order of the rows.
    """
    from matplotlib.figure import Figure

    panels = [(key, text) for key, text in PANELS if any(row.get(key) is not None for row in rows)]
    columns = min(3, max(1, len(panels)))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.1 * lines + 0.4), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=11, ha="left", x=0.01)
    for number, (key, text) in enumerate(panels):
        axes = figure.add_subplot(lines, columns, number + 1)
        points = [(row[x], row[key]) for row in rows if row.get(key) is not None]
        words = any(isinstance(value, str | bool) for value, _ in points)
        places = [str(value) if words else value for value, _ in points]
        axes.plot(places, [value for _, value in points], marker="o", markersize=4, color="#3b6fb6")
        if chosen is not None:
            mark = [value for place, value in points if place == chosen]
            axes.plot([chosen] * len(mark), mark, marker="o", markersize=8, color="#c8553d", linestyle="none")
        if starred and points:
            pick = min if "lower" in text else max
            best = pick(range(len(points)), key=lambda index, of=points: of[index][1])  # type: ignore[misc]
            axes.plot([places[best]], [points[best][1]], marker="*", markersize=13, color="#c8553d", linestyle="none")
        axes.set_title(text.format(label=label), fontsize=9, loc="left")
        axes.set_xlabel(x_title, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    return figure
