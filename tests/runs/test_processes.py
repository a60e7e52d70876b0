"""The real command under torchrun: two processes give what one gives, and one that dies stops the other in a line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK_OPTIONS, Cli

from ltgen_bench.evaluation.samples import read_samples
from ltgen_bench.features import FeatureCache

OPTIONS = [
    *QUICK_OPTIONS,
    "--set=protocol.name=digits-1k.v2",
    "--set=protocol.guidance_samples=20",
    "--set=protocol.guidance_grid=[0.0,1.0]",
    "--set=execution.sampling_batch_size=8",
    "--set=execution.checkpoint_every=5",
]
CHOOSES = [option for option in OPTIONS if "guidance_scale" not in option]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    """`ltgen-bench run` in two processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*launcher, "-m", "ltgen_bench", "run", *CHOOSES, *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def record_of(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("runs/*/*/*/record.json")
    record: dict[str, Any] = json.loads(file.read_text())
    del record["timing"]
    return record


@pytest.mark.slow
def test_two_processes_sample_extract_and_choose_as_one(cli: Cli, tmp_path: Path) -> None:
    two = tmp_path / "two"
    code, _, err = cli("run", *CHOOSES)
    assert code == 0, err
    shutil.copytree(tmp_path / "runs", two / "runs", ignore=shutil.ignore_patterns("samples", "record.json", "figures"))
    out, told = (process := start(two)).communicate(timeout=240)
    assert process.returncode == 0, told
    assert record_of(two) == record_of(tmp_path)  # every sample and every number, to the last bit
    samples = next(two.glob("runs/*/*/*/samples/samples.npz"))
    assert len(read_samples(samples)) == 40
    assert "40 of 40 images were in the cache" in out + told  # where the processes have put their shares


def in_training(run: Path) -> bool:
    return (run / "checkpoints" / "training-state.safetensors").exists()


def in_sampling(run: Path) -> bool:
    return len(list(run.glob("samples/.samples-shards-*/*.npz"))) >= 2


@pytest.mark.slow
def test_a_process_that_dies_stops_the_other_and_nothing_is_lost(cli: Cli, tmp_path: Path) -> None:
    """In training, again in sampling, and then to the end, which one process reaches with what two have left."""
    longer = ["--set=training.steps=60", "--set=sampling.steps=30", "--set=protocol.samples=160"]
    for reached in (in_training, in_sampling):
        process = start(tmp_path, *longer)
        deadline = time.monotonic() + 240
        while not any(reached(run) for run in tmp_path.glob("runs/*/*/*")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        killed_at = time.monotonic()
        os.kill(workers(process.pid)[-1], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - killed_at < 45
        assert process.returncode != 0
        assert (
            "another process of this run is gone; the same command goes on from the last checkpoint" in err
            or "interrupted" in err
        ), err
        assert "ltgen_bench/core/distributed.py" not in err  # no traceback of ours
    code, _, err = cli("run", *CHOOSES, *longer)
    assert code == 0, err
    assert record_of(tmp_path)["training"]["steps"] == 60


def workers(launcher: int) -> list[int]:
    """The processes that torchrun started, by rank."""
    found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(launcher)], capture_output=True, text=True)
    return sorted(int(line.split()[0]) for line in found.stdout.splitlines() if "ltgen_bench" in line)


def test_a_share_of_the_extraction_is_every_second_chunk(tmp_path: Path) -> None:
    import numpy as np

    from ltgen_bench.features import extract_features, extract_share, load_extractor

    images = np.random.default_rng(0).integers(0, 256, (1100, 1, 8, 8), dtype=np.uint8)
    network, cache = load_extractor("digits-cnn", weights_root=tmp_path), FeatureCache(tmp_path)
    found: list[int] = []
    whole = extract_features(images, network)
    extract_share(images, network, cache, rank=1, size=2)
    parts = extract_features(images, network, cache=cache, found_in_cache=found.append)
    assert found == [512]  # chunk 1 of 0, 1, 2
    np.testing.assert_array_equal(parts.features, whole.features)
    np.testing.assert_array_equal(parts.probabilities, whole.probabilities)
