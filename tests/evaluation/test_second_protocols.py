"""Protocols of version 2 from end to end: equal counts, unseen reference, floors, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import QUICK_OPTIONS, Cli

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import SamplesError
from ltgen_bench.core.protocol import PROTOCOLS
from ltgen_bench.core.seeding import equal_labels, labels_by_policy, uniform_labels
from ltgen_bench.datasets import load_dataset
from ltgen_bench.evaluation.evaluate import evaluate
from ltgen_bench.features import extract_features, load_extractor
from ltgen_bench.metrics import fid


def test_versions_differ_in_labels_and_reference():
    for name, protocol in PROTOCOLS.items():
        second = name.endswith(".v2")
        assert (protocol.label_policy, protocol.reference) == (
            ("equal" if second or name.startswith("cm-") else "uniform"),  # CM draws equally many itself
            "unseen" if second else "data set",
        )


def test_equal_labels_take_turns():
    labels = equal_labels(1003, 10)
    assert np.bincount(labels).tolist() == [101] * 3 + [100] * 7
    assert (labels_by_policy("equal", 20, 10, seed=5) == labels[:20]).all()
    assert (labels_by_policy("uniform", 20, 10, seed=5) == uniform_labels(20, 10, 5)).all()


def copies(count: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Training images of digits-lt with equal labels."""
    train = load_dataset(DatasetConfig(name="digits-lt"), Path("data")).train()
    random, labels = np.random.default_rng(0), equal_labels(count, 10)
    return np.stack([train.images[random.choice(np.flatnonzero(train.labels == c))] for c in labels]), labels


@pytest.fixture(scope="module")
def report() -> dict:
    return evaluate(*copies(), dataset="digits-lt", protocol="digits-1k.v2").to_dict()


def test_copies_of_the_training_set_are_measured_against_images_that_they_have_not_seen(report: dict):
    dataset = load_dataset(DatasetConfig(name="digits-lt"), Path("data"))
    network = load_extractor("digits-cnn-unseen", device="cpu", weights_root=Path("data/weights"))
    of_copies, of_all = (
        extract_features(images, network).features for images in (copies()[0], dataset.reference_set().images)
    )
    assert report["papers_fid"] == pytest.approx(fid(of_copies, of_all), rel=1e-6)
    assert report["per_class"]["n_generated"] == [100] * 10
    assert report["per_class"]["n_reference"] == [54] * 10
    assert report["fid"] > report["papers_fid"]
    assert report["copying_gain"] > 0.1
    assert report["fid_floor"] < report["fid"]
    assert report["coverage"] < report["coverage_ceiling"] < 1
    assert report["label_accuracy"] == 1
    for group in report["groups"].values():
        assert group["fid_n"] == 81
        assert group["fid_excess"] == pytest.approx(group["fid"] - group["fid_floor"])


def test_other_class_counts_are_refused():
    images, labels = copies()
    with pytest.raises(SamplesError, match=r"hold 101 of class 0; protocol digits-1k.v2 wants 100 of it"):
        evaluate(images, np.where(np.arange(1000) == 1, 0, labels), dataset="digits-lt", protocol="digits-1k.v2")


def test_a_run_draws_equal_counts_and_its_record_holds(cli: Cli, tmp_path: Path) -> None:
    options = [option for option in QUICK_OPTIONS if "inception_score_splits" not in option]
    code, out, err = cli("run", *options, "--protocol", "digits-1k.v2", "--json", "--quiet")
    assert code == 0, err
    record = json.loads(out)
    assert record["samples"]["class_counts"] == [4] * 10
    assert record["dataset"]["reference"]["class_counts"] == [54] * 10
    assert record["dataset"]["papers_reference"]["name"] == "digits-all"
    (path,) = tmp_path.rglob("record.json")
    code, out, err = cli("validate", path)
    assert code == 0, err
    record["dataset"]["papers_reference"] = None
    path.write_text(json.dumps(record))
    code, _, err = cli("validate", path)
    assert code == 2
    assert "papers_reference" in err
