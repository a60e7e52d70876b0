"""The comparison of public and private images: noise where there is nothing, and a large z where there is something."""

from __future__ import annotations

import numpy as np
import pytest

from ltgen_bench.metrics import fid
from ltgen_bench.metrics.private_half import FEWEST_IMAGES, private_half_test

LABELS = np.repeat(np.arange(5), 40)


def images(random: np.random.Generator, count: int = 200, columns: int = 20) -> np.ndarray:
    return random.standard_normal((count, columns)).astype(np.float32)


def test_equal_numbers_of_every_class_are_compared() -> None:
    random = np.random.default_rng(0)
    public, private, samples = images(random), images(random), images(random, 300)
    found = private_half_test(samples, public, LABELS, private[:150], LABELS[:150], seed=0, swaps=9)
    assert found is not None
    assert found.images == 150  # the last class is private nowhere, the fourth one in part
    whole = private_half_test(samples, public, LABELS, private, LABELS, seed=0, swaps=9)
    assert whole is not None
    assert whole.public == pytest.approx(fid(samples, public))
    assert whole.private == pytest.approx(fid(samples, private))
    assert whole.low < whole.private - whole.public < whole.high


def test_halves_of_one_distribution_differ_by_noise() -> None:
    random = np.random.default_rng(1)
    z = []
    for trial in range(40):
        samples = 1.2 * images(random, 300) + 0.1  # no good generator, which must not matter
        found = private_half_test(samples, images(random), LABELS, images(random), LABELS, seed=trial, swaps=29)
        assert found is not None
        z.append(found.z)
    assert abs(np.mean(z)) < 3 / 40**0.5
    assert 0.6 < np.std(z) < 1.5
    assert max(z) < 3.5


@pytest.mark.parametrize("columns", [20, 400])
def test_samples_made_of_the_public_half_are_found(columns: int) -> None:
    random = np.random.default_rng(2)
    public, private = images(random, columns=columns), images(random, columns=columns)
    samples = public[random.integers(0, 200, 300)] + 0.3 * images(random, 300, columns)
    found = private_half_test(samples, public, LABELS, private, LABELS, seed=0)
    assert found is not None
    assert found.z > 5
    back = private_half_test(samples, private, LABELS, public, LABELS, seed=0)
    assert back is not None
    assert back.z < -5


def test_of_few_images_nothing_is_said() -> None:
    random = np.random.default_rng(3)
    few = np.zeros(FEWEST_IMAGES - 1, np.int64)
    arguments = images(random, len(few)), few
    assert private_half_test(images(random), *arguments, *arguments, seed=0) is None
    same = np.ones((200, 4), np.float32)
    assert private_half_test(same, same, LABELS, same, LABELS, seed=0) is None
