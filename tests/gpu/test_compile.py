"""What compiling the network relies on: no graph break, and no second compilation in a training or a sampling."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from baselines_support import make_trainer, tiny_run
from torch import nn
from torch._dynamo.testing import CompileCounter

from ltgen_bench.core.seeding import sample_seeds
from ltgen_bench.methods import METHODS, DiffusionMethod
from ltgen_bench.methods.sampler import _tiled, sample_diffusion

NAMES = [name for name in METHODS.names() if issubclass(METHODS.get(name), DiffusionMethod)]
COMPILED = {"compile": True, "sampling_batch_size": 6}


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> CompileCounter:
    """Counts compiled graphs; a graph break raises."""
    torch._dynamo.reset()
    counting = CompileCounter()
    compile_ = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda module, mode=None: compile_(module, backend=counting, fullgraph=True)
    )
    return counting


@pytest.mark.parametrize("name", NAMES)
def test_a_training_compiles_its_network_once(name: str, counter: CompileCounter, tmp_path: Path) -> None:
    """Over steps with and without dropped labels, and for every pass that a method makes.

    CM's two passes are of two networks: with the low-rank part of the decoder and without.
    """
    training = {"steps": 12, "batch_size": 16, "label_drop": 0.5, "label_drop_unit": "batch"}
    make_trainer(tiny_run(name, training=training, execution=COMPILED), tmp_path).run()
    assert counter.frame_count == (2 if name == "cm" else 1)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_a_sampling_compiles_once_whatever_the_last_batch(scale: float, counter: CompileCounter) -> None:
    run = tiny_run("ddpm", execution=COMPILED, sampling={"guidance_scale": scale, "steps": 3})
    method = run.make_method()
    assert isinstance(method, DiffusionMethod)
    plain = sample_diffusion(method, torch.arange(4), sample_seeds(0, range(4)))
    assert counter.frame_count == 0  # a CPU draws in tiles of its own
    method.device = torch.device("cuda")  # which has no tiles but those that save compiling
    for rows in (6, 6, 2, 1):
        with torch.inference_mode():
            model = _tiled(method, scale)
            calls = rows * (1 if scale == 0 else 2)
            x = torch.randn(calls, *method.spec.image_shape)
            model(x, torch.zeros(calls, dtype=torch.int64), torch.zeros(calls, dtype=torch.int64))
    assert counter.frame_count == 1
    assert plain.shape[0] == 4
