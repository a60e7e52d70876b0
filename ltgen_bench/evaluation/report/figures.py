"""The pictures of a run: samples by class, and metrics by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltgen_bench.core.choices import Group
from ltgen_bench.datasets import ImageSet
from ltgen_bench.evaluation.record import DatasetPart, Record
from ltgen_bench.evaluation.report.closest_pairs import closest_pairs_figure
from ltgen_bench.evaluation.report.curves import curves_figure
from ltgen_bench.evaluation.report.grid import sample_grid
from ltgen_bench.evaluation.report.saving import save_figure
from ltgen_bench.evaluation.samples import Samples

GROUP_COLOURS = {Group.MANY: "#3b6fb6", Group.MEDIUM: "#8a8a8a", Group.FEW: "#c8553d"}
UNCONDITIONAL_ROWS = 8
MAX_LABELS = 40  # class names below the bars; more would not be readable


def write_figures(folder: Path, record: Record, samples: Samples, training: ImageSet) -> list[Path]:
    """Write `samples.png`, `per-class.png` and `closest-pairs.png`; returns their paths.

    Unconditional samples have no classes: they are shown as they come, and there is no figure by class.
    """
    dataset, memorisation = record.dataset, record.metrics.memorisation
    order = "unconditional" if samples.labels is None else "head to tail (n: training images)"
    title = f"{record.method.title or record.method.name} on {dataset.name}: samples, {order}"
    if samples.labels is not None:
        grid = sample_grid(samples.images, samples.labels, dataset.class_names, dataset.class_counts, title=title)
        figures: dict[str, Any] = {"samples.png": grid, "per-class.png": per_class_bars(record)}
    else:
        rows = np.arange(len(samples)) % UNCONDITIONAL_ROWS
        names = ["any class"] * UNCONDITIONAL_ROWS
        figures = {
            "samples.png": sample_grid(samples.images, rows, names, [dataset.total] * UNCONDITIONAL_ROWS, title=title)
        }
    if memorisation:
        figures["closest-pairs.png"] = closest_pairs_figure(
            samples.images, training.images, training.labels, memorisation, dataset.class_names
        )
    if record.guidance is not None:
        figures["guidance.png"] = curves_figure(
            [point.model_dump() for point in record.guidance.curve],
            "guidance_scale",
            title=f"{record.method.title or record.method.name} on {dataset.name}: the choice of guidance",
            label=record.extractors["features"].label,
            x_title="w, 0 is off",
            chosen=record.guidance.guidance_scale,
        )
    written = []
    for name, figure in figures.items():
        path = folder / name
        save_figure(figure, path)
        written.append(path)
    return written


def _floor_label(per_class: Mapping[str, Sequence[Any]]) -> str:
    """What the floor marks are; their distance is too large where they rest on fewer images than the bars."""
    sizes = [int(n) for n in per_class.get("fid_floor_n") or [] if n is not None]
    if not sizes:
        return "real against real"
    low, high = min(sizes), max(sizes)
    return f"real against real: {low:,}" + ("" if low == high else f" to {high:,}") + " images against the others"


def per_class_bars(record: Record) -> Any:
    """Per-class Frechet distance and, where known, recall and label accuracy; classes ordered head to tail."""
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure and the whole process in one state
    from matplotlib.patches import Patch

    dataset, metrics = record.dataset, record.metrics
    per_class = metrics.per_class.lists
    label = record.extractors["features"].label
    rows = [("fid", f"{label} per class (lower is better)"), ("recall", "recall per class (higher is better)")]
    rows.append(("label_accuracy", "label accuracy per class (higher is better)"))
    rows = [(key, text) for key, text in rows if any(value is not None for value in per_class.get(key, []))]
    classes = len(dataset.class_names)
    order = sorted(range(classes), key=lambda index: (-dataset.class_counts[index], index))
    group_of = {index: group for group, members in dataset.groups.items() for index in members}
    colours = [GROUP_COLOURS[group_of[index]] for index in order]
    width = min(16.0, max(7.0, 0.5 * classes))
    figure = Figure(figsize=(width, 2.4 * max(1, len(rows)) + 1.0), layout="constrained")
    all_axes = figure.subplots(max(1, len(rows)), 1, sharex=True, squeeze=False)
    for axes, (key, text) in zip(all_axes[:, 0], rows, strict=False):
        _draw_bars(axes, key, text, per_class, order, colours)
    _label_classes(all_axes[-1, 0], dataset, order)
    present = [group for group in GROUP_COLOURS if dataset.groups.get(group)]
    figure.legend(
        handles=[Patch(color=GROUP_COLOURS[group], label=group.caption) for group in present],
        loc="outside upper right",
        ncols=3,
        fontsize=8,
        frameon=False,
    )
    return figure


def _draw_bars(
    axes: Any, key: str, text: str, per_class: Mapping[str, Sequence[Any]], order: Sequence[int], colours: Sequence[str]
) -> None:
    """One metric: a bar for each class, the floor marks of distances, and an x where there is no value."""
    classes = len(order)
    values = [per_class[key][index] for index in order]
    heights = [np.nan if value is None else value for value in values]
    axes.bar(range(classes), heights, color=colours, width=0.8)
    if key == "fid" and any(value is not None for value in per_class.get("fid_floor", [])):
        floor = [per_class["fid_floor"][index] for index in order]
        marks = [np.nan if value is None else value for value in floor]
        axes.plot(range(classes), marks, "k_", markersize=max(3.0, 300 / classes), label=_floor_label(per_class))
        axes.margins(y=0.25)  # room for the legend above bars and marks
        axes.legend(loc="upper left", fontsize=8, frameon=False, markerscale=0.4)
    missing = [position for position, value in enumerate(values) if value is None]
    if missing:
        axes.plot(missing, np.zeros(len(missing)), "x", color="#777777", markersize=3.5, clip_on=False)
        text += f"; x: not computed, {len(missing)} of {classes} classes"
    axes.set_title(text, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    axes.set_ylim(0, None if key == "fid" else 1)
    axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    axes.set_axisbelow(True)


def _label_classes(axes: Any, dataset: DatasetPart, order: Sequence[int]) -> None:
    """Names and numbers of training images below the bars, or one line where there are too many classes."""
    names, counts = [dataset.class_names[i] for i in order], [dataset.class_counts[i] for i in order]
    if len(order) <= MAX_LABELS:
        ticks = [f"{name[:20]}\n{count:,}" for name, count in zip(names, counts, strict=True)]
        crowded = len(order) > 12 or max(map(len, names)) > 8
        axes.set_xticks(range(len(order)), ticks, fontsize=8, rotation=60 if crowded else 0)
        axes.set_xlabel("class, with its number of training images", fontsize=9)
    else:
        text = f"{len(order)} classes by training images, {max(counts):,} to {min(counts):,}"
        axes.set_xlabel(text, fontsize=9)
