"""Labels that do not belong to their images are noticed, and others are left in peace."""

from __future__ import annotations

import numpy as np
import pytest

from ltgen_bench.metrics import FeatureArrays
from ltgen_bench.metrics.label_check import label_warning

NAMES = ["a", "b", "c", "d"]


def blobs(seed: int, spread: float = 1.0, offset: float = 0.0) -> FeatureArrays:
    """50 points around each of four corners that are 4 apart in eight dimensions."""
    labels = np.repeat(np.arange(4), 50)
    corners = 4 * np.eye(8)[:4]
    points = corners[labels] + spread * np.random.default_rng(seed).normal(size=(200, 8)) + offset
    return FeatureArrays(points.astype(np.float32), labels)


def relabelled(arrays: FeatureArrays, labels: np.ndarray) -> FeatureArrays:
    return FeatureArrays(arrays.features, labels)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_right_labels_are_left_in_peace(offset: float) -> None:
    assert label_warning(blobs(1, offset=offset), blobs(0, offset=offset), NAMES) is None
    assert label_warning(blobs(1, spread=4.0, offset=offset), blobs(0, offset=offset), NAMES) is None  # a poor model


def test_shuffled_and_permuted_labels_are_noticed() -> None:
    ours = blobs(1)
    assert ours.labels is not None
    warning = label_warning(relabelled(ours, np.random.default_rng(0).permutation(ours.labels)), blobs(0), NAMES)
    assert warning is not None
    assert "by chance 25" in warning
    assert "0 a, 1 b, 2 c, 3 d" in warning
    assert "\n" not in warning
    permuted = label_warning(relabelled(ours, (ours.labels + 1) % 4), blobs(0), NAMES)
    assert permuted is not None
    assert "0.0 % of the samples" in permuted or "0.5 % of the samples" in permuted


def test_a_generator_that_ignores_its_labels_is_noticed() -> None:
    one = blobs(1)
    same = FeatureArrays(np.repeat(one.features[:1], 200, axis=0), one.labels)
    assert label_warning(same, blobs(0), NAMES) is not None


def test_nothing_is_said_where_nothing_can_be_known() -> None:
    noise = FeatureArrays(np.random.default_rng(3).normal(size=(4000, 2)), np.arange(4000) % 4)
    assert label_warning(noise, noise, NAMES) is None  # classes that the features cannot tell apart
    single = blobs(0)
    only = relabelled(single, np.zeros(200, int))
    assert label_warning(only, only, NAMES) is None
    few = blobs(0)
    assert few.labels is not None
    wrong = FeatureArrays(few.features[:3], few.labels[:3] + 1)  # three wrong labels are not evidence
    assert label_warning(wrong, few, NAMES) is None
