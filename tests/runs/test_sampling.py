from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ltgen_bench.runs.sampling as sampling
from ltgen_bench.core.errors import SamplesError
from ltgen_bench.core.seeding import uniform_labels
from ltgen_bench.methods import Method
from ltgen_bench.runs.sampling import sample_to_file


@pytest.fixture
def method(quick_run: Any) -> Any:
    """An untrained network whose output layer is not nearly zero, so that its kernels matter."""
    method = quick_run(sampling={"guidance_scale": 0.7}, training={"label_drop": 0.1}).make_method()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for parameter in method.network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return method


def draw(method: Any, path: Path, **options: Any) -> Any:
    return sample_to_file(method, path, **{"count": 70, "seed": 3, "key": "k", "batch_size": 64, **options})


def test_samples_do_not_depend_on_the_batch_size(method: Any, tmp_path: Path) -> None:
    by_64 = draw(method, tmp_path / "a.npz")
    by_7 = draw(method, tmp_path / "b.npz", batch_size=7)
    assert by_64.sha256() == by_7.sha256()
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    fewer = draw(method, tmp_path / "c.npz", count=11)
    assert np.array_equal(fewer.images, by_64.images[:11])
    assert len(np.unique(by_64.images)) > 50  # they are images, not one grey
    assert draw(method, tmp_path / "d.npz", seed=4).sha256() != by_64.sha256()
    assert np.array_equal(by_64.labels, uniform_labels(70, 10, 3))


def test_an_interrupted_sampling_goes_on(method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = draw(method, tmp_path / "whole.npz", batch_size=8)
    drawn: list[int] = []
    real = type(method).sample

    def dies_in_the_fourth_batch(self: Any, labels: torch.Tensor, seeds: list[int]) -> torch.Tensor:
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(len(labels))
        return real(self, labels, seeds)

    monkeypatch.setattr(type(method), "sample", dies_in_the_fourth_batch)
    with pytest.raises(KeyboardInterrupt):
        draw(method, tmp_path / "s.npz", batch_size=8)
    assert not (tmp_path / "s.npz").exists()
    monkeypatch.setattr(type(method), "sample", lambda self, *a: drawn.append(len(a[0])) or real(self, *a))
    again = draw(method, tmp_path / "s.npz", batch_size=16)  # another batch size fills the rest
    assert again.sha256() == whole.sha256()
    assert sum(drawn) == 70  # nothing was drawn twice
    assert sorted(file.name for file in tmp_path.iterdir()) == ["s.npz", "whole.npz"]


def test_shards_of_other_weights_are_not_used(method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_merge", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        draw(method, tmp_path / "s.npz", key="old")
    monkeypatch.undo()
    assert len(list((tmp_path / ".s-shards-old").iterdir())) == 2
    fresh = draw(method, tmp_path / "s.npz", key="new")
    assert fresh.sha256() == draw(method, tmp_path / "t.npz").sha256()
    shutil.rmtree(tmp_path / ".s-shards-old")


def test_a_missing_shard_is_no_image(method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no process has drawn must not become whatever the memory held."""
    real = sampling.write_samples
    monkeypatch.setattr(
        sampling,
        "write_samples",
        lambda path, samples: None if path.name.startswith("00000008") else real(path, samples),
    )
    with pytest.raises(SamplesError, match="lacks the samples 8 to 15; the same command draws them"):
        draw(method, tmp_path / "s.npz", batch_size=8)
    monkeypatch.undo()
    assert draw(method, tmp_path / "s.npz").sha256() == draw(method, tmp_path / "whole.npz").sha256()


def test_a_diverged_model_is_reported(method: Any, tmp_path: Path) -> None:
    with torch.no_grad():
        next(method.network.parameters()).fill_(float("nan"))
    with pytest.raises(SamplesError, match="the model draws images that are not finite"):
        draw(method, tmp_path / "s.npz")


class Grey(Method):
    """The smallest method there is: grey images of a level that its test chooses."""

    image: Any = None

    def fit(self, train_set: Any, context: Any) -> None: ...
    def save(self, path: Path) -> None: ...
    def load(self, path: Path) -> None: ...

    def sample(self, labels: torch.Tensor, seeds: Any) -> Any:
        return self.image(labels)


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (lambda labels: torch.zeros(len(labels), 1, 8, 8), r"torch.float32 \(5, 1, 8, 8\)"),
        (lambda labels: torch.zeros(len(labels), 8, 8, dtype=torch.uint8), r"torch.uint8 \(5, 8, 8\)"),
        (lambda labels: np.zeros((len(labels), 1, 8, 8)), "ndarray"),
    ],
)
def test_a_method_that_returns_the_wrong_thing_is_told(quick_run: Any, tmp_path: Path, image: Any, got: str) -> None:
    resolved = quick_run()
    method = Grey(resolved.spec, resolved.config.model_copy(update={"method": {"name": "grey"}}))
    method.image = image
    with pytest.raises(
        SamplesError, match=rf"class Grey: sample has to return a uint8 tensor \(5, 1, 8, 8\), and returned {got}"
    ):
        draw(method, tmp_path / "s.npz", count=5)


def test_a_run_of_days_is_said_before_it_begins(tmp_path: Path) -> None:
    from ltgen_bench.runs.cost import long_run_note
    from ltgen_bench.runs.resolve import resolve

    small = {"network": {"base_channels": 32}, "execution": {"device": "cpu"}}
    assert long_run_note(resolve(small, tmp_path)) is None  # minutes, known without timing anything
    long = {**small, "dataset": {"name": "cifar10lt"}, "training": {"steps": 3_000_000}}
    note = long_run_note(resolve(long, tmp_path))
    assert note is not None
    assert "days on this CPU" in note
