"""A run folder that was damaged is named, and nothing in it is lost or silently made anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import QUICK_OPTIONS, Cli, refused
from safetensors.torch import load_file, save_file

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.evaluation.feature_files import read_features, read_reference


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished quick run."""
    folder = tmp_path_factory.mktemp("damaged")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["ltgen-bench", "run", *QUICK_OPTIONS, "-q"])
        from ltgen_bench.cli import main

        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    return folder


def written(name: str, data: bytes) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).write_bytes(data)

    damage.__name__ = f"{name} {data[:12]!r}"
    return damage


def folder_in_place(name: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).unlink()
        (run / name).mkdir()

    damage.__name__ = f"folder {name}"
    return damage


def weights(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    """Other numbers in the first tensor, with a record that is not there, so that they are needed."""

    def damage(run: Path) -> None:
        file = run / "checkpoints/model.safetensors"
        from safetensors import safe_open

        with safe_open(str(file), framework="pt") as opened:
            metadata = opened.metadata()
        tensors = load_file(file)
        name = sorted(tensors)[0]
        tensors[name] = change(tensors[name])
        save_file(tensors, file, metadata)
        (run / "record.json").unlink()
        shutil.rmtree(run / "samples")

    return damage


def header(text: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        file = run / "checkpoints/model.safetensors"
        save_file(load_file(file), file, {"ltgen_bench": text})
        (run / "record.json").unlink()
        shutil.rmtree(run / "samples")

    return damage


BYTES = [b"", b"{", b"\xff\xfe", b"[1]", b"null", b"{}", b'{"fingerprint": ' + b"9" * 5000 + b"}"]
DAMAGES = {
    **{f"{name} {data[:8]!r}": written(name, data) for name in ("dataset.json",) for data in BYTES},
    **{f"method.json {data[:8]!r}": written("method.json", data) for data in BYTES if data not in (b"{}",)},
    **{
        f"{name} {data[:8]!r}": written(name, data)
        for name in ("config.toml",)
        for data in (b"", b"\xff", b"a = [" * 900)
    },
    **{f"record {data[:8]!r}": written("record.json", data) for data in BYTES},
    **{f"folder {name}": folder_in_place(name) for name in ("dataset.json", "config.toml", "record.json")},
    "integers for weights": weights(lambda tensor: tensor.view(torch.int32)),
    "half as many bits": weights(lambda tensor: tensor.half()),
    "not a number": weights(lambda tensor: tensor * float("nan")),
    "another shape": weights(lambda tensor: tensor.reshape(-1)),
    "no header": header(""),
    "a header of another kind": header("[1, 2]"),
    "a deep header": header("[" * 50_000),
    "digits in the header": header('{"format": ' + "9" * 5000 + "}"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_one_line_and_nothing_is_lost(made: Path, tmp_path: Path, monkeypatch, cli: Cli, damage) -> None:
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    (run,) = (tmp_path / "here/runs/digits-lt/ddpm").iterdir()
    damage(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.suffix != ".txt"}
    line = refused(cli("run", *QUICK_OPTIONS, "-q"))
    assert "Traceback" not in line
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.suffix != ".txt"}
    assert {path: after.get(path) for path in before} == before


def statistics(path: Path, covariance: np.ndarray, mean: float = 0.0) -> Path:
    np.savez(path, mu=np.full(len(covariance), mean), sigma=covariance, n=np.int64(100))
    return path


@pytest.mark.parametrize(
    ("covariance", "mean", "words"),
    [
        (np.diag([1.0, -1.0, 2.0]), 0.0, "has the eigenvalue -1 beside 2"),
        (-np.eye(3), 0.0, "it is no covariance"),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), 0.0, "has the eigenvalue -1 beside 3"),
        (np.eye(3) * 1e300, 0.0, "beyond 1e\\+30"),
        (np.eye(3), 1e300, "beyond 1e\\+30"),
        (np.array([[1.0, 0.5], [0.0, 1.0]]), 0.0, "not symmetric"),
    ],
)
def test_statistics_that_no_images_have(tmp_path: Path, covariance, mean: float, words: str) -> None:
    with pytest.raises(SamplesError, match=words):
        read_reference(statistics(tmp_path / "x.npz", covariance, mean))


def test_statistics_of_few_images_are_fine(tmp_path: Path) -> None:
    features = np.random.default_rng(0).standard_normal((5, 20)).astype(np.float32)
    covariance = np.cov(features, rowvar=False).astype(np.float32)  # singular, in float32
    assert read_reference(statistics(tmp_path / "x.npz", covariance)).statistics is not None
    assert read_reference(statistics(tmp_path / "x.npz", np.zeros((3, 3)))).statistics is not None


def test_features_that_no_network_gives(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", features=np.full((30, 4), 1e300))
    with pytest.raises(SamplesError, match="beyond 1e"):
        read_features(tmp_path / "x.npz")
