"""The closest pairs of generated and training images (the CORAL paper's Figure 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_PAIRS_A_ROW = 12
_FRAME = 2  # pixels of the magnified picture, around a generated image
_GAP = 8  # between two pairs
_TITLE = 22  # above a training image, for its class
_FRAME_COLOUR = (194, 24, 91)
_INCH = 100  # pixels of the magnified picture


def closest_pairs_figure(
    generated: np.ndarray,
    training: np.ndarray,
    training_labels: np.ndarray,
    memorisation: Mapping[str, Mapping[str, Any]],
    class_names: Sequence[str],
) -> Any:
    """For each space ("features", "pixels") the closest pairs: training image above, generated image below, framed.

    Both image arrays are uint8 (n, C, H, W); `memorisation` is that of a record. Returns a matplotlib figure: one
    picture with words on it, because a set of axes for every image takes matplotlib seconds.
    """
    from matplotlib.figure import Figure

    spaces = [space for space in memorisation if memorisation[space].get("closest_pairs")]
    zoom = max(1, round(72 / generated.shape[2]))
    height, width = (zoom * size for size in generated.shape[2:])
    block = _TITLE + 2 * height + 3 * _FRAME
    canvas = np.full((max(1, len(spaces)) * block, _PAIRS_A_ROW * (width + _GAP), 3), 255, np.uint8)
    sides = canvas.shape[1] / _INCH + 1.1, canvas.shape[0] / _INCH + 0.35
    figure = Figure(figsize=sides, dpi=1.5 * _INCH)
    axes = figure.add_axes(
        (1.0 / sides[0], 0.05 / sides[1], canvas.shape[1] / _INCH / sides[0], canvas.shape[0] / _INCH / sides[1])
    )
    for row, space in enumerate(spaces):
        top = row * block + _TITLE
        below = top + height + 2 * _FRAME
        for column, (ours, theirs) in enumerate(memorisation[space]["closest_pairs"][:_PAIRS_A_ROW]):
            left = column * (width + _GAP) + _FRAME
            canvas[top : top + height, left : left + width] = _enlarged(training[theirs], zoom)
            canvas[below - _FRAME : below + height + _FRAME, left - _FRAME : left + width + _FRAME] = _FRAME_COLOUR
            canvas[below : below + height, left : left + width] = _enlarged(generated[ours], zoom)
            name = class_names[training_labels[theirs]][:10]
            axes.text(left + width / 2, top - 3, name, fontsize=7, ha="center", va="bottom")
        axes.text(-8, top + height / 2, f"by {space}:\ntraining", fontsize=7, ha="right", va="center")
        axes.text(-8, below + height / 2, "generated", fontsize=7, ha="right", va="center")
    axes.imshow(canvas, interpolation="nearest", extent=(0, canvas.shape[1], canvas.shape[0], 0))
    axes.set_axis_off()
    figure.text(0.1 / sides[0], 1 - 0.1 / sides[1], _words(spaces, memorisation), fontsize=8, va="top")
    return figure


def _words(spaces: Sequence[str], memorisation: Mapping[str, Mapping[str, Any]]) -> str:
    shares = [
        f"{100 * memorisation[space]['fraction']:.1f} % by {space}"
        for space in spaces
        if memorisation[space].get("fraction") is not None
    ]
    text = "the samples nearest to a training image, nearest first"
    if shares:
        text += f"; share of samples that are suspiciously near: {', '.join(shares)}"
    return text


def _enlarged(image: np.ndarray, zoom: int) -> np.ndarray:
    """(C, H, W) as RGB (zoom H, zoom W, 3)."""
    rgb = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    big: np.ndarray = rgb.repeat(zoom, axis=0).repeat(zoom, axis=1)
    return big
