"""The runs of a suite on this machine: one process a run, some at a time.

Every process is the ordinary `ltgen-bench run`, with its own log. Runs that share a training go one after the other.
A run that another process has is left to it and looked at again later.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import tomli_w

from ltgen_bench.core.errors import UserError
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.storage import is_locked, write_text
from ltgen_bench.runs.suites.plan import PlannedRun, by_training
from ltgen_bench.runs.suites.status import forget_failure, note_failure

BUSY = "another process is working in"
_POLL, _BUSY_WAIT, _PATIENCE = 0.1, 2.0, 20.0  # seconds
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


class SuiteFailedError(UserError):
    """Some runs of a suite failed."""


@dataclass(frozen=True)
class Launcher:
    """What the processes share: places, and options that are handed on to every `run`."""

    folder: Path  # the suite's own, for logs and configurations
    runs_dir: Path
    data_root: Path
    further: tuple[str, ...] = ()  # such as --plugin FILE

    def command(self, run: PlannedRun) -> list[str]:
        """The command of a run; its configuration is written for it, as the user would have."""
        config = self.folder / "cells" / f"{run.name}.toml"
        write_text(config, tomli_w.dumps(run.layers()))
        places = ["--runs-dir", str(self.runs_dir), "--data-root", str(self.data_root)]
        return [sys.executable, "-m", "ltgen_bench", "run", "--config", str(config), *places, "--json", *self.further]

    def log(self, run: PlannedRun) -> Path:
        """Where a run's process writes what it says."""
        path = self.folder / "logs" / f"{run.name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@dataclass
class _Slot:
    """One place for a process, with its share of the machine, and the runs that are its to do."""

    environment: dict[str, str]
    runs: list[PlannedRun] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    log: IO[bytes] | None = None
    began: float = 0.0


def run_local(runs: Sequence[PlannedRun], launcher: Launcher, workers: int, progress: Progress) -> list[PlannedRun]:
    """Run what is not finished, `workers` at a time; returns the runs that failed. Ctrl-C stops all of them.

    A run that fails does not stop the others; its line is kept in its folder and said.
    """
    waiting = [group for group in by_training(runs) if not all(run.folder.record.is_file() for run in group)]
    done = sum(run.folder.record.is_file() for run in runs)
    slots = [_Slot(environment) for environment in _shares(workers)]
    failed: list[PlannedRun] = []
    with progress:
        progress.start("suite", len(runs), "runs", done)
        try:
            while waiting or any(slot.process or slot.runs for slot in slots):
                moved = False
                for slot in slots:
                    moved |= _advance(slot, waiting, failed, launcher, progress)
                finished = sum(run.folder.record.is_file() for run in runs) if moved else None
                if finished is not None:
                    progress.update(finished, _note(slots))
                time.sleep(_POLL if any(slot.process for slot in slots) or moved else _BUSY_WAIT)
        except BaseException:
            _stop(slots)
            raise
    return failed


def _advance(
    slot: _Slot, waiting: list[list[PlannedRun]], failed: list[PlannedRun], launcher: Launcher, progress: Progress
) -> bool:
    """Look after one slot; returns whether anything happened."""
    if slot.process is not None:
        if slot.process.poll() is None:
            return False
        _ended(slot, failed, launcher, progress)
        return True
    if not slot.runs:
        free = next((group for group in waiting if not any(is_locked(run.folder.path) for run in group)), None)
        if free is None:
            # what others have in work is theirs; it is finished some day, or free again
            waiting[:] = [group for group in waiting if not all(run.folder.record.is_file() for run in group)]
            return False
        waiting.remove(free)
        slot.runs = [run for run in free if not run.folder.record.is_file()]
        return True
    run = slot.runs[0]
    forget_failure(run.folder)
    slot.log = launcher.log(run).open("ab")
    slot.began = time.monotonic()
    slot.process = subprocess.Popen(
        launcher.command(run),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=slot.log,
        env={**os.environ, **slot.environment},
        start_new_session=True,  # Ctrl-C comes to us, and from us to all
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    progress.say(f"started   {run.label}")
    return True


def _ended(slot: _Slot, failed: list[PlannedRun], launcher: Launcher, progress: Progress) -> None:
    assert slot.process is not None
    assert slot.log is not None
    code, run = slot.process.returncode, slot.runs[0]
    slot.process = None
    slot.log.close()
    if code == 0:
        slot.runs.pop(0)
        progress.say(f"finished  {run.label} ({time.monotonic() - slot.began:.0f} s)")
        return
    line = failure_line(launcher.log(run), code)
    if BUSY in line:  # somebody took it between our look and our start
        time.sleep(_BUSY_WAIT)
        if run.folder.record.is_file():
            slot.runs.pop(0)
        return
    slot.runs.pop(0)
    failed.append(run)
    note_failure(run.folder, line)
    progress.say(f"failed    {run.label}: {line}")


def failure_line(log: Path, code: int) -> str:
    """Why a process ended with `code`: its error in one line, or the signal that ended it."""
    if code < 0:
        return f"ended by signal {-code} ({signal.Signals(-code).name})"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    errors = [line for line in lines[-50:] if line.startswith("error: ")]
    return errors[-1].removeprefix("error: ")[:500] if errors else f"exit code {code}; see {log}"


def _stop(slots: Sequence[_Slot]) -> None:
    """Interrupt every process as Ctrl-C would, and end those that do not listen; their next start resumes."""
    running = [slot.process for slot in slots if slot.process is not None]
    for process in running:
        process.send_signal(signal.SIGTERM)  # heard in the background as well; the command takes it as Ctrl-C
    deadline = time.monotonic() + _PATIENCE
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for slot in slots:
        if slot.log is not None:
            slot.log.close()


def _note(slots: Sequence[_Slot]) -> str:
    return ", ".join(slot.runs[0].label for slot in slots if slot.process is not None)


def _shares(workers: int) -> list[dict[str, str]]:
    """The environment of each slot: its threads, and its GPU where there are some."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = {"OMP_NUM_THREADS": str(max(1, cores // workers))}
    if "OMP_WAIT_POLICY" not in os.environ:
        threads["OMP_WAIT_POLICY"] = "PASSIVE"  # spinning threads of one process would starve the others
    gpus = visible_gpus()
    return [
        {**threads, **({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {})} for number in range(workers)
    ]


def visible_gpus() -> list[str]:
    """The GPUs that processes may be given, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu for gpu in named.split(",") if gpu.strip() and gpu.strip() != "-1"]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def _die_with_parent() -> None:
    """A process whose starter was killed with -9 ends with it, so that nobody trains on unseen."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
