"""Suites on a real SLURM of one node; skipped where there is none (`single-node-slurm start`)."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Cli
from runs.test_suites import TINY, without_timing

from ltgen_bench.core.storage import is_locked


def slurm_answers() -> bool:
    if shutil.which("sbatch") is None or shutil.which("sinfo") is None:
        return False
    found = subprocess.run(["sinfo", "--noheader", "--format=%t"], capture_output=True, text=True, check=False)
    return any(state in found.stdout for state in ("idle", "mix", "alloc"))


pytestmark = pytest.mark.skipif(not slurm_answers(), reason="needs a SLURM that answers")


def wait_for(cli: Cli, wanted: str, count: int, seconds: float) -> dict:
    deadline = time.monotonic() + seconds
    while True:
        status = json.loads(cli("suite", "status", "mine.toml", "--json")[1])
        if status["counts"][wanted] >= count or time.monotonic() > deadline:
            return status
        time.sleep(1)


def test_one_job_killed_and_all_is_finished_by_another_start(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TINY.replace('"training.steps" = 12', '"training.steps" = 400'))
    start = ("suite", "run", "mine.toml", "--slurm", "cpus=1", "--slurm", "time=10", "--json")
    ids = json.loads(cli(*start)[1])["jobs"]
    assert len(ids) == 2
    assert json.loads(cli(*start)[1])["jobs"] == []  # they are in the queue: none is handed in twice
    deadline = time.monotonic() + 120
    while not any(is_locked(path) for path in tmp_path.rglob("runs/digits-lt/*/*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    running = next(path for path in tmp_path.rglob("runs/digits-lt/*/*") if is_locked(path))
    killed = next(i for i in ids if running.parent.name == ("ddpm" if i.endswith("_0") else "coral"))
    subprocess.run(["scancel", "--signal=KILL", "--full", killed], check=True)
    status = wait_for(cli, "finished", 1, 180)
    assert status["counts"]["finished"] == 1
    assert len(json.loads(cli(*start)[1])["jobs"]) == 1
    assert wait_for(cli, "finished", 2, 180)["counts"]["finished"] == 2

    # the same records as here
    code, _, err = cli("suite", "run", "mine.toml", "--runs-dir", "here", "--workers", "2")
    assert code == 0, err
    for path in tmp_path.glob("here/digits-lt/*/*/record.json"):
        other = tmp_path / "runs" / path.relative_to(tmp_path / "here")
        assert without_timing(other) == without_timing(path)


def test_stop_takes_tasks_from_the_queue(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TINY.replace('"training.steps" = 12', '"training.steps" = 100000'))
    ids = json.loads(cli("suite", "run", "mine.toml", "--slurm", "cpus=1", "--json")[1])["jobs"]
    code, out, _ = cli("suite", "stop", "mine.toml", "--json")
    assert (code, json.loads(out)["cancelled"]) == (0, sorted(ids))
    assert wait_for(cli, "waiting", 2, 60)["counts"]["waiting"] == 2
