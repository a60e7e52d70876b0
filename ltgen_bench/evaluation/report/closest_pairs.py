"""The closest pairs of generated and training images (the CORAL paper's Figure 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_PAIRS_A_ROW = 12


def closest_pairs_figure(
    generated: np.ndarray,
    training: np.ndarray,
    training_labels: np.ndarray,
    memorisation: Mapping[str, Mapping[str, Any]],
    class_names: Sequence[str],
) -> Any:
    """For each space ("features", "pixels") the closest pairs: training image above, generated image below.

    Both image arrays are uint8 (n, C, H, W); `memorisation` is that of a record. Returns a matplotlib figure.
    """
    import matplotlib.pyplot as plt

    spaces = [space for space in memorisation if memorisation[space].get("closest_pairs")]
    blocks = max(1, len(spaces))
    # The two rows of a pair stand close together; an empty row parts the spaces.
    figure, axes = plt.subplots(
        3 * blocks - 1,
        _PAIRS_A_ROW,
        figsize=(_PAIRS_A_ROW * 0.8 + 1, 2.1 * blocks + 0.3),
        height_ratios=[1, 1, 0.35] * (blocks - 1) + [1, 1],
        squeeze=False,
        dpi=150,
    )
    for place in axes[2::3].flat:
        place.set_axis_off()
    for block, space in enumerate(spaces):
        found, row = memorisation[space], 3 * block
        pairs = found["closest_pairs"][:_PAIRS_A_ROW]
        for column in range(_PAIRS_A_ROW):
            upper, lower = axes[row, column], axes[row + 1, column]
            for place in (upper, lower):
                place.set_xticks([])
                place.set_yticks([])
                for spine in place.spines.values():
                    spine.set_visible(False)
            if column >= len(pairs):
                continue
            ours, theirs = pairs[column]
            _show(upper, training[theirs])
            _show(lower, generated[ours])
            upper.set_title(class_names[training_labels[theirs]][:10], fontsize=7, pad=2)
            for spine in lower.spines.values():
                spine.set_visible(True)
                spine.set_color("#c2185b")
                spine.set_linewidth(1.2)
        axes[row, 0].set_ylabel(f"by {space}:\ntraining", fontsize=7, rotation=0, ha="right", va="center")
        axes[row + 1, 0].set_ylabel("generated", fontsize=7, rotation=0, ha="right", va="center")
    shares = [
        f"{100 * memorisation[space]['fraction']:.1f} % by {space}"
        for space in spaces
        if memorisation[space].get("fraction") is not None
    ]
    text = "the samples nearest to a training image, nearest first"
    if shares:
        text += f"; share of samples that are suspiciously near: {', '.join(shares)}"
    figure.suptitle(text, fontsize=8, x=0.01, ha="left", y=0.99)
    figure.subplots_adjust(left=0.1, right=0.99, bottom=0.02, top=0.88, wspace=0.1, hspace=0.06)
    return figure


def _show(axes: Any, image: np.ndarray) -> None:
    axes.imshow(np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0), interpolation="nearest")
