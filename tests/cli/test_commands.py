"""The command as people use it: what it prints where, its exit codes, and one line for every mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import QUICK_OPTIONS, Cli, refused


def test_help_needs_no_torch() -> None:
    code = """
import sys, ltgen_bench.cli as c
sys.argv = ["ltgen-bench", "--help"]
try:
    c.main()
except SystemExit:
    pass
assert not {"torch", "sklearn", "matplotlib", "pandas"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ltgen-bench run --method ddpm --dataset cifar100lt" in done.stdout


@pytest.mark.parametrize("command", ["run", "train", "sample", "evaluate", "list", "doctor", "validate", "schema"])
def test_every_command_explains_itself(cli: Cli, command: str) -> None:
    code, out, _ = cli(command, "--help")
    assert code == 0
    assert "Usage: ltgen-bench" in out


def test_run_from_nothing_to_a_record(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("run", *QUICK_OPTIONS, "--json")
    assert code == 0, err
    record = json.loads(out)
    assert record["protocol"]["name"] == "digits-1k.v2+custom"
    assert record["extractors"]["features"]["label"] == "FD[digits-cnn-unseen]"
    assert record["samples"]["count"] == 40
    assert record["training"] == {"steps": 12, "images_seen": 192, "final_losses": record["training"]["final_losses"]}
    folder = next((tmp_path / "runs" / "digits-lt" / "ddpm").iterdir())
    assert json.loads((folder / "record.json").read_text()) == record
    for name in ("samples.png", "per-class.png"):
        assert (folder / "figures" / name).read_bytes().startswith(b"\x89PNG")
    assert "training: 12 steps" in err

    # the same command again computes nothing and says the same
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.suffix in (".npz", ".safetensors")}
    code, again, err = cli("run", *QUICK_OPTIONS, "--json")
    assert (code, json.loads(again)) == (0, record)
    assert "finished before" in err
    assert before == {path: path.stat().st_mtime_ns for path in before}

    # the human form names the files and shows the groups
    _, out, _ = cli("run", *QUICK_OPTIONS)
    for part in (
        "FD[digits-cnn-unseen]",
        "head (many)",
        "tail (few)",
        str(folder.relative_to(tmp_path) / "record.json"),
    ):
        assert part in out

    # validate takes it, and notices one changed digit
    assert cli("validate", folder / "record.json")[0] == 0
    record["samples"]["count"] += 1
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(record))
    assert "samples.count is not the sum of class_counts" in refused(cli("validate", changed))

    # other samples of the same model, and their numbers
    code, out, _ = cli("sample", folder, "-n", "30", "--set", "sampling.steps=3", "-o", "more.npz", "--json")
    assert code == 0
    with np.load(tmp_path / "more.npz") as archive:
        assert archive["arr_0"].shape == (30, 8, 8, 1)
    code, out, _ = cli("evaluate", "more.npz", "--dataset", "digits-lt", "--method-name", "mine", "--json")
    assert code == 0
    assert json.loads(out)["method"] == {
        "name": "mine", "title": "mine", "paper": "", "config": None, "config_hash": None, "facts": {},
        "code_sha256": None,
        "plugin": None,
    }  # fmt: skip

    # another guidance scale reuses the training
    code, out, err = cli("run", *QUICK_OPTIONS, "--set", "sampling.guidance_scale=1", "--json")
    assert code == 0
    assert "the same training was done before" in err
    other = json.loads(out)
    assert other["samples"]["sha256"] != record["samples"]["sha256"]
    assert other["training"] == record["training"]

    # a run folder with another configuration is refused, with the difference
    line = refused(cli("run", *QUICK_OPTIONS, "--run-dir", folder, "--set", "training.batch_size=8", "--quiet"))
    assert "training.batch_size: 16 -> 8" in line
    assert "choose another --run-dir" in line


