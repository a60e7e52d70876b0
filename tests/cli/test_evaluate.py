"""`evaluate`: which protocol measures, what is refused instead of ignored, and where the record goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import QUICK_OPTIONS, Cli, refused

import ltgen_bench
from ltgen_bench.evaluation.record import MethodPart
from ltgen_bench.evaluation.record_files import read_record
from ltgen_bench.evaluation.samples import Samples, write_samples
from ltgen_bench.runs.external import evaluated_path


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
    own_sampler = planned("--protocol", "digits-1k.v1")["protocol"]
    assert own_sampler["name"] == "digits-1k.v1+custom"  # the file draws in another number of steps
    assert own_sampler["sampler_steps"] == planned()["sampling"]["steps"] != 25
    plan = planned("--protocol", "digits-1k.v1", "--set", "sampling.steps=25")
    assert plan["protocol"]["name"] == "digits-1k.v1"
    assert plan["protocol"]["samples"] == 1000
    assert plan["training"]["steps"] == 12  # what is not part of the protocol stays


def test_another_method_takes_everything_else_from_a_configuration_file(cli: Cli, run_folder: Path) -> None:
    line = ["run", "--config", run_folder / "config.toml", "--dry-run", "--json"]
    own = json.loads(cli(*line)[1])["config"]
    code, out, err = cli(*line, "--method", "coral")
    assert code == 0, err
    coral = json.loads(out)["config"]
    assert (own["method"]["name"], coral["method"]["name"], coral["method"]["weight"]) == ("ddpm", "coral", 0.01)
    assert {**coral, "method": None} == {**own, "method": None}
    file = run_folder.parent / "coral.toml"
    named, unnamed = 'name = "coral", weight = 0.5', "weight = 0.5"  # keys alone are for the method that is named
    for keys, name, weight in ((named, "coral", 0.5), (unnamed, "coral", 0.5), (named, "coral+cbdm", None)):
        file.write_text(f"method = {{ {keys} }}")
        line = ["run", "--config", file, "--method", name, "--dry-run", "--json"]
        assert json.loads(cli(*line)[1])["config"]["method"].get("weight") == weight
    file.write_text("method = { weight = 0.5 }")
    assert "method.weight" in refused(cli("run", "--config", file, "--method", "ddpm", "--dry-run"))


def other_weights(path: Path) -> Path:
    """The bundled digits network with one tensor scaled: right in form, another file."""
    from safetensors.numpy import load_file, save_file

    state = load_file(Path(ltgen_bench.__file__).parent / "features" / "weights" / "digits_cnn.safetensors")
    first = next(iter(state))
    save_file({**state, first: state[first] * np.float32(1.01)}, path)
    return path


def test_a_short_file_is_merged_with_the_options(cli: Cli, tmp_path: Path) -> None:
    """What a file does not set, nothing hides: only a complete configuration is in the way of another one."""

    def planned(text: str, *options: str) -> dict[str, Any]:
        (tmp_path / "short.toml").write_text(text)
        code, out, err = cli("run", "--config", tmp_path / "short.toml", *options, "--dry-run", "--json")
        assert code == 0, err
        plan: dict[str, Any] = json.loads(out)["config"]
        return plan

    released = '[method]\nname = "coral"\nvariant = "released"\n'
    assert planned(released, "--set", "method.variant=paper")["method"]["variant"] == "paper"
    plan = planned("[protocol]\nsamples = 300\nprd_runs = 2\n", "--protocol", "digits-1k.v1")
    assert plan["protocol"]["samples"] == 300
    assert plan["protocol"]["name"] == "digits-1k.v1+custom"


def test_unconditional_samples_have_no_guidance(cli: Cli, tmp_path: Path) -> None:
    """Also of a data set whose recipe has one, as `sample` of an h2t run suggests."""
    line = ["evaluate", "absent.npz", "--dataset", "cifar10lt", "--set", "sampling.conditioning=none"]
    assert "absent.npz" in refused(cli(*line))


def test_a_variant_on_top_of_a_complete_configuration_is_refused(cli: Cli, run_folder: Path) -> None:
    """It would change the name only: every key that a variant chooses stands in the file."""
    line = ["run", "--config", run_folder / "config.toml", "--set", "method.variant=released", "--dry-run"]
    assert "does not turn the configuration of a 'paper' variant into another" in refused(cli(*line))
    assert cli(*line[:3], "--set", "method.variant=paper", "--dry-run")[0] == 0


@pytest.mark.parametrize(
    ("weights", "part"),
    [
        ("digit-cnn", "unknown feature extractor 'digit-cnn'; did you mean 'digits-cnn'?"),
        ("vgg16-fc2", "weights of vgg16-fc2 are given (w.pth) and protocol digits-1k.v2 uses digits-cnn-unseen; leave"),
    ],
)
def test_weights_that_nothing_would_use(cli: Cli, tmp_path: Path, weights: str, part: str) -> None:
    write_samples(tmp_path / "s.npz", some_samples())
    option = ["--weights", f"{weights}=w.pth", "--quiet"]
    assert part in refused(cli("evaluate", "s.npz", "-d", "digits-lt", *option))
    for more in ([], ["--dry-run"]):
        assert part in refused(cli("run", *option, *more))
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


@pytest.mark.parametrize(
    "option",
    ["--dataset=digits-lt", "--imbalance=.1", "--per-class=9", "--path=x", "--reference-path=x", "--image-size=8"],
)
def test_a_run_takes_no_other_data_set(cli: Cli, run_folder: Path, option: str) -> None:
    line = refused(cli("evaluate", run_folder, option))
    assert f"is a run and knows its data set; leave out {option.partition('=')[0]}\n" in line


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_that_are_asked_for(cli: Cli, run_folder: Path, threads: int) -> None:
    record = evaluated(cli, run_folder, "--set", f"execution.threads={threads}")
    assert record["environment"]["threads"] == threads


def test_a_finished_run_is_not_passed_off_as_measured_with_other_weights(cli: Cli, tmp_path: Path) -> None:
    quick = [*QUICK_OPTIONS, "--protocol", "digits-1k.v1", "--quiet"]
    weights = ["--weights", f"digits-cnn={other_weights(tmp_path / 'mine.safetensors')}"]
    code, _, err = cli("run", *quick)
    assert code == 0, err
    (file,) = tmp_path.rglob("record.json")
    folder, before = file.parent, file.read_bytes()
    line = refused(cli("run", *quick, *weights))
    assert "was measured with other weights of digits-cnn (sha256 b1360775b603..., and not" in line
    assert cli("run", *quick)[0] == 0
    # what the line proposes
    assert f"'ltgen-bench evaluate {folder.relative_to(tmp_path)}'" in line
    new, old = evaluated(cli, folder, *weights), json.loads(before)
    assert new["extractors"]["features"]["weights_sha256"] != old["extractors"]["features"]["weights_sha256"]
    assert file.read_bytes() == before


def test_a_data_root_that_cannot_be_written_is_a_warning(cli: Cli, run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".cache").write_text("in the way")
    code, out, err = cli("evaluate", run_folder, "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["fid"] > 0
    assert err.count("warning: features are not kept in data/.cache/features: cannot write data/.cache/") == 1


def test_no_evaluation_writes_over_another(cli: Cli, tmp_path: Path) -> None:
    write_samples(tmp_path / "s.npz", some_samples())
    weights = other_weights(tmp_path / "mine.safetensors")
    command = ["s.npz", "-d", "digits-lt", "-p", "digits-1k.v1", "--set", "protocol.prd_runs=1"]
    evaluated(cli, *command)
    (first,) = tmp_path.rglob("record.json")
    before = first.read_bytes()
    evaluated(cli, *command, "--weights", f"digits-cnn={weights}")
    assert first.read_bytes() == before
    evaluated(cli, *command)  # again: the first one's folder, and no more
    assert len(list(tmp_path.rglob("record.json"))) == 2

    record = read_record(first)
    assert first.parent == evaluated_path(tmp_path / "runs", record)
    assert first.parent.name.startswith(record.samples.sha256[:10] + "-")
    others = [
        {"seed": 1},
        {"method": MethodPart(name="my GAN", title="my GAN")},
        {"protocol_hash": "0" * 16},
        {"dataset": record.dataset.model_copy(update={"fingerprint": "0" * 64})},
        {"samples": record.samples.model_copy(update={"labelled": False})},
    ]
    changed = [record.model_copy(update=update) for update in others]
    assert len({evaluated_path(Path(), each) for each in (record, *changed)}) == 1 + len(others)
    later = record.timing.model_copy(update={"created": "2030-01-01T00:00:00Z"})
    assert evaluated_path(tmp_path / "runs", record.model_copy(update={"timing": later})) == first.parent
