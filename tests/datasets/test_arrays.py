"""A data set of somebody's own arrays: as it says, or refused in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import ConfigError, DataError
from ltgen_bench.datasets import DATASETS, ArrayDataset

NAMES = ("dark", "bright")


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)


def made(**changes: Any) -> ArrayDataset:
    arguments: dict[str, Any] = {
        "train": (images(5, 0), np.array([0, 0, 0, 0, 1])),
        "reference": (images(4, 1), np.array([0, 1, 0, 1], np.int32)),
        "class_names": NAMES,
    }
    return ArrayDataset(DatasetConfig(name="mine"), **(arguments | changes))


def test_it_says_what_the_arrays_hold() -> None:
    dataset = made(licence="CC0")
    assert (dataset.name, dataset.class_counts, dataset.image_shape) == ("mine", (4, 1), (1, 8, 8))
    assert dataset.groups.as_dict() == {"many": (0,), "medium": (), "few": (1,)}
    assert dataset.reference.class_counts == (2, 2)
    assert dataset.train().labels.dtype == np.int64
    assert dataset.recipe == "small"
    assert made(train=(images(10_000, 0), np.arange(10_000) % 2)).recipe == ""


def test_reference_images_that_were_trained_on_are_not_held_out() -> None:
    train, other = images(3, 0), images(1, 1)
    dataset = made(train=(train, np.array([0, 0, 1])), reference=(np.concatenate([train[:1], other]), np.array([0, 1])))
    held_out = dataset.held_out()
    assert held_out is not None
    assert np.array_equal(held_out.images, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": (images(2, 0).astype(float), [0, 1])}, "train: images must be a uint8 array, got float64"),
        ({"train": (images(2, 0).transpose(0, 2, 3, 1), [0, 1])}, r"channels last; give images.transpose"),
        ({"train": (images(2, 0), [0.0, 1.0])}, "train labels must be integers, got float64"),
        ({"train": (images(2, 0), [0, 2])}, "train: label 2 at position 1 is not below 2"),
        ({"train": (images(2, 0), [0, 0])}, "train has no image of class 'bright'"),
        ({"train": (images(2, 0), [0])}, "train: labels must be one for each of the 2 images"),
        ({"reference": (images(2, 0), [1, 1])}, "reference has no image of class 'dark'"),
        ({"reference": (images(2, 0)[:, :, :4, :4], [0, 1])}, r"training images are \(1, 8, 8\) and reference"),
    ],
)
def test_other_arrays_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"data set mine: .*{message}|data set mine: {message}") as caught:
        made(**changes)
    assert "\n" not in str(caught.value)


def test_options_that_it_does_not_know_are_refused() -> None:
    with pytest.raises(ConfigError, match=re.escape("data set 'mine' has no option 'imbalance'")):
        ArrayDataset(
            DatasetConfig(name="mine", imbalance=0.1),
            train=(images(2, 0), [0, 1]),
            reference=(images(2, 0), [0, 1]),
            class_names=NAMES,
        )


def test_the_example_of_twenty_lines(cli: Any, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "my_data.py"

    def shown(*words: object) -> str:
        DATASETS._entries.pop("my-blobs", None)  # as in a fresh process
        code, out, err = cli(*words, "--plugin", example)
        assert code == 0, err
        return str(out)

    try:
        assert "Blobs of three colours, 32x32, long-tailed: 300, 60 and 12 a class." in shown("list", "datasets")
        assert "372 images" in shown("data", "show", "my-blobs")
        line = ["run", "--dataset", "my-blobs", "--protocol", "offline-1k.v2", "--dry-run"]
        plan = shown(*line)
        assert "base_channels = 32" in plan
        assert "372 training images: a small network and 3,000 steps of 32, for a laptop" in plan
        assert "base_channels = 16" in shown(*line, "--set", "network.base_channels=16")
    finally:
        DATASETS._entries.pop("my-blobs", None)
