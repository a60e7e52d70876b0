"""The trainer and numbers that go wrong: NaN losses, gradients that are not finite, fp16, too little memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from baselines_support import assert_same, make_trainer, tiny_run
from torch import Tensor

from ltgen_bench.core.errors import DeviceError, TrainingError
from ltgen_bench.methods import DiffusionBatch
from ltgen_bench.methods.checkpoints import read_checkpoint
from ltgen_bench.methods.trainer import Trainer

Change = Callable[[DiffusionBatch, dict[str, Tensor]], dict[str, Tensor]]


def changed(trainer: Trainer, change: Change) -> Trainer:
    """The trainer with its method's losses passed through `change`."""
    losses = trainer.method.losses
    trainer._loss_module._losses = lambda batch: change(batch, losses(batch))  # type: ignore[assignment]
    return trainer


def nan_at(*steps: int) -> Change:
    return lambda batch, losses: {k: v * float("nan") if batch.step in steps else v for k, v in losses.items()}


def bad_gradient_at(trainer: Trainer, *steps: int) -> Change:
    """A finite loss whose gradient is NaN, as of sqrt at 0."""
    weight = trainer.method.network.head.weight

    def change(batch: DiffusionBatch, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        return losses | {"sharp": (weight.sum() * 0).sqrt()} if batch.step in steps else losses

    return change


@pytest.mark.parametrize("log_every", [1, 4, 100])
def test_a_nan_loss_stops_with_its_step_and_keeps_the_checkpoint(log_every: int, tmp_path: Path) -> None:
    run = tiny_run(training={"steps": 30}, execution={"log_every": log_every})
    trainer = changed(make_trainer(run, tmp_path), nan_at(7, 8, 9))
    with pytest.raises(TrainingError, match=r"not finite at step 7; the checkpoint .* is intact; .*learning_rate"):
        trainer.run()
    header, tensors = read_checkpoint(trainer.state_path)
    assert header["step"] == 5
    assert all(bool(torch.isfinite(value).all()) for value in tensors.values())
    make_trainer(run, tmp_path).run()  # and continues from there


def test_a_nan_loss_before_any_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint was written yet"):
        changed(make_trainer(tiny_run(), tmp_path), nan_at(1)).run()
    assert not (tmp_path / "training-state.safetensors").exists()


def test_a_bad_gradient_changes_nothing_and_is_counted(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    trainer = make_trainer(tiny_run(training={"steps": 5}), tmp_path, rows)
    changed(trainer, bad_gradient_at(trainer, 2, 3))
    states = []
    step = trainer.train_step

    def watched() -> tuple[dict[str, Tensor], Tensor]:
        out = step()
        parameters = {name: p.detach().clone() for name, p in trainer.state.trained()}
        moments = {
            f"{name}/{key}": value.clone()
            for name, p in trainer.state.trained()
            for key, value in trainer.state.optimizer.state[p].items()
        }
        states.append(parameters | moments)
        return out

    trainer.train_step = watched  # type: ignore[method-assign]
    trainer.run()
    assert_same(states[2], states[1])  # weights, moments and step counters: to the bit
    assert_same(states[3], states[1])
    assert not torch.equal(states[4]["network.head.weight"], states[3]["network.head.weight"])
    assert [row["skipped_steps"] for row in rows] == [0, 0, 1, 2, 2]
    assert all(bool(torch.isfinite(value).all()) for value in trainer.state.ema.state().values())


def test_too_many_bad_gradients_in_a_row_stop(tmp_path: Path) -> None:
    def make(folder: str, *steps: int) -> Trainer:
        run = tiny_run(training={"steps": 20, "max_nonfinite_steps": 3}, execution={"log_every": 20})
        trainer = make_trainer(run, tmp_path / folder)
        return changed(trainer, bad_gradient_at(trainer, *steps))

    make("allowed", 1, 2, 3, 6, 7, 8).run()
    # the row is over when it is looked at, and still found
    with pytest.raises(TrainingError, match=r"not finite in 4 steps in a row before step 15.*is intact"):
        make("refused", 10, 11, 12, 13).run()
    assert read_checkpoint(tmp_path / "refused" / "training-state.safetensors")[0]["step"] == 10


def test_the_count_of_skips_survives_a_resume(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    run = tiny_run(training={"steps": 12})
    trainer = make_trainer(run, tmp_path)
    changed(trainer, lambda batch, losses: bad_gradient_at(trainer, 3)(batch, nan_at(8)(batch, losses)))
    with pytest.raises(TrainingError):
        trainer.run()
    make_trainer(run, tmp_path, rows).run()
    assert {row["skipped_steps"] for row in rows} == {1}


def test_an_overflow_in_fp16_lowers_the_scale_and_skips(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    trainer = make_trainer(tiny_run(training={"precision": "fp16", "steps": 4}), tmp_path, rows)
    # 1e36 is a float32 and 65536 times that is not
    changed(trainer, lambda batch, losses: {k: v * 1e36 if batch.step == 1 else v for k, v in losses.items()})
    assert trainer.state.scaler.get_scale() == 65536
    trainer.train_step()
    before = trainer.method.network.head.weight.detach().clone()
    trainer.train_step()
    assert torch.equal(trainer.method.network.head.weight, before)
    assert trainer.state.scaler.get_scale() == 32768
    trainer.train_step()
    assert not torch.equal(trainer.method.network.head.weight, before)
    trainer.checkpoint()
    resumed = make_trainer(tiny_run(training={"precision": "fp16", "steps": 4}), tmp_path, rows)
    resumed.run()
    assert resumed.state.scaler.get_scale() == 32768
    assert [row["skipped_steps"] for row in rows] == [1]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["ddpm", "cbdm", "t2h", "coral"])
def test_half_precision_trains_like_float32(name: str, precision: str, tmp_path: Path) -> None:
    found = {}
    for kind in ("fp32", precision):
        rows: list[dict[str, Any]] = []
        make_trainer(tiny_run(name, training={"precision": kind}), tmp_path / kind, rows).run()
        found[kind] = [row["losses"]["diffusion"] for row in rows]
    # bf16 keeps eight bits
    torch.testing.assert_close(torch.tensor(found[precision]), torch.tensor(found["fp32"]), rtol=0.02, atol=0)


@pytest.mark.parametrize(
    ("name", "training", "advice"),
    [
        ("ddpm", {}, "training.gradient_accumulation=2"),
        ("ddpm", {"gradient_accumulation": 4}, "training.gradient_accumulation=8"),
        ("ddpm", {"gradient_accumulation": 16}, "training.batch_size=8"),
        ("coral", {}, "training.batch_size=8"),
    ],
)
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=["gpu", "cpu"])
def test_too_little_memory_gives_advice(
    name: str, training: dict[str, Any], advice: str, error: Exception, tmp_path: Path
) -> None:
    def fail(batch: DiffusionBatch, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        raise error

    with pytest.raises(DeviceError, match=advice) as caught:
        changed(make_trainer(tiny_run(name, training=training), tmp_path), fail).run()
    assert "\n" not in str(caught.value)


def test_no_value_is_read_back_within_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU each such read would make the host wait; here they are counted on the CPU."""
    for name in ("ddpm", "coral", "cbdm", "t2h", "ddpm-reweighting", "ambient-contrastive"):
        trainer = make_trainer(tiny_run(name), tmp_path / name)
        trainer.train_step()
        with monkeypatch.context() as patch:

            def refuse(*_: object) -> None:
                raise AssertionError("a tensor's value was read by the host")

            for method in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "cpu"):
                patch.setattr(torch.Tensor, method, refuse)
            trainer.train_step()
