"""Kill -9 at any moment loses at most the work since the last checkpoint, and changes no number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK_OPTIONS, Cli

# long enough to be caught in the middle, on a slow machine and on a fast one
OPTIONS = [
    *QUICK_OPTIONS,
    "--set=training.steps=60",
    "--set=protocol.samples=160",
    "--set=sampling.steps=20",
    "--set=execution.sampling_batch_size=8",
    "--json",
]


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ltgen_bench", "run", *OPTIONS],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(cli: Cli) -> tuple[dict[str, Any], str]:
    code, out, err = cli("run", *OPTIONS)
    assert code == 0, err
    record = json.loads(out)
    del record["timing"]
    return record, err


def stop_when(folder: Path, reached: Callable[[Path], bool], number: int) -> int:
    """Start the run, send the signal when `reached` says so, and give back the exit code."""
    process = start(folder)
    deadline = time.monotonic() + 240
    while not any(reached(run) for run in folder.glob("runs/*/*/*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def training_begun(run: Path) -> bool:
    return (run / "checkpoints" / "training-state.safetensors").exists()


def sampling_begun(run: Path) -> bool:
    return len(list(run.glob("samples/.samples-shards-*/*.npz"))) >= 3


@pytest.mark.slow
def test_a_killed_run_gives_the_same_record(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    record, _ = finish(cli)
    assert stop_when(broken, training_begun, signal.SIGKILL) == -signal.SIGKILL
    assert stop_when(broken, sampling_begun, signal.SIGKILL) == -signal.SIGKILL
    monkeypatch.chdir(broken)
    again, err = finish(cli)
    assert "resuming from" in err
    assert again == record
    run = next(broken.glob("runs/*/*/*"))
    # rows repeated after the kill are in the file; every step counts once
    steps = [json.loads(line)["step"] for line in (run / "stats.jsonl").read_text().splitlines()]
    assert steps[-1] == 60
    assert not list(run.rglob("*partial*"))


@pytest.mark.slow
def test_ctrl_c_saves_a_checkpoint_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = start(tmp_path)
    deadline = time.monotonic() + 240
    while not any(training_begun(run) for run in tmp_path.glob("runs/*/*/*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command resumes" in err
    assert "Traceback" not in err
