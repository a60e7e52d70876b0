"""`metrics` and `compare`: numbers from features, and records side by side."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import QUICK_OPTIONS, Cli, refused
from sklearn.datasets import load_digits

KEYS = {
    "fid", "kid", "kid_std", "inception_score", "inception_score_std", "f8", "f1_8", "precision", "recall", "density",
    "coverage", "label_accuracy", "per_class", "groups", "confidence", "notes", "memorisation",
}  # fmt: skip
FAST = ["--set", "prd_runs=2", "--set", "kid_subset_size=50", "--set", "kid_subsets=5", "--quiet", "--json"]


def features(path: Path, *, shift: float = 0.0, seed: int = 0, **more: Any) -> Path:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(10), 30)
    values = (rng.normal(size=(300, 12)) + labels[:, None] + shift).astype(np.float32)
    np.savez(path, **{"features": values, "labels": labels, **more})
    return path


def test_from_features_to_every_key(cli: Cli, tmp_path: Path) -> None:
    one_hot = np.eye(10, dtype=np.float32)[np.repeat(np.arange(10), 30)]
    ours = features(tmp_path / "g.npz", shift=0.5, seed=1, probabilities=one_hot)
    code, out, _ = cli("metrics", ours, features(tmp_path / "r.npz"), "--dataset", "digits-lt", *FAST)
    assert code == 0
    result = json.loads(out)
    assert set(result) >= KEYS
    assert result["label_accuracy"] == 1.0
    assert result["inception_score"] == pytest.approx(10, rel=0.15)
    assert set(result["groups"]) == {"many", "medium", "few"}
    assert len(result["per_class"]["fid"]) == 10
    # the shift alone makes 12 * 0.5^2 = 3
    assert result["fid"] == pytest.approx(3, abs=1)
    assert result["confidence"]["fid"]["low"] < result["fid"] < result["confidence"]["fid"]["high"]
    assert result["memorisation"] is None
    assert "memorisation" in result["notes"]


def test_only_what_is_asked_for(cli: Cli, tmp_path: Path) -> None:
    ours, theirs = features(tmp_path / "g.npz", seed=1), features(tmp_path / "r.npz")
    code, out, _ = cli("metrics", ours, theirs, "--only", "fid,precision_recall", *FAST)
    assert code == 0
    result = json.loads(out)
    assert result["fid"] is not None
    assert result["recall"] is not None
    assert result["f8"] is None
    assert result["notes"]["f8"] == "not asked for"
    code, out, _ = cli("metrics", ours, theirs, "--only", "fid", "--quiet")
    assert code == 0
    assert "Frechet distance" in out


def test_statistics_in_place_of_a_reference(cli: Cli, tmp_path: Path) -> None:
    ours, theirs = features(tmp_path / "g.npz", seed=1), features(tmp_path / "r.npz")
    statistics = tmp_path / "out" / "stats.npz"
    code, out, _ = cli("metrics", ours, theirs, "--export-statistics", statistics, *FAST)
    assert code == 0
    whole = json.loads(out)
    with np.load(statistics) as archive, np.load(theirs) as reference:
        assert int(archive["n"]) == 300
        np.testing.assert_allclose(archive["sigma"], np.cov(reference["features"].astype(np.float64), rowvar=False))
    code, out, _ = cli("metrics", ours, statistics, *FAST)
    assert code == 0
    result = json.loads(out)
    assert result["fid"] == pytest.approx(whole["fid"], rel=1e-12)
    assert result["recall"] is None
    assert "recall" in result["notes"]


def test_statistics_that_cannot_be_written_cost_no_numbers(cli: Cli, tmp_path: Path) -> None:
    ours, theirs = features(tmp_path / "g.npz", seed=1), features(tmp_path / "r.npz")
    command = ["metrics", ours, theirs, "--only", "fid", "--quiet", "--json", "--export-statistics"]
    (tmp_path / "folder").mkdir()
    assert "folder is a folder; name the .npz file to write" in refused(cli(*command, tmp_path / "folder"))
    code, out, err = cli(*command, ours / "stats.npz")  # noticed when it is written
    assert code == 2
    assert json.loads(out)["fid"] > 0
    assert err.startswith("error: cannot write ")
    assert err.count("\n") == 1


def test_metrics_on_mps_are_computed_on_the_cpu_and_say_so(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `evaluate` does it (tests/evaluation/test_evaluate.py)."""
    import torch

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    ours, theirs = features(tmp_path / "g.npz", seed=1), features(tmp_path / "r.npz")
    code, out, err = cli("metrics", ours, theirs, "--only", "fid", "--json", "--device", "mps")
    assert code == 0
    assert json.loads(out)["fid"] > 0
    assert "measured on the CPU: it needs float64, which mps lacks" in err


def test_copies_of_the_training_images_are_seen(cli: Cli, tmp_path: Path) -> None:
    theirs, training = features(tmp_path / "r.npz"), features(tmp_path / "t.npz", seed=5)
    held_out = features(tmp_path / "h.npz", seed=6)
    code, out, _ = cli("metrics", training, theirs, "--training", training, "--held-out", held_out, *FAST)
    assert code == 0
    assert json.loads(out)["memorisation"]["features"]["fraction"] == 1.0
    assert "give --training as well" in refused(cli("metrics", training, theirs, "--held-out", held_out, *FAST))


