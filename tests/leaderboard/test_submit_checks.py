"""`submit` asks the samples that it has in hand what `verify` will ask, before anything is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from leaderboard_records import digits, refused

from ltgen_bench.core.seeding import labels_by_policy
from ltgen_bench.datasets.unseen import unseen_images
from ltgen_bench.evaluation.samples import Samples, write_samples


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
