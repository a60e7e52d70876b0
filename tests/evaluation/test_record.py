from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUICK
from safetensors.torch import load_file

import ltgen_bench
from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import CheckpointError, RecordError, SamplesError
from ltgen_bench.core.mappings import merge
from ltgen_bench.core.progress import Progress
from ltgen_bench.datasets import ImageSet, load_dataset
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.record_files import parse_record, read_record
from ltgen_bench.runs.pipeline import Run
from ltgen_bench.runs.resolve import resolve
from ltgen_bench.runs.trained_models import load_trained


@pytest.fixture(scope="module")
def value(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real record of a quick run, as JSON values."""
    root = tmp_path_factory.mktemp("run")
    resolved = resolve(QUICK, root / "data")
    Run.at(resolved, root / "runs", EvaluationPlaces(root / "data"), Progress()).run_all()
    return json.loads(next(root.glob("runs/*/*/*/record.json")).read_text())


def refused(value: Any) -> str:
    with pytest.raises(RecordError) as error:
        parse_record(json.dumps(value), "r.json")
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith("r.json: ")
    return text


def change(value: Any, path: str, new: Any) -> Any:
    changed = copy.deepcopy(value)
    place = changed
    *parents, last = path.split(".")
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[int(last) if isinstance(place, list) else last] = new
    return changed


def test_a_real_record_is_valid_and_survives(value: Any) -> None:
    record = parse_record(json.dumps(value), "r.json")
    assert record.model_dump(mode="json") == value
    assert record.metrics.fid is not None


@pytest.mark.parametrize(
    ("path", "new", "part"),
    [
        ("metrics.fid", -1.0, "metrics.fid: input should be greater than or equal to 0"),
        ("metrics.fid", "3.2", "metrics.fid: input should be a valid number"),
        ("metrics.recall", 1.5, "metrics.recall: input should be less than or equal to 1"),
        ("metrics.recall", None, "metrics.recall is null and metrics.notes does not say why"),
        ("metrics.extra", 1, "metrics.extra: extra inputs are not permitted"),
        ("metrics.per_class.n_generated.0", 99, "metrics.per_class.n_generated differs from samples.class_counts"),
        ("metrics.per_class.fid", [1.0], "a list in metrics.per_class has another length"),
        ("metrics.confidence.fid.low", 1e9, "metrics.confidence.fid has low above high"),
        ("dataset.total", 1, "dataset.total is not the sum of class_counts"),
        ("dataset.groups.few", [], "dataset.groups do not hold every class once"),
        ("dataset.fingerprint", "abc", "dataset.fingerprint: string should match pattern"),
        ("protocol.neighbours", 5, "protocol_hash is not the hash of protocol"),
        ("protocol.name", "digits-1k.v1", "protocol_hash is not the hash of protocol"),
        ("method.config.training.steps", 1, "method.config_hash is not the hash of method.config"),
        ("method.name", "x" * 201, "method.name: string should have at most 200 characters"),
        ("schema_version", 3, "schema_version: input should be 1 or 2"),
        ("seed", True, "seed: input should be a valid integer"),
        ("extractors", {}, "extractors are not those of the protocol"),
    ],
)
def test_one_wrong_value_is_found_and_named(value: Any, path: str, new: Any, part: str) -> None:
    assert part in refused(change(value, path, new))


def test_a_protocol_cannot_borrow_a_published_name(value: Any) -> None:
    """A custom protocol under a published name, with hashes made to fit, is still refused."""
    from ltgen_bench.core.protocol import Protocol

    forged = change(value, "protocol.name", "digits-1k.v1")
    forged["protocol_hash"] = Protocol(**forged["protocol"]).hash()
    assert "is not the published one of that name" in refused(forged)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "r.json is not JSON"),
        ('{"a": NaN}', "NaN is not JSON; a number that was not computed is null"),
        ('{"a": 1, "a": 2}', "an object has the same key twice"),
        ("[" * 100_000, "r.json is not JSON"),
        ("[]", "r.json: record: input should be a valid dictionary"),
    ],
)
def test_what_is_no_record(text: str, part: str) -> None:
    with pytest.raises(RecordError) as error:
        parse_record(text, "r.json")
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(RecordError, match="has more than the 16,777,216 bytes"):
        read_record(path)


def test_evaluate_in_python(tmp_path: Path) -> None:
    """The reference against itself is the best score there is; channels may come first or last."""
    first_protocol = {"places": EvaluationPlaces(tmp_path), "protocol": "digits-1k.v1"}
    reference = load_dataset(DatasetConfig(name="digits-lt"), tmp_path).reference_set()
    images, labels = reference.images, reference.labels
    result = ltgen_bench.evaluate(images, labels, dataset="digits-lt", **first_protocol)
    assert result.report.fid == pytest.approx(0, abs=1e-6)
    assert result.report.precision == 1.0
    assert result.protocol.name == "digits-1k.v1+custom"
    half = slice(0, 900)
    last = ltgen_bench.evaluate(images[half].transpose(0, 2, 3, 1), labels[half], dataset="digits-lt", **first_protocol)
    first = ltgen_bench.evaluate(images[half], labels[half], dataset="digits-lt", **first_protocol)
    assert last.to_dict() == first.to_dict()
    with pytest.raises(SamplesError, match="images have the dtype float64; they must be uint8"):
        ltgen_bench.evaluate(images / 255, labels, dataset="digits-lt", **first_protocol)
    with pytest.raises(SamplesError, match="1797 images need as many integers"):
        ltgen_bench.evaluate(images, labels[:5], dataset="digits-lt", **first_protocol)
    with pytest.raises(SamplesError, match="are empty"):
        ltgen_bench.evaluate(images[:0], labels[:0], dataset="digits-lt", **first_protocol)
    assert np.shares_memory(images, reference.images)


def test_held_out_images_that_are_training_images_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the data set says: a generator that copies is found, with the threshold of the others."""
    first_protocol = {"places": EvaluationPlaces(tmp_path), "protocol": "digits-1k.v1"}
    data = load_dataset(DatasetConfig(name="digits-lt"), tmp_path)
    train, held_out = data.train(), data.held_out()
    assert held_out is not None
    both = ImageSet(
        np.concatenate([train.images[::10], held_out.images]), np.concatenate([train.labels[::10], held_out.labels])
    )
    clean = ltgen_bench.evaluate(train.images, train.labels, dataset=data, **first_protocol).report.memorisation
    for mixed, expected in ((both, clean), (ImageSet(train.images, train.labels), None)):
        again = load_dataset(DatasetConfig(name="digits-lt"), tmp_path)
        monkeypatch.setattr(type(again), "load_held_out", lambda self, mixed=mixed: mixed)
        report = ltgen_bench.evaluate(train.images, train.labels, dataset=again, **first_protocol).report
        assert report.memorisation is not None
        if expected is None:
            assert report.memorisation["pixels"]["fraction"] is None
            assert "needs held-out images" in report.notes["memorisation.pixels.fraction"]
        else:
            assert report.memorisation == expected
            assert report.memorisation["pixels"]["fraction"] == 1


def test_unconditional_samples_say_nothing_of_classes(tmp_path: Path) -> None:
    resolved = resolve({**QUICK, "sampling": {"steps": 4, "conditioning": "none"}}, tmp_path / "data")
    run = Run.at(resolved, tmp_path / "runs", EvaluationPlaces(tmp_path / "data"), Progress())
    record = run.run_all()
    assert record.samples.labelled is False
    assert record.samples.class_counts == [0] * 10
    with np.load(run.folder.samples) as archive:
        assert archive.files == ["arr_0"]
    assert record.metrics.fid is not None
    assert record.metrics.label_accuracy is None
    assert record.metrics.notes["per_class"] == "unconditional samples belong to no class"
    assert "fid" not in (record.metrics.per_class.model_extra or {})
    assert sorted(file.name for file in run.folder.figures.iterdir()) == ["closest-pairs.png", "samples.png"]
    assert read_record(run.folder.record) == record


def test_raw_weights_are_those_that_the_optimiser_left(tmp_path: Path) -> None:
    def run(weights: str) -> Run:
        resolved = resolve(merge(QUICK, {"sampling": {"weights": weights}}), tmp_path / "data")
        return Run.at(resolved, tmp_path / "runs", EvaluationPlaces(tmp_path / "data"), Progress())

    averaged, raw = run("ema"), run("raw")
    averaged.run_all()
    raw.run_all()  # takes the other run's training
    assert read_record(raw.folder.record).samples.sha256 != read_record(averaged.folder.record).samples.sha256
    state = load_file(raw.folder.training_state)
    method: Any = load_trained(raw.resolved, raw.folder, torch.device("cpu"))
    for name, value in method.network.state_dict().items():
        assert torch.equal(value, state[f"model.network.{name}"])
    raw.folder.training_state.unlink()
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_trained(raw.resolved, raw.folder, torch.device("cpu"))
