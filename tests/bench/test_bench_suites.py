"""What a suite costs on top of its runs: the same processes started by a suite and by hand, in turns.

Run alone: `python -m pytest -o addopts= tests/bench/test_bench_suites.py -q -s`. Wall time, the fastest of three turns.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ltgen_bench.core.progress import Progress
from ltgen_bench.runs.suites.local import Launcher, run_local
from ltgen_bench.runs.suites.plan import PlannedRun, plan
from ltgen_bench.runs.suites.spec import parse_suite

RUNS, SECONDS = 4, 15  # a run of fifteen seconds is a very short one
SUITE = f'datasets = ["digits-lt"]\nseeds = {list(range(RUNS))}'


class Sleeper(Launcher):
    """Launches processes that take as long as a run and leave its record."""

    def command(self, run: PlannedRun) -> list[str]:
        super().command(run)
        target = run.folder.record
        code = f"import pathlib, time; time.sleep({SECONDS}); p = pathlib.Path({str(target)!r}); "
        code += "p.parent.mkdir(parents=True, exist_ok=True); p.write_text('{}')"
        return [sys.executable, "-S", "-c", code]


@pytest.mark.benchmark(group="suites")
def test_a_suite_costs_little_on_top_of_its_runs(benchmark, tmp_path: Path) -> None:
    turns = []

    def turn() -> None:
        folder = tmp_path / str(len(turns))
        runs = plan(parse_suite(SUITE, Path("mine.toml")), folder, Path("data"))
        launcher = Sleeper(folder / "suites" / "mine", folder, Path("data"))
        started = time.perf_counter()
        assert run_local(runs, launcher, 1, Progress()) == []
        ours = time.perf_counter() - started
        commands = [launcher.command(run) for run in runs]
        started = time.perf_counter()
        for command in commands:
            subprocess.run(command, check=True)
        turns.append((ours, time.perf_counter() - started))

    benchmark.pedantic(turn, rounds=1, iterations=1)
    ours, by_hand = min(turns)
    benchmark.extra_info["ratio"] = ours / by_hand
    print(f"suite of {RUNS} runs of {SECONDS} s: {ours:.2f} s, by hand {by_hand:.2f} s, {ours / by_hand - 1:+.2%}")
    assert ours / by_hand < 1.02
