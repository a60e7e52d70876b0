"""`evaluate`: which protocol measures, what is refused instead of ignored, and where the record goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli

from ltgen_bench.samples import Samples, write_samples


def some_samples(seed: int = 0) -> Samples:
    random = np.random.default_rng(seed)
    return Samples(random.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8), np.arange(40) % 10)


@pytest.fixture
def run_folder(tmp_path: Path, quick_run: Any) -> Path:
    """What `evaluate` needs of a run: its configuration and its samples."""
    folder = tmp_path / "a-run"
    folder.mkdir()
    (folder / "config.toml").write_text(quick_run().config.to_toml())
    write_samples(folder / "samples" / "samples.npz", some_samples())
    return folder


def evaluated(cli: Cli, *arguments: str | Path) -> dict[str, Any]:
    code, out, err = cli("evaluate", *arguments, "--json", "--quiet")
    assert code == 0, err
    record: dict[str, Any] = json.loads(out)
    return record


def test_a_named_protocol_replaces_that_of_the_run(cli: Cli, run_folder: Path) -> None:
    """The run's config.toml says prd_runs = 2 and samples = 40; the published protocol says 10 and 1,000."""
    assert evaluated(cli, run_folder)["protocol"]["prd_runs"] == 2
    published = evaluated(cli, run_folder, "--protocol", "digits-1k.v1")["protocol"]
    assert published["prd_runs"] == 10
    assert published["inception_score_splits"] == 10
    assert published["name"] == "digits-1k.v1+custom"  # 40 samples are not its 1,000
    changed = evaluated(cli, run_folder, "--protocol", "digits-1k.v1", "--set", "protocol.prd_runs=3")["protocol"]
    assert changed["prd_runs"] == 3


def test_a_named_protocol_replaces_that_of_a_configuration_file(cli: Cli, run_folder: Path) -> None:
    def planned(*options: str) -> dict[str, Any]:
        code, out, err = cli("run", "--config", run_folder / "config.toml", *options, "--dry-run", "--json")
        assert code == 0, err
        plan: dict[str, Any] = json.loads(out)["config"]
        return plan

    assert planned()["protocol"]["samples"] == 40
    plan = planned("--protocol", "digits-1k.v1")
    assert plan["protocol"]["name"] == "digits-1k.v1"
    assert plan["protocol"]["samples"] == 1000
    assert plan["training"]["steps"] == 12  # what is no protocol stays
