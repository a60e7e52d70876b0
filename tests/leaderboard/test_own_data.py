"""Images of one's own on a board of one's own: whoever has the images can check what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from leaderboard_records import command, refused
from PIL import Image

from ltgen_bench.datasets import DATASETS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of digits' size in shades, 60 and 20."""
    random = np.random.default_rng(0)
    for name, count, level in (("dark", 60, 40), ("bright", 20, 160)):
        (tmp_path / "shades" / name).mkdir(parents=True)
        for index in range(count):
            pixels = (random.integers(0, 60, (8, 8)) + level).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "shades" / name / f"{index}.png")
    return tmp_path / "shades"


def test_a_folder_goes_to_a_board(folder: Path, tmp_path: Path, monkeypatch, capsys, clean_code) -> None:
    boards, own = tmp_path / "boards", ["--path", folder]
    (boards / "records").mkdir(parents=True)
    places = ["--leaderboards", boards, "--data-root", tmp_path / "data"]
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1], 500)
    files = []
    for seed in range(2):
        images = random.integers(0, 60, (1000, 8, 8, 1)) + np.array([160, 40])[labels][:, None, None, None]
        files.append(tmp_path / f"{seed}.npz")
        np.savez(files[-1], arr_0=images.astype(np.uint8), labels=labels)
    told = ["--seeds-run", "0,1", "--method-name", "Shades", "--runs-dir", tmp_path / "runs", "-q"]
    line = ["submit", *files, *told, "--dataset", "folder", "--protocol", "digits-1k.v2", *places]
    assert "needs a path" in refused(monkeypatch, capsys, *line)
    code, out, err = command(monkeypatch, capsys, *line, *own)
    assert code == 0, err
    assert "Shades on folder-shades, digits-1k.v2, 2 seeds" in out
    submission = boards / "records/folder-shades/shades"
    DATASETS._entries.pop("folder-shades")  # as in a fresh process
    for words in (["validate", submission, *places[2:]], ["verify", submission, *files, *places, "-q"]):
        DATASETS._entries.pop("folder-shades", None)
        assert "where it is your own folder, give its --path" in refused(monkeypatch, capsys, *words)
        code, out, err = command(monkeypatch, capsys, *words, *own)
        assert code == 0, err
    DATASETS._entries.pop("folder-shades")
    code, out, err = command(monkeypatch, capsys, "leaderboard", "build", "--json", *places)
    assert code == 2
    assert "give its --path" in json.loads(out)["left_out"][0]
    code, out, err = command(monkeypatch, capsys, "leaderboard", "build", *own, *places)
    assert code == 0, err
    assert "Shades" in (boards / "tables/folder-shades--digits-1k.v2.md").read_text()
    code, out, err = command(monkeypatch, capsys, "leaderboard", "table", "folder-shades", *own, *places)
    assert code == 0, err
    assert "Shades" in out
    # other images under the same name are other images
    DATASETS._entries.pop("folder-shades")
    Image.new("L", (8, 8)).save(folder / "dark" / "0.png")
    line = refused(monkeypatch, capsys, "validate", submission, "--data-root", tmp_path / "other", *own)
    assert "fingerprint is not that of folder-shades" in line
    DATASETS._entries.pop("folder-shades")


def test_a_board_with_columns_of_choice(monkeypatch, capsys) -> None:
    boards = Path(__file__).parents[2] / "leaderboards"
    line = ["leaderboard", "table", "digits-lt", "--leaderboards", boards]
    code, out, err = command(monkeypatch, capsys, *line, "--columns", "fid,few.recall", "--format", "latex")
    assert code == 0, err
    head = next(row for row in out.splitlines() if row.startswith("Rank"))
    assert head.count("&") == 4
    assert r"Tail recall $\uparrow$" in head
    code, out, err = command(monkeypatch, capsys, *line)
    assert code == 0, err
    assert max(map(len, out.splitlines())) < 260
    assert out.count("\n") > 9
    code, out, err = command(monkeypatch, capsys, *line, "--format", "csv", "--protocol", "digits-1k.v1")
    assert out.startswith("dataset,protocol,")
    for words, message in (
        (["--columns", "fidd"], "did you mean 'fid'"),
        (["--format", "html"], "--format is markdown, latex, or csv"),
        (["--protocol", "cifar-50k.v1"], "no such board; there are digits-lt by digits-1k.v1"),
    ):
        assert message in refused(monkeypatch, capsys, *line, *words)
