"""Recognition as a part of a protocol and of its records."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from leaderboard_records import make_record
from rich.console import Console

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.protocol import Protocol, get_protocol
from ltgen_bench.datasets import Dataset, load_dataset
from ltgen_bench.evaluation.contradictions import contradictions
from ltgen_bench.evaluation.evaluate import Evaluator
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.recognition import (
    RecognitionRecipe,
    RecognitionSettings,
    RecognitionTask,
    recognize,
    section,
    summarise,
)
from ltgen_bench.evaluation.recognition.recognize import ARMS
from ltgen_bench.evaluation.record import MetricsPart, Record
from ltgen_bench.evaluation.report.tables import metric_tables
from ltgen_bench.evaluation.samples import Samples

CPU = torch.device("cpu")
QUICK = RecognitionRecipe(network="cnn", epochs=1, batch_size=64, learning_rate=0.05, weight_decay=5e-4)


def quick_protocol(**changes: Any) -> Protocol:
    return get_protocol("digits-1k.v1").customised(samples=60, prd_runs=1, kid_subset_size=30, **changes)


def some_samples() -> Samples:
    return Samples(np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), dtype=np.uint8), np.arange(60) % 10)


@pytest.fixture
def evaluator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluator:
    monkeypatch.setattr(section, "recognition_recipe", lambda name, size: ("quick", QUICK))
    return Evaluator(EvaluationPlaces(tmp_path), CPU)


def test_a_protocol_may_ask_for_it(evaluator: Evaluator, tmp_path: Path) -> None:
    dataset, samples = load_dataset(DatasetConfig(), tmp_path), some_samples()
    plain = evaluator.measure(samples, dataset, quick_protocol())
    assert evaluator.with_recognition(plain, samples, dataset).to_dict() == plain.to_dict()

    asked = evaluator.measure(samples, dataset, quick_protocol(recognition="cas.v1"))
    assert asked.to_dict() == plain.to_dict()  # what verifies trains nothing
    metrics = MetricsPart.model_validate(evaluator.with_recognition(asked, samples, dataset).to_dict())
    part = metrics.recognition
    assert part is not None
    assert (part.recipe, part.fill, part.weight, part.filter) == ("quick", "balanced", 1.0, None)
    assert {(row.arm, row.seed) for row in part.rows} == {(arm, seed) for arm in ARMS for seed in range(3)}
    own = RecognitionSettings("quick", QUICK)
    found = recognize(RecognitionTask(dataset, own, evaluator.places.recognition_cache, CPU), samples)  # from its cache
    gains = {each["group"]: each["mean"] for each in summarise([found])["gain"]}
    assert metrics.number("recognition.gain") == pytest.approx(gains["all"])
    assert metrics.number("recognition.few_gain") == pytest.approx(gains["few"])
    of_filled = [row["all"] for row in found["rows"] if row["arm"] == "filled"]
    assert metrics.number("recognition.filled") == pytest.approx(fmean(of_filled))
    out = io.StringIO()
    for table in metric_tables(
        metrics.model_dump(mode="json"),
        heading="",
        label="FD",
        class_names=dataset.class_names,
        class_counts=task_counts(dataset),
    ):
        Console(file=out, width=200).print(table)
    text = " ".join(out.getvalue().split())
    assert f"{100 * gains['few']:+.1f}" in text
    assert "597 test images that nobody trained on; quick, 7 steps, last epoch, mean of 3 classifiers" in text
    assert "generated ones, a balanced set: 1,140 samples too few" in text


def task_counts(dataset: Dataset) -> list[int]:
    return [int(n) for n in dataset.train().counts(dataset.class_count)]


def test_samples_without_labels_say_why_there_is_none(evaluator: Evaluator, tmp_path: Path) -> None:
    dataset, unlabelled = load_dataset(DatasetConfig(), tmp_path), Samples(some_samples().images, None)
    asked = evaluator.measure(unlabelled, dataset, quick_protocol(recognition="cas.v1"))
    found = evaluator.with_recognition(asked, unlabelled, dataset)
    assert found.recognition is None
    assert "these have none" in found.to_dict()["notes"]["recognition"]


def test_a_protocol_with_it_is_another_protocol() -> None:
    base, asked = get_protocol("digits-1k.v2"), get_protocol("digits-1k-recognition.v2")
    assert base.differences(asked) == {"recognition": (None, "cas.v1")}
    assert base.hash() != asked.hash()


def test_a_set_without_images_to_test_with_is_refused_before_the_training(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["ltgen_bench.evaluation.recognition.recognize"]  # the package has a function of that name
    monkeypatch.setattr(module, "not_trained_on", lambda images, train: None)
    places = ["--data-root", tmp_path, "--runs-dir", tmp_path / "runs"]
    code, _, err = cli("run", "--set", "protocol.recognition=cas.v1", *places, "-q")
    assert code == 2
    assert "data set digits-lt has no real images that nobody trained on, to test classifiers with" in err
    assert not list(tmp_path.glob("runs/**/*.safetensors"))


def recorded() -> dict[str, Any]:
    """A record of a protocol that asks for recognition, with what cas.v1 leaves."""
    record = make_record()
    record["protocol"]["recognition"] = "cas.v1"
    numbers = {"all": 0.8, "many": 0.9, "medium": 0.8, "few": 0.7}
    total = record["dataset"]["total"]
    record["metrics"]["recognition"] = {
        "recipe": "cnn-8px",
        "steps": 560,
        "fill": "balanced",
        "weight": 1.0,
        "filter": None,
        "real_images": total,
        "test_images": 597,
        "missing": {"filled": 14},
        "rows": [{"arm": arm, "seed": seed, "images": total, **numbers} for arm in ARMS for seed in range(3)],
    }
    return record


def claims(record: dict[str, Any]) -> list[str]:
    parsed = Record.model_validate_json(json.dumps(record))
    return [line for line in contradictions(parsed) if "recognition" in line and "method.config" not in line]


def without(record: dict[str, Any]) -> None:
    record["metrics"]["recognition"] = None


def with_a_reason(record: dict[str, Any]) -> None:
    without(record)
    record["metrics"]["notes"]["recognition"] = section.UNLABELLED


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda record: None, None),
        (with_a_reason, None),
        (without, "metrics.recognition is null, the protocol asks for it"),
        (lambda record: record["protocol"].pop("recognition"), "does not ask for it"),
        (lambda record: record["metrics"]["recognition"].update(fill="count"), "another fill, weight or filter"),
        (lambda record: record["metrics"]["recognition"]["rows"].pop(), "not three classifiers, 0 to 2"),
        (lambda record: record["metrics"]["recognition"]["rows"][0].update(seed=1), "not three classifiers, 0 to 2"),
        (lambda record: record["metrics"]["recognition"].update(real_images=9), "real_images is not dataset.total"),
        (lambda record: record["metrics"]["recognition"]["rows"][0].update(images=9), "another number of images"),
        (
            lambda record: record["metrics"]["recognition"]["rows"][4].update(all=0.95),
            "not between those of the groups",
        ),
    ],
)
def test_what_a_record_says_of_it_is_checked(edit: Callable[[dict[str, Any]], object], message: str | None) -> None:
    record = recorded()
    edit(record)
    found = claims(record)
    assert found == [] if message is None else any(message in line for line in found)


def test_what_it_costs_is_said_before(cli: Cli) -> None:
    code, out, _ = cli("run", "--protocol", "digits-1k-recognition.v2", "--dry-run", "--json")
    assert code == 0
    cost = json.loads(out)["cost"]
    assert cost["recognition_classifiers"] == 4 * 3
    epochs, batch = 80, 64  # of cnn-8px; an epoch is 405 images in whole batches
    assert cost["recognition_images_seen"] == 4 * 3 * epochs * math.ceil(405 / batch) * batch
