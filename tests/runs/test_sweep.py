"""Sweeps of a trained model, and methods side by side, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import QUICK_OPTIONS, Cli, refused
from PIL import Image

from ltgen_bench.evaluation.report.side_by_side import _tiled
from ltgen_bench.runs.sweep import parse_sweep


def test_what_a_sweep_takes() -> None:
    assert parse_sweep(["sampling.guidance_scale=0,0.5, 1"]) == {"guidance_scale": [0, 0.5, 1]}
    assert parse_sweep(["sampling.sampler=ddim,ddpm", "sampling.steps=3"]) == {
        "sampler": ["ddim", "ddpm"],
        "steps": [3],
    }


def test_a_sweep_measures_once_and_draws_it(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("run", *QUICK_OPTIONS, "--json", "-q")
    assert code == 0, err
    (folder,) = (tmp_path / "runs" / "digits-lt" / "ddpm").iterdir()
    model = (folder / "checkpoints" / "model.safetensors").read_bytes()
    sweep = ("sweep", folder, "--set", "sampling.guidance_scale=0,0.5,2", "-n", "40", "--json")
    code, out, err = cli(*sweep)
    assert code == 0, err
    rows = json.loads(out)["rows"]
    assert [row["sampling.guidance_scale"] for row in rows] == [0.0, 0.5, 2.0]
    assert len({row["fid"] for row in rows}) == 3
    assert (folder / "checkpoints" / "model.safetensors").read_bytes() == model
    with Image.open(folder / "sweeps" / "guidance_scale.png") as picture:
        assert picture.size[0] > 400
    assert not list((folder / "sweeps").glob("*.npz"))
    code, again, err = cli(*sweep)
    assert json.loads(again)["rows"] == rows
    assert "40 samples" not in err  # nothing was drawn
    # at the run's own scale, seed and number it is what the run measured
    assert rows[0]["fid"] == pytest.approx(json.loads((folder / "record.json").read_text())["metrics"]["fid"], rel=1e-9)
    # a setting that is called like a number keeps its own column
    code, out, err = cli("sweep", folder, "--set", "sampling.precision=fp32,bf16", "-n", "40", "--json")
    assert code == 0, err
    assert [row["sampling.precision"] for row in json.loads(out)["rows"]] == ["fp32", "bf16"]
    assert all(isinstance(row["precision"], float) for row in json.loads(out)["rows"])
    assert "did you mean 'sampling.steps'" in refused(cli("sweep", folder, "--set", "sampling.stesp=1,2"))
    assert "takes sampling keys" in refused(cli("sweep", folder, "--set", "training.steps=1,2"))

    # the same records side by side, in pictures
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    record = json.loads((other / "record.json").read_text())
    record["method"]["name"], record["method"]["title"] = "mine", "Mine"
    record["method"]["config"], record["method"]["config_hash"] = None, None
    (other / "record.json").write_text(json.dumps(record))
    code, out, err = cli("compare", folder, other, "--figures", "figures", "--class", "3")
    assert code == 0, err
    for name in ("per-class.png", "class-3.png"):
        with Image.open(tmp_path / "figures" / name) as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10
    assert "no class 'three'" in refused(cli("compare", folder, other, "--figures", "figures", "--class", "three"))


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_keep_every_image_whole(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (11, channels, 4, 4)).astype(np.uint8)
    picture = _tiled(images)
    for number, image in enumerate(images):
        row, column = divmod(number, 8)
        found = picture[row * 5 : row * 5 + 4, column * 5 : column * 5 + 4]
        assert (found.reshape(4, 4, channels).transpose(2, 0, 1) == image).all()
