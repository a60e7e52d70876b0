"""Suspected copies with thresholds by class, relative to the training image's neighbourhood, and repeated samples."""

from __future__ import annotations

import numpy as np
import pytest

from ltgen_bench.metrics import FeatureArrays, MemorisationInputs, MetricSettings, compute_metrics
from ltgen_bench.metrics.memorisation_classes import class_thresholds
from ltgen_bench.metrics.numerics.distances import distinct_rows
from ltgen_bench.metrics.numerics.neighbours import point_neighbours
from ltgen_bench.metrics.repeats import effective_number, repeat_clusters

GROUPS = {"many": [0, 1], "medium": [2], "few": [3, 4]}


def test_a_class_with_few_held_out_images_takes_its_groups_threshold() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), [150, 99, 20, 60, 60])
    scores = generator.random(len(labels)) + labels
    found = class_thresholds(scores, labels, 5, GROUPS, 0.01)
    assert found.places == ["class", "class", "all", "few", "few"]
    few = np.sort(scores[labels >= 3])  # 120 of them: the quantile lies at rank 1.21
    assert found.values[3] == found.values[4] == pytest.approx(few[0] + 0.21 * (few[1] - few[0]))
    assert found.values[1] == pytest.approx(scores[labels == 1].min())  # rank 1 of 99
    assert found.values[2] == pytest.approx(np.quantile(scores, 0.01, method="weibull"))


def test_no_threshold_without_enough_held_out_images_or_where_it_is_zero() -> None:
    few = class_thresholds(np.ones(98), np.zeros(98, np.int64), 1, {}, 0.01)
    zero = class_thresholds(np.zeros(200), np.zeros(200, np.int64), 1, {}, 0.01)
    assert few.values == zero.values == [None]
    assert few.copied(np.ones(3), np.zeros(3, np.int64)) is None


def test_honest_samples_of_every_group_have_one_per_cent() -> None:
    """A head with many training images lies nearer to them than a tail; one threshold calls the head copied."""
    generator = np.random.default_rng(1)
    counts = [4000, 40]

    def draw(numbers: list[int]) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(2), numbers)
        return (generator.normal(size=(len(labels), 3)) + 100 * labels[:, None]).astype(np.float32), labels

    training, _ = draw(counts)
    held_out, held_out_labels = draw([6000, 6000])
    samples, labels = draw([4000, 4000])
    report = compute_metrics(
        FeatureArrays(samples, labels=labels),
        FeatureArrays(held_out, labels=held_out_labels),
        groups={"many": [0], "few": [1]},
        training=MemorisationInputs(
            training_features=training, held_out_features=held_out, held_out_labels=held_out_labels
        ),
        only=["memorisation"],
    )
    assert report.memorisation is not None
    entry = report.memorisation["features"]
    assert entry["groups"]["many"] > 0.015
    assert entry["groups"]["few"] < 0.002
    for kind in ("by_class", "by_neighbourhood"):
        assert entry[kind]["threshold_of"] == ["class", "class"]
        for share in entry[kind]["groups"].values():
            assert 0.005 < share < 0.017, kind


def test_a_blank_image_is_no_copy() -> None:
    """White samples lie near one nearly white training image, but no nearer than its likes: a real copy does."""
    generator = np.random.default_rng(2)

    def images(count: int) -> np.ndarray:
        contrast = np.sqrt(generator.uniform(0.001, 1, size=(count, 1, 1, 1)))  # pale images are rare
        return (255 - 200 * contrast * generator.random((count, 6, 6, 3))).astype(np.uint8)

    training, held_out = images(400), images(400)
    blank = np.full((40, 6, 6, 3), 255, np.uint8) - generator.integers(0, 2, (40, 6, 6, 3), dtype=np.uint8)
    copies = np.clip(training[:60].astype(int) + generator.integers(-1, 2, (60, 6, 6, 3)), 0, 255).astype(np.uint8)
    samples = np.concatenate([blank, copies])
    labels = np.repeat([0, 1], [40, 60])
    zeros = np.zeros(400, np.int64)
    report = compute_metrics(
        FeatureArrays(np.zeros((100, 2), np.float32), labels=labels),
        FeatureArrays(np.zeros((400, 2), np.float32), labels=zeros),
        class_count=2,
        training=MemorisationInputs(
            training_pixels=training, held_out_pixels=held_out, generated_pixels=samples, held_out_labels=zeros
        ),
        only=["memorisation"],
    )
    assert report.memorisation is not None
    entry = report.memorisation["pixels"]
    assert entry["per_class"][0] > 0.9  # the fault: all blank images are called copies
    assert entry["by_neighbourhood"]["per_class"][0] == 0.0
    assert entry["by_neighbourhood"]["per_class"][1] > 0.9


def clusters_of(rows: np.ndarray, limit: float) -> np.ndarray:
    distinct = distinct_rows(rows)
    return repeat_clusters(distinct, point_neighbours(rows, distinct, min(3, len(rows) - 1)), limit)


def test_equal_and_near_equal_rows_are_one_cluster() -> None:
    base = np.random.default_rng(3).normal(size=(30, 4)).astype(np.float32)
    noise = 1e-4 * np.random.default_rng(4).normal(size=(30, 4)).astype(np.float32)
    rows = np.concatenate([base, base[:10], base + noise])
    clusters = clusters_of(rows, 1e-4)
    assert len(np.unique(clusters)) == 30
    np.testing.assert_array_equal(clusters[:10], clusters[30:40])
    np.testing.assert_array_equal(clusters[:30], clusters[40:])
    assert len(np.unique(clusters_of(rows, 0.0))) == 60
    assert effective_number(clusters_of(base, 1e-4)) == 30
    assert effective_number(np.repeat(np.arange(6), 5)) == pytest.approx(6)


@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_repeats_are_no_independent_samples(noise: float) -> None:
    """Eight times the same samples say no more than once: every interval is about as wide as theirs."""
    generator = np.random.default_rng(5)
    labels = np.arange(240) % 3
    base = (generator.normal(size=(240, 6)) + labels[:, None]).astype(np.float32)
    reference = (generator.normal(size=(600, 6)) + (np.arange(600) % 3)[:, None]).astype(np.float32)
    many = np.concatenate([base + noise * generator.normal(size=base.shape).astype(np.float32) for _ in range(8)])
    settings = MetricSettings(prd_runs=2, prd_clusters_per_class=5, kid_subsets=4, kid_subset_size=100)
    options = {"groups": {"many": [0], "few": [1, 2]}, "settings": settings, "only": ["fid", "precision_recall"]}
    theirs = FeatureArrays(reference, labels=np.arange(600) % 3)
    once = compute_metrics(FeatureArrays(base, labels=labels), theirs, **options)
    often = compute_metrics(FeatureArrays(many, labels=np.tile(labels, 8)), theirs, **options)
    assert "confidence" not in once.notes
    assert often.notes["confidence"].startswith("1,920 samples are 240 different ones")
    for key in ("fid", "precision", "groups.few.precision", "density", "clipped_density"):
        widths = [report.confidence[key].high - report.confidence[key].low for report in (once, often)]
        assert 0.7 < widths[1] / widths[0] < 1.4, key