def test_a_collapsed_generator_is_measured(cli: Cli, tmp_path: Path) -> None:
    image = load_digits().images[3].astype(np.uint8)[..., None]
    np.savez(tmp_path / "s.npz", arr_0=np.repeat(image[None], 60, axis=0), labels=np.arange(60) % 10)
    code, out, err = cli("evaluate", "s.npz", "-d", "digits-lt", "--json", "-q", "--set", "protocol.prd_runs=1")
    assert code == 0, err
    assert json.loads(out)["metrics"]["inception_score"] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"features": np.zeros((300, 12)) * np.nan}, "features: row 0 holds NaN or infinity"),
        ({"features": np.zeros(300)}, "features: expected shape (N, D)"),
        ({"features": np.zeros((300, 5), np.float32)}, "both need the same extractor"),
        ({"labels": np.zeros(5, int)}, "labels"),
        ({"labels": np.full(300, -1)}, "labels"),
        ({"feature": np.zeros(3)}, "did you mean 'features'?"),
        ({"features": np.array([["a"] * 12] * 300)}, "numbers are needed"),
        ({"features": np.array([[None] * 12] * 300)}, "pickled Python objects"),
    ],
)
def test_features_that_do_not_fit(cli: Cli, tmp_path: Path, change: dict[str, Any], part: str) -> None:
    ours, theirs = features(tmp_path / "g.npz", **change), features(tmp_path / "r.npz")
    assert part in refused(cli("metrics", ours, theirs, *FAST))


def test_images_in_place_of_features(cli: Cli, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", arr_0=np.zeros((2, 8, 8, 3), np.uint8), labels=np.arange(2))
    line = refused(cli("metrics", tmp_path / "images.npz", features(tmp_path / "r.npz")))
    assert "holds images, not features; 'ltgen-bench evaluate' measures images" in line


def test_without_labels_there_is_no_table_of_classes(cli: Cli, tmp_path: Path) -> None:
    features(tmp_path / "r.npz")
    with np.load(tmp_path / "r.npz") as archive:
        np.savez(tmp_path / "g.npz", features=archive["features"] + 1)
    code, out, err = cli("metrics", "g.npz", "r.npz", "-q", "--dataset", "digits-lt", "--only", "fid")
    assert code == 0, err
    assert "Frechet distance" in out
    assert "by class" not in out


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--only", "fdi"], "did you mean 'fid'?"),
        (["--set", "kk=3"], "unknown metric setting 'kk'"),
        (["--set", "k=three"], "k wants a value of type int"),
        (["--set", "k=0"], "k = 0: must be at least 1"),
        (["--only", "prd", "--set", "prd_beta=1e200"], "prd_beta = 1e+200: must be greater than 1"),
        (["--dataset", "digit-lt"], "did you mean 'digits-lt'?"),
    ],
)
def test_options_that_do_not_fit(cli: Cli, tmp_path: Path, options: list[str], part: str) -> None:
    ours, theirs = features(tmp_path / "g.npz"), features(tmp_path / "r.npz")
    assert part in refused(cli("metrics", ours, theirs, *options))


def test_compare_two_methods_over_seeds(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("run", *QUICK_OPTIONS, "--json", "--quiet")
    assert code == 0
    record = json.loads(out)
    for name, offset in (("ddpm", 0.0), ("other", 5.0)):
        for seed in range(3):
            changed = json.loads(json.dumps(record))
            changed["method"] |= {"name": name, "title": name, "config": None, "config_hash": None}
            changed["seed"] = seed
            changed["metrics"]["fid"] = 20 + offset + seed + 0.1 * seed * (offset > 0)
            changed["metrics"]["confidence"] = {}
            folder = tmp_path / "compared" / name / str(seed)
            folder.mkdir(parents=True)
            (folder / "record.json").write_text(json.dumps(changed))
    code, out, _ = cli("compare", tmp_path / "compared" / "ddpm", tmp_path / "compared" / "other", "--json")
    assert code == 0
    first, second = json.loads(out)["methods"]
    assert first["metrics"]["fid"]["mean"] == pytest.approx(21)
    assert first["metrics"]["fid"]["std"] == pytest.approx(1)
    difference = second["metrics"]["fid"]["difference"]
    assert difference["mean"] == pytest.approx(5.1)
    # made elsewhere, so seeds do not pair: Student's t of the logarithms, 4 degrees of freedom, t(4, .975) = 2.7764
    logs = [[math.log(20 + offset + (1 + 0.1 * (offset > 0)) * seed) for seed in range(3)] for offset in (0, 5)]
    error = math.sqrt(sum(statistics.variance(of) for of in logs) / 3)
    centre = statistics.fmean(logs[1]) - statistics.fmean(logs[0])
    assert difference["low"] == pytest.approx(21 * math.expm1(centre - 2.776445 * error), rel=1e-5)
    assert difference["high"] == pytest.approx(21 * math.expm1(centre + 2.776445 * error), rel=1e-5)
    assert difference["beyond_noise"] is True
    assert difference["paired"] is False
    assert second["metrics"]["recall"]["difference"]["beyond_noise"] is False
    code, out, _ = cli("compare", tmp_path / "compared")
    assert code == 0
    assert "other (n = 3)" in out
    assert "+5.100*" in out
    line = refused(cli("compare", tmp_path / "compared" / "ddpm" / "0" / "record.json"))
    assert "a comparison needs two or more" in line
    same = tmp_path / "compared" / "ddpm" / "0" / "record.json"
    line = refused(cli("compare", same, same))
    assert "two records of ddpm have the seed 0" in line
    assert "--method-name" in line
    other = json.loads(same.read_text())
    other["extractors"]["features"]["weights_sha256"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(other))
    line = refused(cli("compare", tmp_path / "compared" / "other" / "1" / "record.json", tmp_path / "other.json"))
    assert "another set of feature weights cannot be compared" in line
