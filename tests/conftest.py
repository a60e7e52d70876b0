"""What all tests share: one thread, small fast runs, the real images where they are at hand."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A slow or busy machine is not a failure: examples have no deadline.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# Real images and the paper's text, which the repository does not hold; tests that need them are skipped without them.
SHARED = Path(os.environ.get("LTGEN_BENCH_SHARED") or "no-shared-folder")
REAL_IMAGES = SHARED / "data"

# `LTGEN_BENCH_GPU_TESTS=cpu` runs the tests that are marked `gpu` on the CPU, to try the tests themselves.
GPU_DEVICE = os.environ.get("LTGEN_BENCH_GPU_TESTS") or "cuda"

# A digits run of about a second: enough to go through every stage, far too short to learn anything.
QUICK = {
    "training": {"steps": 12, "batch_size": 16, "warmup_steps": 4},
    "sampling": {"steps": 4, "guidance_scale": 0.0},
    "protocol": {"samples": 40, "prd_runs": 2, "inception_score_splits": 2},
    "execution": {"checkpoint_every": 5, "log_every": 3, "threads": 1},
    "network": {"base_channels": 8, "norm_groups": 4},
}
QUICK_OPTIONS = [f"--set={section}.{key}={value}" for section, values in QUICK.items() for key, value in values.items()]
# the same for a method that reads none of the sections of diffusion methods
PLAIN_OPTIONS = [option for option in QUICK_OPTIONS if option.startswith(("--set=protocol.", "--set=execution."))]


# Files with tests that take long come first: no process ends with one of them while the others have nothing left.
LONG = (
    "test_suites.py",
    "test_processes.py",
    "test_check_plugin.py",
    "test_kill_and_resume.py",
    "test_ladder.py",
    "test_reference_rows.py",
    "test_crosscheck.py",
    "test_record.py",
    "test_distributed.py",
    "test_analysis.py",
)


Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run the command in this process, in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    from ltgen_bench.cli import main

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ltgen-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capfd.readouterr()
        return int(exit_.value.code or 0), out, err

    return run


def refused(result: tuple[int, str, str]) -> str:
    """The one line of a refusal; anything else fails the test."""
    code, out, err = result
    assert code == 2, (code, out, err)
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    return err


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: tests press Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow a small machine down tenfold


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
    no_gpu = pytest.mark.skip(reason="needs a CUDA device")
    no_data = pytest.mark.skip(reason="needs the folder with data/ and paper/ that LTGEN_BENCH_SHARED names")
    for item in items:
        if item.get_closest_marker("gpu") and GPU_DEVICE != "cpu" and not torch.cuda.is_available():
            item.add_marker(no_gpu)
        if "shared" in item.keywords and not SHARED.is_dir():
            item.add_marker(no_data)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def quick_run(tmp_path: Path) -> Any:
    """A function that resolves a quick digits run, with more configuration layers on top."""
    from ltgen_bench.core.mappings import merge
    from ltgen_bench.runs.resolve import resolve

    def make(**layers: Any) -> Any:
        return resolve(merge(QUICK, layers), tmp_path / "data")

    return make
