"""The trainer: exact resume, accumulation, schedules, label drop, fine-tuning, checkpoints that do not belong."""

from __future__ import annotations

import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from baselines_support import assert_same, make_trainer, tiny_run, trained
from torch import Tensor

from baselines.ddpm import DDPM
from ltgen_bench.core.errors import CheckpointError, ConfigError
from ltgen_bench.methods import NO_LABEL, DiffusionBatch
from ltgen_bench.methods.batches import draw_step
from ltgen_bench.methods.checkpoints import read_checkpoint
from ltgen_bench.methods.learning_rate import learning_rate

LONG = {"training": {"steps": 12}, "network": {"dropout": 0.1}}


class Killed(BaseException):
    """Stands for kill -9: nothing is written or caught on the way out."""


def die_at(step: int, monkeypatch: pytest.MonkeyPatch, kind: type[DDPM]) -> None:
    losses = kind.losses

    def dying(self: DDPM, batch: DiffusionBatch) -> dict[str, Tensor]:
        if batch.step == step:
            raise Killed
        return losses(self, batch)

    monkeypatch.setattr(kind, "losses", dying)


@pytest.mark.parametrize("name", ["ddpm", "coral", "cbdm", "t2h", "ddpm-resampling"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_killed_training_goes_on_to_the_bit(
    name: str, channels_last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run(name, **LONG, execution={"channels_last": channels_last})
    whole = trained(run, tmp_path / "whole")
    with monkeypatch.context() as patch:
        die_at(8, patch, run.method_class)  # type: ignore[arg-type]
        with pytest.raises(Killed):
            trained(run, tmp_path / "parts")
    header, _ = read_checkpoint(tmp_path / "parts" / "training-state.safetensors")
    assert header["step"] == 5
    assert_same(trained(run, tmp_path / "parts"), whole)


def test_resuming_after_the_last_step_trains_nothing_and_gives_the_same_model(tmp_path: Path) -> None:
    run = tiny_run(**LONG)
    first = make_trainer(run, tmp_path)
    first.run()
    again = make_trainer(run, tmp_path)
    again.train_step = None  # type: ignore[assignment, method-assign] - calling it would fail
    again.run()
    ours, theirs = (trainer.method.network.state_dict() for trainer in (first, again))
    assert_same(ours, theirs)
    assert not again.method.network.training


@pytest.mark.parametrize("name", ["ddpm", "ddpm-reweighting", "cbdm", "t2h"])
@pytest.mark.parametrize("unit", ["sample", "batch"])
def test_accumulation_equals_the_large_batch(name: str, unit: str, tmp_path: Path) -> None:
    states = []
    for parts in (1, 4):
        run = tiny_run(
            name,
            training={"steps": 3, "gradient_accumulation": parts, "label_drop": 0.4, "label_drop_unit": unit},
        )
        states.append(trained(run, tmp_path / str(parts)))
    whole, cut = states
    # Adam's first moment is the average of the gradients: sums in another order, float32
    moments = [key for key in whole if key.endswith("/exp_avg")]
    assert moments
    for key in moments:
        torch.testing.assert_close(cut[key], whole[key], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["coral", "ambient-contrastive"])
def test_accumulation_is_refused_where_a_loss_compares_the_batch(name: str, tmp_path: Path) -> None:
    run = tiny_run(name, training={"gradient_accumulation": 2})
    with pytest.raises(ConfigError, match="compares the images of a batch"):
        make_trainer(run, tmp_path)
    with pytest.raises(ConfigError, match="cannot be divided evenly"):
        make_trainer(tiny_run(training={"gradient_accumulation": 3}), tmp_path)


def test_warm_up_constant_and_cosine(tmp_path: Path) -> None:
    rates: dict[str, list[float]] = {}
    for schedule in ("constant", "cosine"):
        rows: list[dict[str, Any]] = []
        training = {"steps": 12, "warmup_steps": 4, "learning_rate": 0.01, "learning_rate_schedule": schedule}
        make_trainer(tiny_run(training=training), tmp_path / schedule, rows).run()
        rates[schedule] = [row["learning_rate"] for row in rows]
    warm_up = [0.0025, 0.005, 0.0075, 0.01]
    assert rates["constant"] == pytest.approx(warm_up + [0.01] * 8)
    cosine = [0.01 * 0.5 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]
    assert rates["cosine"] == pytest.approx(warm_up + cosine)
    trainer = make_trainer(tiny_run(training={"warmup_steps": 0}), tmp_path / "none")
    assert learning_rate(trainer.config, 0) == trainer.config.learning_rate


def test_the_log_counts_images_and_skips(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    make_trainer(tiny_run("coral"), tmp_path, rows).run()
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["images_seen"] for row in rows] == [16, 32, 48, 64, 80]
    assert all(set(row["losses"]) == {"diffusion", "contrastive"} and row["skipped_steps"] == 0 for row in rows)


def test_labels_drop_by_sample_or_by_batch() -> None:
    shares = {}
    for unit in ("sample", "batch"):
        drops = torch.stack(
            [
                draw_step((64, 1, 2, 2), 10, 0.25, unit, torch.Generator().manual_seed(step)).drop.float()
                for step in range(400)
            ]
        )
        together = (drops.mean(dim=1) == 0) | (drops.mean(dim=1) == 1)
        shares[unit] = float(drops.mean())
        assert together.all() == (unit == "batch")
    assert shares["sample"] == pytest.approx(0.25, abs=0.014)  # five standard deviations of 25,600 draws
    assert shares["batch"] == pytest.approx(0.25, abs=0.11)  # of 400 draws
    never, always = (
        draw_step((64, 1, 2, 2), 10, p, "sample", torch.Generator().manual_seed(0)).drop for p in (0.0, 1.0)
    )
    assert not never.any()
    assert always.all()


@pytest.mark.parametrize(("drop", "unit"), [(1.0, "sample"), (0.5, "batch")])
def test_the_method_sees_dropped_labels_as_such(drop: float, unit: str, tmp_path: Path) -> None:
    conditioning = "none" if drop == 1 else "class"
    training = {"steps": 8, "label_drop": drop, "label_drop_unit": unit}
    run = tiny_run(training=training, sampling={"conditioning": conditioning})
    trainer, seen = make_trainer(run, tmp_path), []
    losses = trainer.method.losses
    trainer.method.losses = lambda batch: (seen.append(batch), losses(batch))[1]  # type: ignore[method-assign, func-returns-value]
    trainer._loss_module = type(trainer._loss_module)(trainer.method)  # type: ignore[call-arg]
    trainer.run()
    for batch in seen:
        missing = batch.conditioning == NO_LABEL
        assert torch.equal(batch.conditioning[~missing], batch.labels[~missing])
        assert missing.all() or (unit == "batch" and not missing.any())
        assert (batch.labels >= 0).all()


def test_the_ema_ramp(tmp_path: Path) -> None:
    run = tiny_run(training={"steps": 3, "ema_warmup": True, "ema_decay": 0.15})
    trainer = make_trainer(run, tmp_path)
    name = "middle.0.conv1.weight"
    average = trainer.method.network.state_dict()[name].clone()
    for step in range(3):
        trainer.train_step()
        decay = min(0.15, (step + 1) / (step + 10))
        average = decay * average + (1 - decay) * trainer.method.network.state_dict()[name]
        torch.testing.assert_close(trainer.state.ema.state()[name], average)


def test_training_leaves_the_averages_in_the_network_and_in_the_model_file(tmp_path: Path) -> None:
    run = tiny_run(**LONG)
    trainer = make_trainer(run, tmp_path)
    trainer.run()
    trainer.method.save(tmp_path / "model.safetensors")
    state, model = read_checkpoint(trainer.state_path)[1], read_checkpoint(tmp_path / "model.safetensors")[1]
    assert model
    for name, weights in model.items():
        assert torch.equal(weights, state[f"ema.{name}"])
        assert torch.equal(weights, trainer.method.network.state_dict()[name])


# Fine-tuning


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    trainer = make_trainer(tiny_run(), tmp_path / "ddpm")
    trainer.run()
    trainer.method.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def trained_model_of_another_seed(folder: Path) -> bytes:
    make_trainer(tiny_run(seed=3), folder / "other").method.save(folder / "other.safetensors")
    return (folder / "other.safetensors").read_bytes()


@pytest.mark.parametrize(("name", "method"), [("coral", {}), ("cbdm", {"prior": "uniform"}), ("ddpm", {})])
def test_fine_tuning_starts_from_the_weights(
    name: str, method: dict[str, Any], pretrained: Path, tmp_path: Path
) -> None:
    run = tiny_run(name, method=method, training={"init_from": str(pretrained), "steps": 6})
    trainer = make_trainer(run, tmp_path / "tuned")
    trainer._start_from_weights()
    for source in (trainer.method.network.state_dict(), trainer.state.ema.state()):
        assert_same(dict(source), read_checkpoint(pretrained)[1])
    whole = trained(run, tmp_path / "whole")
    assert not torch.equal(whole["ema.head.weight"], read_checkpoint(pretrained)[1]["head.weight"])
    assert_same(trained(run, tmp_path / "whole"), whole)  # a second start resumes, it does not begin from the file


def test_what_training_starts_from_is_part_of_the_configuration(pretrained: Path, tmp_path: Path) -> None:
    plain, tuned = tiny_run("coral"), tiny_run("coral", training={"init_from": str(pretrained)})
    assert tuned.config.hash() != plain.config.hash()
    assert tuned.config.training.init_sha256 is not None
    moved = pretrained.with_name("elsewhere.safetensors")
    moved.write_bytes(pretrained.read_bytes())
    again = tiny_run("coral", training={"init_from": str(moved)})
    assert again.config.hash() == tuned.config.hash()  # the content counts, not the place
    other = tiny_run("coral", training={"init_from": str(moved), "init_sha256": "0" * 64})
    with pytest.raises(CheckpointError, match="has changed"):
        make_trainer(other, tmp_path / "other").run()
    with pytest.raises(ConfigError, match="init_sha256"):
        tiny_run("coral", training={"init_sha256": "hello"})
    # a recipe names the weights by their hash only: it must not train from nothing under that name
    recipe = tiny_run("coral", training={"init_sha256": tuned.config.training.init_sha256})
    assert recipe.config.hash() == tuned.config.hash()
    with pytest.raises(CheckpointError, match=r"give --set training\.init_from=FILE"):
        make_trainer(recipe, tmp_path / "recipe").run()
    with pytest.raises(CheckpointError, match="there is no file"):
        tiny_run("coral", training={"init_from": str(tmp_path / "nothing")})
    # a trained run outlives the file that it started from; training anew does not
    kept = {"init_from": str(tmp_path / "nothing"), "init_sha256": tuned.config.training.init_sha256}
    later = tiny_run("coral", training=kept)
    assert later.config.hash() == tuned.config.hash()
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        make_trainer(later, tmp_path / "anew").run()
    moved.write_bytes(trained_model_of_another_seed(tmp_path))
    with pytest.raises(CheckpointError, match="has changed"):
        make_trainer(again, tmp_path / "anew").run()


@pytest.mark.parametrize(
    ("layers", "words"),
    [({"network": {"base_channels": 16}}, r"base_channels: 8 -> 16"), ({"network": {"norm_groups": 2}}, "norm_groups")],
)
def test_weights_of_another_network_are_refused(
    layers: dict[str, Any], words: str, pretrained: Path, tmp_path: Path
) -> None:
    run = tiny_run("coral", training={"init_from": str(pretrained)}, **layers)
    with pytest.raises(CheckpointError, match=words) as caught:
        make_trainer(run, tmp_path / "tuned").run()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize(
    "weights", [torch.ones(10), torch.zeros(405), torch.full((405,), float("nan")), -torch.ones(405)],
    ids=["one a class", "zeros", "nan", "negative"],
)  # fmt: skip
def test_image_weights_are_one_for_each_image(weights: torch.Tensor, tmp_path: Path, monkeypatch) -> None:
    run = tiny_run("ddpm-resampling")
    monkeypatch.setattr(run.method_class, "image_weights", lambda self, labels: weights)
    with pytest.raises(ConfigError, match="image_weights must return one finite number >= 0 for each of the 405"):
        make_trainer(run, tmp_path)


@pytest.mark.parametrize(
    ("losses", "problem"),
    [
        ({}, "the dict is empty"),
        ({"a": torch.ones(4, requires_grad=True)}, r"'a' has the shape \(4,\): return its mean"),
        (torch.ones(()), "it returned a Tensor"),
        ({"a": 0.5}, "'a' is a float: return the tensor itself"),
        ({"a": torch.ones((), dtype=torch.int64)}, "'a' has the type int64"),
        ({"a": torch.ones(())}, "none of them has a gradient"),
        ({3: torch.ones(())}, "the name 3 is not a string"),
    ],
)
def test_losses_are_scalars_by_name(losses: object, problem: str, tmp_path: Path, monkeypatch) -> None:
    run = tiny_run()
    monkeypatch.setattr(run.method_class, "losses", lambda self, batch: losses)
    where = rf"test_trainer.py, line \d+, class {run.method_class.__name__}: losses has to return a dict"
    with pytest.raises(ConfigError, match=f"{where}.*; {problem}"):
        make_trainer(run, tmp_path).run()


# Checkpoints that do not belong


@pytest.mark.parametrize(
    ("name", "layers", "words"),
    [
        ("cbdm", {}, "method: ddpm -> cbdm"),
        ("ddpm", {"network": {"base_channels": 16}}, "network.base_channels: 8 -> 16"),
        ("ddpm", {"training": {"learning_rate": 0.5}}, "learning_rate"),
        ("ddpm", {"seed": 4}, "seed: 0 -> 4"),
    ],
)
def test_another_training_s_state_is_refused(name: str, layers: dict[str, Any], words: str, tmp_path: Path) -> None:
    trained(tiny_run(), tmp_path)
    before = (tmp_path / "training-state.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match=words) as caught:
        make_trainer(tiny_run(name, **layers), tmp_path).run()
    assert "\n" not in str(caught.value)
    assert (tmp_path / "training-state.safetensors").read_bytes() == before


def test_another_class_count_is_refused(tmp_path: Path) -> None:
    from baselines_support import tiny_method

    tiny_method().save(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="class_count: 4 -> 5"):
        tiny_method(class_counts=(1, 2, 3, 4, 5)).load(tmp_path / "model.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_state_is_refused(share: float, tmp_path: Path) -> None:
    trained(tiny_run(), tmp_path)
    state = tmp_path / "training-state.safetensors"
    content = state.read_bytes()
    state.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match="truncated or not a checkpoint"):
        make_trainer(tiny_run(), tmp_path).run()


def test_a_model_is_no_training_state(tmp_path: Path) -> None:
    trainer = make_trainer(tiny_run(), tmp_path)
    trainer.method.save(trainer.state_path)
    with pytest.raises(CheckpointError, match="is a model, and a training state was wanted"):
        trainer.run()


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    """In a process of its own, whose files the system does not let grow beyond a limit: as on a full disk."""
    import subprocess
    import sys

    code = """
import resource, signal, sys
from pathlib import Path
from baselines_support import make_trainer, tiny_run
from ltgen_bench.core.errors import StorageError
trainer = make_trainer(tiny_run(training={"steps": 10}), Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
checkpoint = trainer.checkpoint
def limited():
    if trainer.state.step == 10:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
    checkpoint()
trainer.checkpoint = limited
try:
    trainer.run()
except StorageError as error:
    print(error)
else:
    sys.exit("it wrote")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the one before it is intact" in done.stdout
    assert done.stdout.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["training-state.safetensors"]  # no leftovers
    assert read_checkpoint(tmp_path / "training-state.safetensors")[0]["step"] == 5


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_a_checkpoint_and_interrupts(number: int, tmp_path: Path) -> None:
    run = tiny_run(training={"steps": 100_000}, execution={"checkpoint_every": 100_000})
    trainer = make_trainer(run, tmp_path)
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    assert read_checkpoint(trainer.state_path)[0]["step"] == trainer.state.step > 0


def test_an_interrupt_at_the_last_step_is_not_lost(tmp_path: Path) -> None:
    trainer = make_trainer(tiny_run(), tmp_path)
    checkpoint = trainer.checkpoint

    def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        checkpoint()

    trainer.checkpoint = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert read_checkpoint(trainer.state_path)[0]["step"] == 5
