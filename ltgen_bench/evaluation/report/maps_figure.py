"""The figure of maps (as Figures 1, 9, 10, 12 and 13 of the CORAL paper): a row a method, a column a kind of map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

POOR_MAP = 0.8  # of trustworthiness, below which a map does not preserve neighbours


@dataclass(frozen=True)
class MapPanel:
    """One map: where each image lies, float (N, 2), and how far that can be trusted."""

    method: str
    kind: str  # t-SNE, UMAP, LocalMAP
    points: NDArray[np.float32]
    trustworthiness: float

    @property
    def words(self) -> str:
        """What stands below it."""
        poor = ": a picture that does not preserve neighbours" if self.trustworthiness < POOR_MAP else ""
        return f"trustworthiness {self.trustworthiness:.2f}{poor}"


def maps_figure(
    panels: Sequence[MapPanel],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    head_to_tail: Sequence[int],
    tail: Sequence[int],
    caption: str,
) -> Any:
    """The figure. Classes are coloured from head (dark) to tail (bright); those of the tail are drawn last and larger.

    `labels` int64 (N,) of the images of every panel.
    """
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(panel.method for panel in panels))
    kinds = list(dict.fromkeys(panel.kind for panel in panels))
    figure = Figure(figsize=(3.3 * len(kinds) + 2.1, 3.35 * len(methods) + 0.9), dpi=130, layout="constrained")
    axes = figure.subplots(len(methods), len(kinds), squeeze=False)
    colours = class_colours(head_to_tail)
    for panel in panels:
        place = axes[methods.index(panel.method)][kinds.index(panel.kind)]
        for c in head_to_tail:
            rows, rare = labels == c, c in tail
            place.scatter(
                *panel.points[rows].T,
                s=9 if rare else 4,
                color=colours[c],
                alpha=0.9 if rare else 0.65,
                linewidths=0.25 if rare else 0,
                edgecolors="black" if rare else "none",
                zorder=2 + list(head_to_tail).index(c),
            )
        place.set_xticks([])
        place.set_yticks([])
        place.set_xlabel(panel.words, fontsize=7)
    for row, method in enumerate(methods):
        axes[row][0].set_ylabel(method, fontsize=9)
    for column, kind in enumerate(kinds):
        axes[0][column].set_title(kind, fontsize=9)
    _legend(figure, colours, class_names, head_to_tail, tail)
    figure.suptitle(caption, fontsize=8, x=0.01, ha="left", wrap=True)
    return figure


def class_colours(head_to_tail: Sequence[int]) -> dict[int, str]:
    """A colour a class, perceptually ordered and safe for the colour-blind (cividis without its palest end)."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    places = np.linspace(0, 0.97, max(2, len(head_to_tail)))
    return {c: to_hex(colormaps["cividis"](place)) for c, place in zip(head_to_tail, places, strict=False)}


def _legend(
    figure: Any, colours: dict[int, str], names: Sequence[str], head_to_tail: Sequence[int], tail: Sequence[int]
) -> None:
    from matplotlib.lines import Line2D

    shown = list(head_to_tail)
    if len(shown) > 12:  # ends and middle say the order
        step = max(1, len(shown) // 10)
        shown = [*shown[::step], *([shown[-1]] if shown[-1] not in shown[::step] else [])]
    handles = [
        Line2D(
            [], [], marker="o", linestyle="none", markersize=5 if c in tail else 3.5, color=colours[c],
            markeredgecolor="black" if c in tail else colours[c], markeredgewidth=0.4,
            label=f"{names[c]} (tail)" if c in tail else names[c],
        )
        for c in shown
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside right upper", fontsize=7, frameon=False, title="head to tail", title_fontsize=7
    )
