"""`submit` asks the samples that it has in hand what `verify` will ask, before anything is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from leaderboard_records import command, digits, refused

from ltgen_bench.core.seeding import labels_by_policy
from ltgen_bench.datasets.unseen import unseen_images
from ltgen_bench.evaluation.record_files import read_record
from ltgen_bench.evaluation.samples import Samples, write_samples
from ltgen_bench.leaderboard.submission import validate_submission


def of_class(images, labels: np.ndarray, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return images.images[[draw.choice(np.flatnonzero(images.labels == label)) for label in labels]]


def told(tmp_path: Path, *files: Path) -> list[object]:
    seeds = ",".join(str(seed) for seed in range(len(files)))
    return [
        "submit", *files, "--dataset", "digits-lt", "--seeds-run", seeds, "--method-name", "Mine",
        "--leaderboards", tmp_path / "boards", "--data-root", tmp_path / "data", "--runs-dir", tmp_path / "runs", "-q",
    ]  # fmt: skip


def test_real_images_are_not_handed_in(tmp_path: Path, monkeypatch, capsys, clean_code) -> None:
    unseen = unseen_images(digits())
    assert unseen is not None
    labels = labels_by_policy("equal", 1000, 10, 0)
    write_samples(tmp_path / "0.npz", Samples(of_class(unseen, labels, 0), labels))
    line = refused(monkeypatch, capsys, *told(tmp_path, tmp_path / "0.npz"))
    assert "1,000 of 1,000 samples are reference images outside of the training set" in line
    assert not (tmp_path / "runs").exists()  # said before anything was measured


def test_one_set_is_not_handed_in_twice(tmp_path: Path, monkeypatch, capsys, clean_code) -> None:
    for seed in (0, 1):
        labels = labels_by_policy("equal", 1000, 10, seed)
        order = np.argsort(labels, kind="stable")
        images = np.empty((1000, 1, 8, 8), np.uint8)
        whole = [of_class(digits().train(), np.sort(labels), part).astype(float) for part in (7, 8, 9)]
        shares = np.random.default_rng(1).dirichlet([1, 1, 1], 1000)  # mixtures: no two of one set are alike
        images[order] = sum(shares[:, k, None, None, None] * whole[k] for k in range(3)).astype(np.uint8)
        noise = np.random.default_rng(seed).integers(-1, 2, images.shape)
        write_samples(tmp_path / f"{seed}.npz", Samples(np.clip(images + noise, 0, 255).astype(np.uint8), labels))
    line = refused(monkeypatch, capsys, *told(tmp_path, tmp_path / "0.npz", tmp_path / "1.npz"))
    assert "they are no two draws" in line
    assert not (tmp_path / "runs").exists()


def of_training(seed: int) -> Samples:
    """Honest enough: noisy copies of training images."""
    labels = labels_by_policy("equal", 1000, 10, seed)
    noise = np.random.default_rng(seed).normal(0, 25, (1000, 1, 8, 8))
    return Samples(np.clip(of_class(digits().train(), labels, seed) + noise, 0, 255).astype(np.uint8), labels)


@pytest.mark.slow
def test_several_files_are_seeds_and_folders_without_a_seed_get_theirs(
    tmp_path: Path, monkeypatch, capsys, clean_code
) -> None:
    """evaluate with three files, submit of what it wrote, and the words on the way."""
    files = [tmp_path / f"{seed}.npz" for seed in (0, 1)]
    for seed, file in enumerate(files):
        write_samples(file, of_training(seed))
    places = ["--data-root", tmp_path / "data", "-q"]
    line = ["evaluate", *files, "--dataset", "digits-lt", "--method-name", "Mine", "--out", tmp_path / "out"]
    code, out, err = command(monkeypatch, capsys, *line, *places)
    assert code == 0, err
    assert [read_record(tmp_path / f"out/{seed}/record.json").seed for seed in (0, 1)] == [0, 1]
    assert "compare  ltgen-bench compare" in out
    code, out, err = command(
        monkeypatch, capsys, "evaluate", files[0], "--dataset", "digits-lt", "--method-name", "Mine",
        "--out", tmp_path / "unseeded", *places,
    )  # fmt: skip
    assert code == 0, err
    assert read_record(tmp_path / "unseeded/record.json").seed is None
    boards = ["--leaderboards", tmp_path / "boards", *places]
    named = ["--method-name", "Mine", "--seeds-run", "0,1"]
    code, out, err = command(monkeypatch, capsys, "submit", tmp_path / "unseeded", tmp_path / "out/1", *named, *boards)
    assert code == 0, err
    assert "next: ltgen-bench verify" in out
    folder = tmp_path / "boards/records/digits-lt/mine"
    assert sorted(validate_submission(folder).records) == [0, 1]
    code, out, err = command(monkeypatch, capsys, "verify", folder, files[1], *boards)  # samples by position
    assert code == 0, err
    assert "still to be checked: seed 0" in out
    assert "is a run; validate" in refused(monkeypatch, capsys, "validate", tmp_path / "unseeded")
    # shards are one set, of a size that no board takes
    shards = [tmp_path / "shards" / file.name for file in files]
    shards[0].parent.mkdir()
    for seed, file in enumerate(shards):
        whole = of_training(seed)
        write_samples(file, Samples(whole.images[:150], whole.labels[:150]))
    line = ["evaluate", *shards, "--shards", "--dataset", "digits-lt", "--out", tmp_path / "both"]
    code, _, err = command(monkeypatch, capsys, *line, *places)
    assert code == 0, err
    record = read_record(tmp_path / "both/record.json")
    assert record.samples.count == 300
    few = ["submit", tmp_path / "both", "--method-name", "Few", "--seeds-run", "0", *boards]
    assert "300 samples instead of the 1,000 of protocol digits-1k.v2" in refused(monkeypatch, capsys, *few)
