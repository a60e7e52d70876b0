"""`evaluate` that is killed while it extracts features continues from its cache, and ends with the same record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli

CHUNKS = 5
SAMPLES = 512 * CHUNKS  # the cache stores 512 images at a time
OPTIONS = [
    "--dataset=digits-lt",
    "--set=protocol.prd_runs=1",
    "--set=protocol.kid_subsets=2",
    "--set=protocol.kid_subset_size=100",
    "--set=execution.threads=1",
    "--json",
]
# The bundled digits network takes milliseconds a chunk; slowed down, it can be caught in the middle.
SLOW = """
import time
from ltgen_bench.features.networks.digits_cnn import DigitsExtractor
quick = DigitsExtractor.compute
def slow(self, images):
    time.sleep(0.03)
    return quick(self, images)
DigitsExtractor.compute = slow
"""
MAIN = "from ltgen_bench.cli import main; main()"


def start_slow(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW + MAIN, "evaluate", "samples.npz", *OPTIONS, f"--data-root={folder}"],
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(cli: Cli, data_root: Path) -> tuple[dict[str, Any], str]:
    """The record without its timing, and what was said on the way."""
    code, out, err = cli("evaluate", "samples.npz", *OPTIONS, "--data-root", data_root)
    assert code == 0, err
    record: dict[str, Any] = json.loads(out)
    del record["timing"]
    return record, err


def entries(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every stored chunk, with what changes when its file is written again."""
    found = sorted(folder.glob(".cache/features/??/[!.]*.safetensors"))
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


@pytest.mark.slow
def test_killed_in_the_middle_of_extraction(cli: Cli, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (SAMPLES, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "samples.npz", arr_0=images, labels=np.arange(SAMPLES) % 10)
    whole, broken = tmp_path / "whole", tmp_path / "broken"

    process = start_slow(broken)
    deadline = time.monotonic() + 240
    while len(entries(broken)) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    stored = entries(broken)
    assert 2 <= len(stored) < CHUNKS
    assert not list(tmp_path.rglob("record.json"))

    # What a kill or a full disk may leave behind besides whole chunks: one that is cut off, one half written.
    damaged = next(iter(stored))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    cut = entries(broken)[damaged]
    damaged.with_name(".left.partial.safetensors").write_bytes(b"half")

    again, said = finish(cli, broken)
    assert f"{512 * (len(stored) - 1):,} of {SAMPLES:,} images were in the cache" in said
    after = entries(broken)
    assert {path: after[path] for path in stored if path != damaged} == {
        path: mark for path, mark in stored.items() if path != damaged
    }
    assert after[damaged] != cut
    assert again == finish(cli, whole)[0]
    assert {path.name for path in after} == {path.name for path in entries(whole)}


def test_a_changed_sample_hits_no_entry_of_its_neighbours(cli: Cli, tmp_path: Path) -> None:
    """The samples file keeps its name and its size; one image differs, so one chunk is new and the numbers follow."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (1024, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "samples.npz", arr_0=images, labels=np.arange(1024) % 10)
    first, _ = finish(cli, tmp_path / "data")
    before = set(entries(tmp_path / "data"))
    images[1000] = 255 - images[1000]
    np.savez(tmp_path / "samples.npz", arr_0=images, labels=np.arange(1024) % 10)
    second, said = finish(cli, tmp_path / "data")
    assert "512 of 1,024 images were in the cache" in said
    assert len(set(entries(tmp_path / "data")) - before) == 1
    assert first["samples"]["sha256"] != second["samples"]["sha256"]
    assert first["metrics"]["fid"] != second["metrics"]["fid"]
