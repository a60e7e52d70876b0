"""How far the runs of a suite are, read from their folders: nothing keeps a list that could be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ltgen_bench.core.storage import is_locked, read_json_object, write_json
from ltgen_bench.runs.folder import RunFolder
from ltgen_bench.runs.suites.plan import PlannedRun

_FAILED = "failed.json"


class RunState(StrEnum):
    """What can be said of a run."""

    WAITING = "waiting"
    QUEUED = "queued"  # in a batch system's queue
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True)
class RunStatus:
    """A run's state; `step` of `steps` where training has begun, seconds left of it, and the line of a failure."""

    run: PlannedRun
    state: RunState
    step: int | None
    steps: int | None
    training_seconds_left: float | None
    line: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        cell = self.run.cell
        return {
            "method": cell.method,
            "dataset": cell.dataset,
            "seed": cell.seed,
            "protocol": self.run.resolved.config.protocol.name,
            "set": dict(cell.settings),
            "run": str(self.run.folder.path),
            "state": str(self.state),
            "step": self.step,
            "steps": self.steps,
            "training_seconds_left": self.training_seconds_left,
            "error": self.line or None,
        }


def status_of(run: PlannedRun, queued: bool = False) -> RunStatus:
    """A run's status. `queued`: whether a batch system has it."""
    folder = run.folder
    rows = [row for row in folder.read_stats() if isinstance(row.get("step"), int)] if folder.stats.exists() else []
    step = rows[-1]["step"] if rows else None
    config = run.resolved.config
    steps = config.training.steps if config.uses("training") else None
    failure = read_json_object(folder.path / _FAILED)
    if folder.record.is_file():
        return RunStatus(run, RunState.FINISHED, steps, steps, 0.0, "")
    if is_locked(folder.path):
        left = None
        if step and steps is not None:
            seconds = sum(float(row.get("seconds", 0.0)) for row in rows)
            left = round(seconds / step * (steps - step), 1)
        return RunStatus(run, RunState.RUNNING, step, steps, left, "")
    if failure is not None:
        return RunStatus(run, RunState.FAILED, step, steps, None, str(failure.get("line", "")))
    return RunStatus(run, RunState.QUEUED if queued else RunState.WAITING, step, steps, None, "")


def statuses(runs: Sequence[PlannedRun], queued: Sequence[str] = ()) -> list[RunStatus]:
    """The status of every run; `queued` are the names of those that a batch system has."""
    return [status_of(run, run.name in queued) for run in runs]


def note_failure(folder: RunFolder, line: str) -> None:
    """Keep the one line of a failure in the run's folder."""
    write_json(folder.path / _FAILED, {"line": line})


def forget_failure(folder: RunFolder) -> None:
    """A run that is started again has not failed yet."""
    (folder.path / _FAILED).unlink(missing_ok=True)
