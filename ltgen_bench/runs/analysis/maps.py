"""The maps of an analysis: one figure a noise level and label setting, and a page to look into."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltgen_bench.core.progress import Progress
from ltgen_bench.core.storage import atomic_path, read_json_object, write_json, write_text
from ltgen_bench.evaluation.report.embedding import MAPS, check_maps, embed, trustworthiness
from ltgen_bench.evaluation.report.maps_figure import MapPanel, maps_figure
from ltgen_bench.evaluation.report.maps_page import maps_page
from ltgen_bench.evaluation.report.saving import save_figure
from ltgen_bench.runs.analysis.analyze import Analysis
from ltgen_bench.runs.analysis.representations import Subject
from ltgen_bench.runs.analysis.settings import AnalysisSettings, one_setting


def draw_maps(
    analysis: Analysis, kinds: Sequence[str], folder: Path, *, pdf: bool = True, progress: Progress | None = None
) -> list[Path]:
    """Write `maps-t100-withheld.png` (and `.pdf`, `.html`) for every noise level and label setting; their paths.

    One row a method, by its first seed. A point set is kept beside the representations it was made of.
    Raises ConfigError for a map that is none, MissingExtraError where its package is missing.
    """
    check_maps(tuple(kinds))
    logging.getLogger("pacmap").setLevel(logging.ERROR)  # it warns of every seed that it is given
    progress = progress or Progress()
    subjects = _first_seeds(analysis.subjects)
    dataset, images = analysis.subjects[0].run.dataset, analysis.images
    order = sorted(range(dataset.class_count), key=lambda c: -dataset.class_counts[c])
    written = []
    for t in analysis.settings.t:
        for label in analysis.settings.labels:
            setting = one_setting(analysis.settings, t, label)
            panels = [_panel(subject, kind, analysis, setting, progress) for subject in subjects for kind in kinds]
            caption = f"{dataset.name}: {setting.caption()} ({len(images.images):,} of {images.available:,} images)"
            shared: tuple[Any, ...] = (dataset.class_names, order, dataset.groups.few, caption)
            labels, stem = images.images.labels, folder / f"maps-t{t}-{label}"
            figure = maps_figure(panels, labels, *shared)
            for path in [stem.with_suffix(".png"), *([stem.with_suffix(".pdf")] if pdf else [])]:
                save_figure(figure, path)
                written.append(path)
            page = stem.with_suffix(".html")
            write_text(page, maps_page(panels, np.asarray(images.images.images), labels, *shared))
            written.append(page)
    return written


def _first_seeds(subjects: Sequence[Subject]) -> list[Subject]:
    found: dict[str, Subject] = {}
    for subject in sorted(subjects, key=lambda one: one.run.config.seed):
        found.setdefault(subject.title, subject)
    return [found[title] for title in dict.fromkeys(one.title for one in subjects)]


def _panel(subject: Subject, kind: str, analysis: Analysis, setting: AnalysisSettings, progress: Progress) -> MapPanel:
    stem = subject.place / f"{subject.key(analysis.images, setting)}-{kind}"
    points_file, note = stem.with_suffix(".npy"), read_json_object(stem.with_suffix(".json"))
    if note is not None and points_file.is_file():
        points = np.load(points_file, allow_pickle=False)
        if points.shape == (len(analysis.images.images), 2):
            return MapPanel(subject.title, MAPS[kind][0], points, float(note["trustworthiness"]))
    features = subject.representations(analysis.images, setting, progress)
    progress.say(f"{MAPS[kind][0]} of {subject.title}, t = {setting.t[0]}, class {setting.labels[0]}")
    points = embed(kind, features)
    trusted = trustworthiness(features, points)
    with atomic_path(points_file) as partial, Path(partial).open("wb") as file:
        np.save(file, points, allow_pickle=False)
    write_json(stem.with_suffix(".json"), {"trustworthiness": trusted})
    return MapPanel(subject.title, MAPS[kind][0], points, trusted)
