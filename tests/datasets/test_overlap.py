"""Equal images of two sets, against a comparison of every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltgen_bench.datasets import ImageSet
from ltgen_bench.datasets.overlap import not_trained_on, rows_of_equal_images


def image_set(values: list[int]) -> ImageSet:
    """One image of 2x2 pixels for each value."""
    images = np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 2), np.uint8)
    return ImageSet(images, np.arange(len(values), dtype=np.int64) % 2)


VALUES = st.lists(st.integers(0, 6), min_size=1, max_size=12)


@given(VALUES, VALUES)
def test_rows_of_equal_images(ours: list[int], theirs: list[int]) -> None:
    rows = rows_of_equal_images(image_set(ours), image_set(theirs))
    for value, row in zip(ours, rows, strict=True):
        assert (row == -1) == (value not in theirs)
        assert row == -1 or theirs[row] == value


@given(VALUES, VALUES)
def test_held_out_images_that_were_trained_on_are_left_out(held_out: list[int], train: list[int]) -> None:
    left = not_trained_on(image_set(held_out), image_set(train))
    expected = [value for value in held_out if value not in train]
    assert (left is None) == (not expected)
    if left is not None:
        assert left.images[:, 0, 0, 0].tolist() == expected


def test_each_image_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from ltgen_bench.datasets import base

    hashed, count = [], base.sha256_arrays
    monkeypatch.setattr(base, "sha256_arrays", lambda **arrays: (hashed.append(1), count(**arrays))[1])
    train, others = image_set([1, 2, 3]), image_set([3, 4])
    for _ in range(3):
        rows_of_equal_images(others, train)
        rows_of_equal_images(train, others)
    assert len(hashed) == 5
