"""The evaluation stage in Python: arrays of the wrong kind, and devices that it cannot compute on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ltgen_bench
from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import SamplesError
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.protocol import get_protocol
from ltgen_bench.datasets import load_dataset
from ltgen_bench.evaluation.evaluate import Evaluator
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.samples import Samples


def some_samples() -> Samples:
    random = np.random.default_rng(0)
    return Samples(random.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8), np.arange(40) % 10)


@pytest.mark.parametrize("shape", [(40,), (40, 8, 8), (40, 1, 8, 8, 1)])
def test_images_of_another_number_of_axes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(SamplesError, match=r"images have the shape \(40,.*; they must be \(N, H, W, C\) or"):
        ltgen_bench.evaluate(
            np.zeros(shape, np.uint8), np.zeros(40, int), dataset="digits-lt", places=EvaluationPlaces(tmp_path)
        )


def test_a_run_on_mps_is_measured_on_the_cpu(tmp_path: Path) -> None:
    """Nothing of the evaluation may reach the device: MPS has no float64, and there is none on this machine."""
    dataset = load_dataset(DatasetConfig(name="digits-lt"), tmp_path)
    protocol = get_protocol("digits-1k.v1").customised(samples=40, prd_runs=1)

    said: list[str] = []

    class Heard(Progress):
        def say(self, text: str) -> None:
            said.append(text)

    def measured(device: str) -> object:
        evaluator = Evaluator(EvaluationPlaces(tmp_path, cache=False), torch.device(device), 64, Heard())
        return evaluator.measure(some_samples(), dataset, protocol).to_dict()

    on_cpu = measured("cpu")
    line = "measured on the CPU: it needs float64, which mps lacks"
    assert line not in said
    assert measured("mps") == on_cpu
    assert said.count(line) == 1


def test_a_small_reference_is_said_beside_the_numbers(tmp_path: Path) -> None:
    from ltgen_bench.core.config import DatasetConfig
    from ltgen_bench.datasets import ImageSet, load_dataset
    from ltgen_bench.evaluation.evaluate import _small_reference

    dataset = load_dataset(DatasetConfig(name="digits-lt"), tmp_path)
    many = np.repeat(np.arange(10), 60)
    assert _small_reference(ImageSet(np.zeros((600, 1, 8, 8), np.uint8), many), dataset, 64) == ""
    labels = np.concatenate([np.repeat(np.arange(9), 60), np.full(20, 9)])
    images = ImageSet(np.zeros((560, 1, 8, 8), np.uint8), labels)
    words = _small_reference(images, dataset, 2048)
    assert "560 reference images are fewer than the 2,048 features" in words
    assert "1 of 10 classes have fewer than 50 reference images (9)" in words
