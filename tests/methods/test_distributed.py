"""Two processes on one machine do what one process does (torchrun with gloo)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from baselines_support import make_trainer, trained
from distributed_worker import RUNS, comparison_run, noise_classifier
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import normalize

from ltgen_bench.core.distributed import World, gather_with_gradient, join_world
from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.seeding import sample_seeds
from ltgen_bench.evaluation.samples import read_samples
from ltgen_bench.methods.checkpoints import read_checkpoint

HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two processes have written to."""
    folder = tmp_path_factory.mktemp("two")
    begun = make_trainer(comparison_run("coral"), folder / "begun")
    begun.train_step()
    begun.train_step()
    begun.checkpoint()
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "distributed_worker.py",
        str(folder),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, *command], cwd=HERE, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def learns(key: str) -> bool:
    """Not so of the keys' biases in attention: a softmax does not see them, and Adam scales up what rounding leaves."""
    return not key.endswith("attention.key.bias")


@pytest.mark.parametrize("title", RUNS)
def test_two_halves_of_a_batch_equal_the_whole(title: str, two_processes: Path, tmp_path: Path) -> None:
    one = trained(comparison_run(title), tmp_path)
    two = read_checkpoint(two_processes / title / "training-state.safetensors")[1]
    if title == "coral-without-weight":
        # one process leaves an unused head out of the optimiser; with several it has a gradient of zero
        two = {key: value for key, value in two.items() if not key.startswith("optimizer.extra")}
    assert one.keys() == two.keys()
    for key in one:
        if key.endswith("/exp_avg"):  # averages of gradients: sums in another order, float32
            torch.testing.assert_close(two[key], one[key], rtol=1e-3, atol=2e-6, msg=lambda m, k=key: f"{k}: {m}")
    for key in (key for key in one if key.startswith("ema.") and learns(key)):
        torch.testing.assert_close(two[key], one[key], rtol=0, atol=1e-4)


def test_two_processes_train_the_classifier_of_one(two_processes: Path, tmp_path: Path) -> None:
    noise_classifier(tmp_path)
    name = "classifier/training-state.safetensors"
    one, two = (read_checkpoint(folder / name)[1] for folder in (tmp_path, two_processes / "noise-classifier"))
    assert one.keys() == two.keys()
    for key in one:
        if key.endswith("/exp_avg"):
            torch.testing.assert_close(two[key], one[key], rtol=1e-3, atol=2e-6, msg=lambda m, k=key: f"{k}: {m}")
    assert (two_processes / "noise-classifier" / "classifier.safetensors").is_file()


def test_gathered_rows_carry_their_gradient(two_processes: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 4, generator=generator))
        layer.bias.zero_()
    z = normalize(layer(torch.randn(6, 4, generator=generator)), dim=1)
    (gradient,) = torch.autograd.grad((z @ z.T).exp().sum(), layer.weight)
    found = load_file(two_processes / "gather.safetensors")
    torch.testing.assert_close(found["z"], z.detach())
    torch.testing.assert_close(found["gradient"], gradient)
    assert found["kept"].tolist() == [True, True, False, False, True, False]


def test_a_process_that_comes_late_draws_its_own_share(two_processes: Path) -> None:
    samples = read_samples(two_processes / "late.npz")
    assert samples.images[:, 0, 0, 0].tolist() == [seed % 256 for seed in sample_seeds(3, range(100))]


def test_parameters_that_one_process_does_not_use_do_no_harm(two_processes: Path) -> None:
    header, tensors = read_checkpoint(two_processes / "sometimes" / "training-state.safetensors")
    assert header["step"] == 4
    assert tensors["optimizer.extra.head.weight/exp_avg"].abs().max() > 0


def test_a_nan_on_one_process_stops_both(two_processes: Path) -> None:
    for rank in (0, 1):
        assert "the loss is not finite at step 0" in (two_processes / f"broken-{rank}").read_text()
    assert not (two_processes / "broken" / "training-state.safetensors").exists()


def test_two_processes_go_on_where_one_stopped(two_processes: Path, tmp_path: Path) -> None:
    header, two = read_checkpoint(two_processes / "begun" / "training-state.safetensors")
    assert header["step"] == 4
    one = trained(comparison_run("coral"), tmp_path)
    for key in (key for key in one if key.endswith("/exp_avg")):
        torch.testing.assert_close(two[key], one[key], rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize("title", ["ddpm", "coral"])
def test_one_process_goes_on_where_two_stopped(title: str, two_processes: Path, tmp_path: Path) -> None:
    run = comparison_run(title)
    source = two_processes / title / "training-state.safetensors"
    (tmp_path / source.name).write_bytes(source.read_bytes())
    trainer = make_trainer(run, tmp_path)
    trainer.run()  # the last step was done there
    assert trainer.state.step == 4
    trainer.train_step()
    whole = make_trainer(run, tmp_path / "whole")
    whole.run()
    whole.train_step()
    ours, theirs = ({k: v for k, v in t.state.ema.state().items() if learns(k)} for t in (trainer, whole))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_a_batch_must_divide_evenly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ltgen_bench.methods.trainer.join_world", lambda: World(0, 3))
    with pytest.raises(ConfigError, match=r"batch_size 32 cannot be divided evenly over 3 process"):
        make_trainer(comparison_run("ddpm"), tmp_path)


def test_one_process_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    world = join_world()
    assert (world.rank, world.size, world.is_main) == (0, 1, True)
    rows = torch.ones(3, 2, requires_grad=True)
    assert gather_with_gradient(rows) is rows
    assert world.largest([2.0, 3.0]) == [2.0, 3.0]
    assert world.mean(rows) is rows
    world.barrier()


def test_shards_cover_everything_once() -> None:
    for size in (1, 2, 3, 7):
        parts = [World(rank, size).shard(20) for rank in range(size)]
        assert [i for part in parts for i in range(20)[part]] == list(range(20))