def test_dry_run_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("run", "--dataset", "cifar10lt", "--imbalance", "0.001", "--dry-run", "--json",
                       "--set", "network.base_channels=32")  # fmt: skip
    assert code == 0
    plan = json.loads(out)
    assert plan["dataset"]["total"] == 9324
    assert plan["config"]["training"]["steps"] == 150_000
    assert plan["cost"]["images_seen"] == 150_000 * 128
    assert plan["cost"]["network_evaluations"] == 50_000 * 1000 * 2
    assert any("cifar-10-python.tar.gz" in missing for missing in plan["missing"])
    assert any("inception" in missing for missing in plan["missing"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["run", "--method", "dppm"], "unknown method 'dppm'; did you mean 'ddpm'?"),
        (["run", "--dataset", "cifar10-lt"], "unknown data set 'cifar10-lt'; did you mean 'cifar10lt'?"),
        (["run", "--set", "training.stpes=3"], "did you mean 'training.steps'?"),
        (["run", "--set", "training.steps=soon"], "training.steps: input should be a valid integer"),
        (["run", "--set", "training.steps"], "--set wants section.key=value"),
        (["run", "--set", "protocol.prd_beta=1e200"], "protocol.prd_beta: input should be less than or equal to 1"),
        (["run", "--device", "cuda:7"], "cuda"),
        (["run", "--device", "gpu"], "execution.device 'gpu' is not a device"),
        (["run", "--protocol", "cifar-50k"], "unknown protocol 'cifar-50k'"),
        (["run", "--config", "absent.toml"], "absent.toml cannot be read"),
        (["run", "--plugin", "absent.py"], "--plugin wants a Python file"),
        (["run", "--stepps", "3"], "No such option"),
        (["rnu"], "No such command 'rnu'"),
        (["sample", "nowhere"], "nowhere is not a run"),
        (["evaluate", "absent.npz", "--dataset", "digits-lt"], "there is no samples file absent.npz"),
        (["evaluate", "absent.npz"], "which data set are the samples of?"),
        (["validate", "absent.json"], "absent.json cannot be read"),
        (["list", "method"], "'methods'"),
        (["data", "show", "digit"], "unknown data set 'digit'; did you mean 'digits'?"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_write_nothing(cli: Cli, tmp_path: Path, arguments: list[str], part: str) -> None:
    assert part in refused(cli(*arguments))
    assert list(tmp_path.iterdir()) == []


def test_samples_that_do_not_fit_the_data_set(cli: Cli, tmp_path: Path) -> None:
    def file(shape: tuple[int, ...], label: int) -> Path:
        np.savez(tmp_path / "s.npz", arr_0=np.zeros(shape, np.uint8), labels=np.full(shape[0], label))
        return tmp_path / "s.npz"

    line = refused(cli("evaluate", file((4, 16, 16, 1), 0), "--dataset", "digits-lt"))
    assert "16x16 px with 1 channel(s); digits-lt has 8x8 px with 1" in line
    line = refused(cli("evaluate", file((4, 8, 8, 1), 10), "--dataset", "digits-lt"))
    assert "labels from 10 to 10; digits-lt has 10 classes, so labels go from 0 to 9" in line


def test_a_class_without_samples_is_null_and_said(cli: Cli, tmp_path: Path) -> None:
    from ltgen_bench.core.config import DatasetConfig
    from ltgen_bench.datasets import load_dataset

    reference = load_dataset(DatasetConfig(name="digits-lt"), tmp_path / "data").reference_set()
    chosen = np.flatnonzero(reference.labels != 7)[:300]
    np.savez("s.npz", arr_0=reference.images[chosen].transpose(0, 2, 3, 1), labels=reference.labels[chosen])
    code, out, _ = cli("evaluate", "s.npz", "--dataset", "digits-lt", "-p", "digits-1k.v1", "--json")
    assert code == 0
    metrics = json.loads(out)["metrics"]
    assert metrics["per_class"]["n_generated"][7] == 0
    assert metrics["per_class"]["fid"][7] is None
    assert metrics["per_class"]["fid"][6] is not None
    assert any("7" in note for note in metrics["notes"].values())


def test_the_real_thing_offline_stops_at_once_and_says_what_to_get(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import urllib.request

    def no_network(*arguments: Any, **options: Any) -> Any:
        raise OSError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    line = refused(cli("run", "--method", "ddpm", "--dataset", "cifar100lt", "--quiet"))
    for part in ("cifar-100-python.tar.gz", "weights-inception-2015-12-05-6726825d.pth", "vgg16-397923af.pth", "data"):
        assert part in line
    assert not (tmp_path / "runs").exists()


def test_json_of_the_inspecting_commands(cli: Cli, tmp_path: Path) -> None:
    for kind, name in (
        ("methods", "ddpm"),
        ("datasets", "cifar10lt"),
        ("features", "digits-cnn"),
        ("protocols", "cifar-50k.v1"),
    ):
        code, out, _ = cli("list", kind, "--json")
        assert code == 0
        assert name in {row["name"] for row in json.loads(out)}
    _, out, _ = cli("data", "show", "cifar100lt", "--json")
    shown = json.loads(out)
    assert (shown["total"], shown["class_counts"][0], shown["class_counts"][-1]) == (10_847, 500, 5)
    assert {"name", "class_names", "class_counts", "total", "groups", "reference", "fingerprint"} <= set(shown)
    assert shown["fingerprint"] is None
    _, out, _ = cli("doctor", "--json")
    findings = json.loads(out)
    assert findings["protocols"]["digits-1k.v1"] == []
    assert findings["data sets"]["cifar10"] != []
    assert list(tmp_path.iterdir()) == []


def test_the_schema_in_the_package_is_the_current_one(cli: Cli) -> None:
    import ltgen_bench

    code, out, _ = cli("schema")
    assert code == 0
    stored = Path(ltgen_bench.__file__).parent / "record.schema.json"
    assert json.loads(out) == json.loads(stored.read_text(encoding="utf-8")), "run: ltgen-bench schema > " + str(stored)


def test_a_read_only_place_is_one_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "cannot write" in refused(cli("run", *QUICK_OPTIONS, "--runs-dir", "file/runs", "--quiet"))


def test_samples_of_a_run_are_evaluated_by_its_folder(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("train", *QUICK_OPTIONS, "--json")
    assert code == 0
    run = json.loads(out)["run"]
    assert "is a run and knows its data set" in refused(cli("evaluate", run, "--dataset", "digits-lt"))
    assert "there is no samples file" in refused(cli("evaluate", run, "--quiet"))


def test_the_shell_completes_commands_and_options() -> None:
    """What --install-completion asks for at every Tab, in bash."""
    for words, position, expected in (("ltgen-bench ver", 1, "verify"), ("ltgen-bench run --met", 2, "--method")):
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(position), "_LTGEN_BENCH_COMPLETE": "complete_bash"}
        code = "import sys; sys.argv = ['ltgen-bench']; from ltgen_bench.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **asked}, check=False
        )
        assert done.stdout.split() == [expected], done.stderr
