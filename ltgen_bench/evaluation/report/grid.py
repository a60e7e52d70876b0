"""A picture of samples, one row a class from head to tail, with the training count in the label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

GAP = 2  # pixels of the magnified picture between two samples
MAX_ROWS = 30  # with more classes, evenly spaced ones are shown


def sample_grid(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    class_counts: Sequence[int],
    *,
    columns: int = 12,
    title: str = "",
) -> Any:
    """Draw the first `columns` samples of every class: uint8 (N, C, H, W), labels (N,) -> a matplotlib figure.

    Rows are ordered by training count, head first. A class without samples gets an empty row that says so.
    """
    from matplotlib.figure import Figure

    order = sorted(range(len(class_names)), key=lambda index: (-class_counts[index], index))
    if len(order) > MAX_ROWS:
        order = [order[i] for i in np.linspace(0, len(order) - 1, MAX_ROWS).round().astype(int)]
    height, width = images.shape[2:]
    zoom = max(1, round(48 / height))  # whole magnification: pixels stay square and sharp
    cell_height, cell_width = height * zoom + GAP, width * zoom + GAP
    canvas = np.full((len(order) * cell_height - GAP, columns * cell_width - GAP, 3), 255, np.uint8)
    empty = []
    for row, index in enumerate(order):
        chosen = np.flatnonzero(labels == index)[:columns]
        if not len(chosen):
            empty.append(row)
        for column, image in enumerate(images[chosen]):
            rgb = np.broadcast_to(image, (3, height, width)).transpose(1, 2, 0)
            big = rgb.repeat(zoom, axis=0).repeat(zoom, axis=1)
            y, x = row * cell_height, column * cell_width
            canvas[y : y + height * zoom, x : x + width * zoom] = big
    inches = 100  # canvas pixels per inch
    label_inches = 0.4 + 0.085 * max(len(_label(class_names[i], class_counts[i])) for i in order)
    size = (canvas.shape[1] / inches + label_inches + 0.2, canvas.shape[0] / inches + 0.45)
    figure = Figure(figsize=size, dpi=inches * 1.5)
    axes = figure.add_axes(
        (
            label_inches / size[0],
            0.1 / size[1],
            canvas.shape[1] / inches / size[0],
            canvas.shape[0] / inches / size[1],
        )
    )
    axes.imshow(canvas, interpolation="nearest", extent=(0, canvas.shape[1], canvas.shape[0], 0))
    axes.set_yticks([row * cell_height + height * zoom / 2 for row in range(len(order))])
    axes.set_yticklabels([_label(class_names[i], class_counts[i]) for i in order], fontsize=9)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for row in empty:
        axes.text(4, row * cell_height + height * zoom / 2, "no samples of this class", va="center", fontsize=9)
    if title:
        figure.text(0.1 / size[0], 1 - 0.1 / size[1], title, fontsize=10, va="top")
    return figure


def _label(name: str, count: int) -> str:
    short = name if len(name) <= 24 else f"{name[:23]}…"
    return f"{short}  (n = {count:,})"
