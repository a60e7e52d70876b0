"""Which runs a suite's cells are, and which of them share a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltgen_bench.core.errors import UserError
from ltgen_bench.core.mappings import merge
from ltgen_bench.core.storage import read_json_object, sha256_json, write_json
from ltgen_bench.evaluation.places import EvaluationPlaces, missing_protocol_weights
from ltgen_bench.runs.folder import RunFolder, run_path
from ltgen_bench.runs.resolve import ResolvedRun, resolve
from ltgen_bench.runs.suites.spec import RunCell, Suite

_SPEED = "speed.json"


@dataclass(frozen=True)
class PlannedRun:
    """A cell with the run that it is."""

    cell: RunCell
    resolved: ResolvedRun
    folder: RunFolder
    training: str  # equal where two runs have the same trained model
    settings: str = ""  # those of its keys in which the suite's cells differ

    def layers(self) -> dict[str, Any]:
        """What the run is made of, as one would write it."""
        return merge(self.cell.layers(), {"execution": {"speed": self.resolved.config.execution.speed}})

    @property
    def label(self) -> str:
        """The run in one line, as it differs from the suite's others."""
        cell = self.cell
        return " ".join(word for word in (cell.method, cell.dataset, f"seed {cell.seed}", self.settings) if word)

    @property
    def name(self) -> str:
        """The run folder's place, as a file's name."""
        return "--".join(self.folder.path.parts[-3:])

    def missing(self, places: EvaluationPlaces) -> list[str]:
        """What it needs and is not there: images and weights."""
        weights = missing_protocol_weights(self.resolved.config.protocol, places)
        return [str(file) for file in (*self.resolved.dataset.missing_files(), *weights.values())]


def plan(suite: Suite, runs_dir: Path, data_root: Path, speed: str = "auto") -> list[PlannedRun]:
    """The runs of a suite, each once, in its order; raises the error of the first cell that is none, with its label.

    `speed` is for the cells that say nothing of it. What `auto` is, is decided here, where the runs are planned: a
    machine that runs them, or asks for them, may have another device.
    """
    found: dict[Path, PlannedRun] = {}
    shared = _shared(suite)
    for cell in suite.cells:
        try:
            resolved = resolve(merge({"execution": {"speed": speed}}, cell.layers()), data_root)
        except UserError as error:
            raise type(error)(f"cell {cell.label}: {error}") from error
        path = run_path(runs_dir, resolved.config, resolved.dataset.name)
        training = sha256_json({"of": resolved.config.training_identity(), "seed": cell.seed, "in": str(path.parent)})
        folder = RunFolder(path, resolved.method_class.model_file)
        settings = " ".join(f"{key}={value}" for key, value in cell.settings.items() if key not in shared)
        found.setdefault(path, PlannedRun(cell, resolved, folder, training, settings))
    return list(found.values())


def _shared(suite: Suite) -> set[str]:
    """The configuration keys that every cell sets alike."""
    first = suite.cells[0].settings
    return {key for key, value in first.items() if all(cell.settings.get(key) == value for cell in suite.cells)}


def by_training(runs: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """The runs that share a trained model together: the first of them trains it, the others take it over."""
    groups: dict[str, list[PlannedRun]] = {}
    for run in runs:
        groups.setdefault(run.training, []).append(run)
    return list(groups.values())


def remember_speed(folder: Path, speed: str) -> None:
    """Keep in a suite's folder how fast its runs are made, for whoever asks for them on another machine."""
    write_json(folder / _SPEED, {"speed": speed})


def remembered_speed(folder: Path) -> str | None:
    """How fast the suite's runs were last started; None before its first start."""
    note = read_json_object(folder / _SPEED)
    return None if note is None else str(note.get("speed"))
