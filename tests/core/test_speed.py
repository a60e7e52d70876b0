"""`--speed`: what it fills in, what stands, and what it is a part of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ltgen_bench.core.devices import cuda_formats
from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.mappings import merge
from ltgen_bench.core.speed import chosen_speed, speed_words
from ltgen_bench.runs.resolve import resolve


def config(**layers: Any) -> Any:
    return resolve(layers, Path("data")).config


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has an H100."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device=None: (9, 0))


def test_a_cpu_is_exact_and_nothing_changes() -> None:
    made = config()
    assert made.execution.speed == "exact"
    assert (made.training.precision, made.sampling.precision) == ("fp32", "fp32")
    assert not made.execution.tf32
    assert not made.execution.compile
    assert made.hash() == config(execution={"speed": "exact"}).hash()


@pytest.mark.usefixtures("cuda")
def test_cuda_is_fast_unless_it_is_told_otherwise() -> None:
    made = config()
    assert speed_words(made) == "fast: training bf16, sampling bf16, TF32, channels_last, compiled"
    assert chosen_speed("auto", "cpu") == "exact"  # the device counts, not the machine
    exact = config(execution={"speed": "exact"})
    assert speed_words(exact).startswith("exact: training fp32, sampling fp32")
    assert not exact.execution.tf32


@pytest.mark.usefixtures("cuda")
def test_cards_without_bf16_take_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device=None: (7, 5))
    assert config().training.precision == "fp16"


def test_what_somebody_set_stands() -> None:
    made = config(execution={"speed": "fast", "compile": False}, training={"precision": "fp32"})
    assert speed_words(made) == "fast: training fp32, sampling bf16, TF32, channels_last"


def test_precisions_are_identity_and_the_rest_is_not() -> None:
    exact, fast = config(), config(execution={"speed": "fast"})
    same = config(execution={"speed": "fast"}, training={"precision": "fp32"}, sampling={"precision": "fp32"})
    assert fast.hash() != exact.hash()
    assert same.hash() == exact.hash()


@pytest.mark.usefixtures("cuda")
def test_a_run_goes_on_as_it_began_on_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import tomllib

    began = config()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    again = resolve(merge(tomllib.loads(began.to_toml()), {"execution": {"device": "cpu"}}), Path("data")).config
    assert again.hash() == began.hash()
    assert again.training.precision == "bf16"


@pytest.mark.parametrize("value", ["quick", "", "FAST"])
def test_an_unknown_speed_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"execution\.speed"):
        config(execution={"speed": value})


def test_graphs_without_compiling_are_refused() -> None:
    with pytest.raises(ConfigError, match="cuda_graphs needs compile"):
        config(execution={"cuda_graphs": True})


def test_number_formats_are_put_back() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with cuda_formats(tf32=not before[1], fixed_shapes=True):
        assert torch.backends.cudnn.allow_tf32 is not before[1]
        assert torch.get_float32_matmul_precision() == ("highest" if before[1] else "high")
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
