"""`crosscheck`: the peers' numbers beside ours, and what happens where they differ."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli, refused
from made_up_networks import made_up_inception

from ltgen_bench.core.protocol import get_protocol
from ltgen_bench.evaluation import crosscheck as module
from ltgen_bench.evaluation.crosscheck import Crosscheck, crosscheck
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.samples import Samples, write_samples
from ltgen_bench.runs.resolve import resolve


def noisy_digits(path: Path) -> Path:
    train = resolve({}, Path("data")).dataset.train()
    random = np.random.default_rng(0)
    rows = np.concatenate([random.choice(np.flatnonzero(train.labels == c), 30) for c in range(10)])
    noise = random.integers(-30, 30, train.images[rows].shape)
    images = np.clip(train.images[rows].astype(int) + noise, 0, 255).astype(np.uint8)
    write_samples(path, Samples(images, train.labels[rows]))
    return path


def test_every_number_agrees_and_says_what_is_compared(cli: Cli, tmp_path: Path) -> None:
    file = noisy_digits(tmp_path / "s.npz")
    code, out, err = cli("crosscheck", file, "--dataset", "digits-lt", "--json", "-q")
    assert code == 0, err
    rows = json.loads(out)
    assert [row["metric"] for row in rows] == [
        "FD[digits-cnn-unseen]", "KID", "Inception Score", "precision", "recall", "density", "coverage",
    ]  # fmt: skip
    assert {row["peer"] for row in rows} == {"torch-fidelity", "prdc"}
    for row in rows:
        assert row["agrees"]
        assert abs(row["difference"]) <= row["tolerance"] < 0.05 * max(1.0, row["ours"])


def test_a_number_that_differs_is_exit_code_1(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = noisy_digits(tmp_path / "s.npz")
    right = module.fid
    monkeypatch.setattr(module, "fid", lambda x, y: 1.01 * right(x, y))
    code, out, _ = cli("crosscheck", file, "--dataset", "digits-lt", "-q")
    assert code == 1
    assert "DIFFERS" in out
    assert out.count("agrees") == 6


def test_missing_peers_are_one_line(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = noisy_digits(tmp_path / "s.npz")
    load = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "prdc":
            raise ImportError("No module named 'prdc'", name="prdc")
        return load(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    line = refused(cli("crosscheck", file, "--dataset", "digits-lt", "-q"))
    assert "crosscheck needs prdc: pip install 'ltgen-bench[peers]'" in line


def test_torch_fidelity_extracts_its_own_inception_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With made-up weights, and so few images that the known difference of rank-deficient FID shows."""
    torch.save(made_up_inception().state_dict(), tmp_path / "inception.pth")
    dataset = resolve({}, tmp_path).dataset
    few = dataset.train()
    small = Samples(few.images[:8], few.labels[:8])
    monkeypatch.setattr(type(dataset), "load_reference", lambda self: type(few)(few.images[8:16], few.labels[8:16]))
    dataset.__dict__.pop("_reference", None)
    protocol = get_protocol("digits-1k.v1").model_copy(update={"extractor": "inception-v3-fid"}).for_samples(8)
    places = EvaluationPlaces(tmp_path, {"inception-v3-fid": tmp_path / "inception.pth"}, cache=False)
    found = {one.metric: one for one in crosscheck(small, dataset, protocol, places, torch.device("cpu"))}
    assert all(one.agrees for one in found.values()), found
    (distance,) = [one for name, one in found.items() if name.startswith("FD[")]
    assert "fewer rows than features" in distance.note


def test_agreement_is_within_the_tolerance() -> None:
    assert Crosscheck("x", 1.0, 1.1, 0.11, "p", "").agrees
    assert not Crosscheck("x", 1.0, 1.1, 0.09, "p", "").agrees
    assert not Crosscheck("x", float("nan"), 1.1, 0.09, "p", "").agrees
