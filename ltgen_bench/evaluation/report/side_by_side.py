"""Several methods side by side: distances by class (the CORAL paper's Figure 3), one class's samples (Figure 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltgen_bench.core.errors import ConfigError, did_you_mean
from ltgen_bench.evaluation.record import Record
from ltgen_bench.evaluation.report.saving import save_figure
from ltgen_bench.evaluation.samples import read_samples

COLOURS = ("#3b6fb6", "#c8553d", "#5a9e6f", "#8a6bb1", "#c99a2e", "#4aa5b5", "#b0578a", "#8a8a8a")
_MAX_CLASSES = 40  # more are drawn as means of neighbouring ones
_GRID = 8  # samples a side

Methods = Mapping[str, Sequence[tuple[Record, Path | None]]]  # title -> records with their samples, by seed


def write_side_by_side(folder: Path, methods: Methods, class_name: str | None) -> list[Path]:
    """Write `per-class.png` and, where samples are there, `class-<name>.png` of one class (the rarest); their paths.

    Unconditional samples belong to no class and are left out. Raises ConfigError for a class that is none, and where
    no method is left.
    """
    methods = {title: found for title, found in methods.items() if found[0][0].samples.labelled}
    if not methods:
        raise ConfigError("none of the records is of samples with classes: there is nothing to show by class")
    first = next(iter(methods.values()))[0][0]
    counts = first.dataset.class_counts
    index = int(np.argmin(counts)) if class_name is None else _class_index(first, class_name)
    figures = {"per-class.png": per_class_figure(methods)}
    if (grids := class_grids(methods, index)) is not None:
        figures[f"class-{index}.png"] = grids
    written = []
    for name, figure in figures.items():
        save_figure(figure, folder / name)
        written.append(folder / name)
    return written


def _class_index(record: Record, name: str) -> int:
    names = record.dataset.class_names
    if name in names:
        return names.index(name)
    if name.isdigit() and int(name) < len(names):
        return int(name)
    raise ConfigError(f"data set {record.dataset.name} has no class {name!r}; {did_you_mean(name, names)}")


def per_class_figure(methods: Methods, key: str = "fid") -> Any:
    """Grouped bars, one a method, over the classes from head to tail; means over seeds, whose range is a line."""
    from matplotlib.figure import Figure

    first = next(iter(methods.values()))[0][0]
    dataset, label = first.dataset, first.extractors["features"].label
    order = sorted(range(len(dataset.class_counts)), key=lambda c: (-dataset.class_counts[c], c))
    bins = [list(part) for part in np.array_split(np.array(order), min(len(order), _MAX_CLASSES))]
    figure = Figure(figsize=(max(7.0, 0.62 * len(bins) + 1.5), 3.8), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    width = 0.84 / len(methods)
    for number, (title, records) in enumerate(methods.items()):
        values = np.array([_of_bins(record, key, bins) for record, _ in records])  # (seeds, bins)
        places = np.arange(len(bins)) + (number - (len(methods) - 1) / 2) * width
        mean = values.mean(axis=0)
        reach = np.stack([mean - values.min(axis=0), values.max(axis=0) - mean]) if len(values) > 1 else None
        colour = COLOURS[number % len(COLOURS)]
        axes.bar(places, mean, width, yerr=reach, color=colour, label=title, error_kw={"linewidth": 0.8})
    axes.set_xticks(range(len(bins)), [_bin_name(first, part) for part in bins], fontsize=7, rotation=45, ha="right")
    axes.set_ylabel(f"{label} of the class (lower is better)", fontsize=9)
    axes.set_title(f"{dataset.name}: by class, head to tail; lines: range of the seeds", fontsize=10, loc="left")
    figure.legend(loc="outside lower left", fontsize=8, frameon=False, ncols=min(4, len(methods)))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _of_bins(record: Record, key: str, bins: Sequence[Sequence[int]]) -> list[float]:
    values = record.metrics.per_class.lists.get(key) or [None] * len(record.dataset.class_names)
    found = []
    for part in bins:
        present = [values[c] for c in part if values[c] is not None]
        found.append(float(np.mean(present)) if present else float("nan"))
    return found


def _bin_name(record: Record, part: Sequence[int]) -> str:
    names, counts = record.dataset.class_names, record.dataset.class_counts
    if len(part) == 1:
        return f"{names[part[0]][:14]} ({counts[part[0]]:,})"
    return f"{counts[part[0]]:,} to {counts[part[-1]]:,}"


def class_grids(methods: Methods, index: int) -> Any | None:
    """One class's first samples, a grid a method, side by side; None where nobody's samples are there."""
    from matplotlib.figure import Figure

    grids = {}
    for title, records in methods.items():
        file = next((path for _, path in records if path is not None and path.is_file()), None)
        if file is None:
            continue
        samples = read_samples(file)
        assert samples.labels is not None  # asked for with labels
        own = samples.images[samples.labels == index][: _GRID**2]
        if len(own):
            grids[title] = own
    if not grids:
        return None
    first = next(iter(methods.values()))[0][0]
    figure = Figure(figsize=(3.0 * len(grids) + 0.2, 3.4), dpi=110, layout="constrained")
    for number, (title, images) in enumerate(grids.items()):
        axes = figure.add_subplot(1, len(grids), number + 1)
        axes.imshow(_tiled(images), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    name, count = first.dataset.class_names[index], first.dataset.class_counts[index]
    figure.suptitle(f"{first.dataset.name}, class {name} ({count:,} training images): first samples", fontsize=10)
    return figure


def _tiled(images: np.ndarray) -> np.ndarray:
    """uint8 (n, C, H, W) as one picture of `_GRID` columns with gaps, two axes or three with the channels last."""
    gap = max(1, images.shape[-1] // 16)
    images = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=128)
    rows = -(-len(images) // _GRID)
    _, channels, height, width = images.shape
    canvas = np.full((rows * _GRID, channels, height, width), 128, np.uint8)
    canvas[: len(images)] = images
    tiles = canvas.reshape(rows, _GRID, channels, height, width).transpose(0, 3, 1, 4, 2)
    picture = tiles.reshape(rows * height, _GRID * width, channels)
    return picture[..., 0] if channels == 1 else picture
