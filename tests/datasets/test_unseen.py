"""The reference of protocols of version 2: real images that nobody trained on, equally many of every class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import DataError
from ltgen_bench.datasets import ImageSet, load_dataset
from ltgen_bench.datasets.unseen import FEWEST_A_CLASS, unseen_reference


def images(counts: list[int], seed: int) -> ImageSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    return ImageSet(np.random.default_rng(seed).integers(256, size=(len(labels), 1, 4, 4), dtype=np.uint8), labels)


class Made:
    """As much of a data set as is asked for."""

    name = "made"
    class_count = 3

    def __init__(self, held_out: ImageSet | None, train: ImageSet):
        self._held_out, self._train = held_out, train

    def held_out(self) -> ImageSet | None:
        return self._held_out

    def train(self) -> ImageSet:
        return self._train


def test_digits_have_54_a_class_and_none_is_trained_on():
    for name in ("digits-lt", "digits"):
        dataset = load_dataset(DatasetConfig(name=name), Path("data"))
        info, found = unseen_reference(dataset)
        assert info.class_counts == (54,) * 10
        assert info.total == len(found) == 540
        assert not set(found.hashes()) & set(dataset.train().hashes())
    # the same images for every cut: no training set of the family contains one
    other = unseen_reference(load_dataset(DatasetConfig(name="digits-lt", imbalance=0.5), Path("data")))[1]
    assert other.fingerprint() == found.fingerprint()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([50, 30, 40], (30, 30, 30)),
        ([50, 5, 40], (FEWEST_A_CLASS, 5, FEWEST_A_CLASS)),  # a class with too few does not pull the others down
        ([15, 5, 10], (15, 5, 10)),
        ([25, 25, 25], (25, 25, 25)),
    ],
)
def test_the_rule_for_classes_that_have_few(counts: list[int], expected: tuple[int, ...]):
    held_out = images(counts, 0)
    info, found = unseen_reference(Made(held_out, images([3, 3, 3], 1)))  # type: ignore[arg-type]
    assert info.class_counts == expected
    assert found.counts(3).tolist() == list(expected)
    order = np.random.default_rng(2).permutation(len(held_out))
    shuffled = ImageSet(held_out.images[order], held_out.labels[order])
    again = unseen_reference(Made(shuffled, images([3, 3, 3], 1)))[1]  # type: ignore[arg-type]
    assert set(again.hashes()) == set(found.hashes())


def test_images_that_were_trained_on_are_not_unseen():
    held_out = images([20, 20, 20], 0)
    trained = ImageSet(held_out.images[:30], held_out.labels[:30])
    _, found = unseen_reference(Made(held_out, trained))  # type: ignore[arg-type]
    assert not set(found.hashes()) & set(trained.hashes())
    for none_left in (Made(None, trained), Made(trained, trained)):
        with pytest.raises(DataError, match="no images that nobody trained on"):
            unseen_reference(none_left)  # type: ignore[arg-type]
