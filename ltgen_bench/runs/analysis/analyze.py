"""`analyze`: how far the classes lie apart in what trained models make of real images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.storage import read_json_object, write_json
from ltgen_bench.metrics.separation import NEIGHBOURS, SeparationNumber, separation
from ltgen_bench.runs.analysis.representations import Subject
from ltgen_bench.runs.analysis.settings import AnalysisImages, AnalysisSettings, one_setting
from ltgen_bench.runs.loaded import load_run


@dataclass(frozen=True)
class Analysis:
    """Rows of numbers: `rows` is a list of dicts with the keys that `ltgen-bench analyze --json` prints."""

    rows: list[dict[str, Any]]
    settings: AnalysisSettings
    images: AnalysisImages
    subjects: tuple[Subject, ...]

    def __repr__(self) -> str:
        return f"<analysis of {len(self.subjects)} models: {self.settings.caption()}, {len(self.rows):,} numbers>"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "settings": {**dataclasses.asdict(self.settings), "neighbours": NEIGHBOURS, "drawn": self.images.to_dict()},
            "caption": self.settings.caption(),
            "rows": self.rows,
        }

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write_json(Path(path), self.to_dict())


def analyze(
    runs: Sequence[str | Path],
    settings: AnalysisSettings | None = None,
    *,
    untrained: bool = False,
    data_root: str | Path = "data",
    device: str = "auto",
    progress: Progress | None = None,
) -> Analysis:
    """Numbers of `metrics.separation` for trained runs; several seeds of a method are repetitions.

    Runs of several data sets have to share the images that they are shown: `digits` and `digits-lt` have one reference.
    Head, medium and tail are those of the first run's data set.

    `untrained` adds the network that each run began with, a control. Representations and numbers are kept in each run's
    `analysis/` and read again the next time, so that a start that was cut off goes on. Raises ConfigError for runs
    with other images, noise levels that a model does not have, and methods that offer no representations.
    """
    settings, progress = settings or AnalysisSettings(), progress or Progress()
    if not runs:
        raise ConfigError("give at least one run")
    loaded = [load_run(run, data_root=data_root, device=device) for run in runs]
    first = loaded[0].dataset
    several = len({run.dataset.name for run in loaded}) > 1
    controls = (False, True) if untrained else (False,)
    subjects = [Subject(run, control, several) for control in controls for run in loaded]
    for subject in subjects:
        subject.check(settings)
    images = AnalysisImages.of(first, settings.images)
    for run in loaded[1:] if several else []:
        if AnalysisImages.of(run.dataset, settings.images).images.fingerprint() != images.images.fingerprint():
            raise ConfigError(
                f"{run.folder.path} is of {run.dataset.name} and {loaded[0].folder.path} of {first.name}: "
                f"models are compared on the same images, and their {settings.images} images differ; analyse them apart"
            )
    groups = {str(name): list(of) for name, of in first.groups.as_dict().items()}
    rows = []
    for subject in subjects:
        for t in settings.t:
            for label in settings.labels:
                setting = one_setting(settings, t, label)
                numbers = _numbers(subject, images, setting, groups, first.class_count, progress)
                rows += [_row(subject, setting, number) for number in numbers]
        subject.release()
    return Analysis(rows, settings, images, tuple(subjects))


def _numbers(
    subject: Subject,
    images: AnalysisImages,
    setting: AnalysisSettings,
    groups: dict[str, list[int]],
    class_count: int,
    progress: Progress,
) -> list[SeparationNumber]:
    path = subject.place / f"{subject.key(images, setting)}.json"
    kept = read_json_object(path)
    if kept is not None and kept.get("groups") == groups and isinstance(kept.get("numbers"), list):
        try:
            return [SeparationNumber(**number) for number in kept["numbers"]]
        except TypeError:
            pass  # of another version: computed again
    features = subject.representations(images, setting, progress)
    numbers = separation(features, images.images.labels, class_count, groups)
    write_json(
        path,
        {
            "settings": dataclasses.asdict(setting),
            "images": images.to_dict(),
            "untrained": subject.untrained,
            "groups": groups,
            "numbers": [dataclasses.asdict(number) for number in numbers],
        },
    )
    return numbers


def _row(subject: Subject, setting: AnalysisSettings, number: SeparationNumber) -> dict[str, Any]:
    return {
        "run": str(subject.run.folder.path),
        "method": subject.title,
        "seed": subject.run.config.seed,
        "images": setting.images,
        "t": setting.t[0],
        "label": setting.labels[0],
        "noise": setting.noise,
        **dataclasses.asdict(number),
    }
