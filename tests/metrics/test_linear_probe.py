"""The linear probe against scikit-learn's ridge regression, and its leave-one-out accuracy against leaving one out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from ltgen_bench.metrics import FeatureArrays, MetricSettings, compute_metrics
from ltgen_bench.metrics.linear_probe import PENALTIES, fit_linear_probe


def classes(seed, per_class=12, dims=6, count=4, spread=1.5):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count), per_class)
    centres = np.random.default_rng(99).standard_normal((count, dims)) * spread
    return (random.standard_normal((len(labels), dims)) + centres[labels]).astype(np.float32), labels


def peer(features, labels, probe):
    """scikit-learn's ridge with the same penalty on the same standardised features."""
    standard = (features.astype(np.float64) - probe.mean) * probe.scale
    unit = np.linalg.eigvalsh(standard.T @ standard).mean()
    return Ridge(alpha=probe.penalty * unit), standard


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_the_scores_are_those_of_ridge_regression(seed):
    features, labels = classes(seed)
    probe = fit_linear_probe(features, labels, 4)
    model, standard = peer(features, labels, probe)
    model.fit(standard, np.eye(4)[labels])
    other = classes(seed + 1)[0]
    scores = model.predict((other - probe.mean) * probe.scale)
    assert np.allclose((other - probe.mean) * probe.scale @ probe.weights + probe.offset, scores, atol=1e-8)
    assert (probe.predict(other) == scores.argmax(axis=1)).all()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6))
def test_the_accuracy_is_that_of_leaving_one_out(seed):
    features, labels = classes(seed, spread=0.7)
    probe = fit_linear_probe(features, labels, 4)
    model, standard = peer(features, labels, probe)
    right = []
    for row in range(len(labels)):
        rest = np.arange(len(labels)) != row
        model.fit(standard[rest], np.eye(4)[labels][rest])
        right.append(model.predict(standard[row : row + 1]).argmax() == labels[row])
    assert probe.correct.tolist() == right
    assert probe.accuracy == pytest.approx(np.mean(right))
    assert probe.penalty in PENALTIES


def test_neither_order_nor_scale_nor_constant_features_matter():
    features, labels = classes(3)
    probe = fit_linear_probe(features, labels, 4)
    order = np.random.default_rng(0).permutation(len(labels))
    other = np.concatenate([features * np.float32(1000), np.full((len(labels), 2), 7, np.float32)], axis=1)
    moved = fit_linear_probe(other[order], labels[order], 4)
    assert moved.accuracy == probe.accuracy
    assert (moved.predict(other) == probe.predict(features)).all()


def test_a_class_with_one_image_has_no_probe():
    features, labels = classes(4)
    assert fit_linear_probe(features[:-11], labels[:-11], 4) is None


def test_permuted_labels_are_seen_as_such():
    """Samples of the same distribution have the ceiling, those with permuted labels have chance."""
    settings = MetricSettings(label_probe=True, fixed_class_counts=True)
    (ours, labels), (real, theirs) = classes(5, 100), classes(6, 100)
    groups = {"many": [0], "medium": [1], "few": [2, 3]}
    wrong = np.random.default_rng(1).permutation(labels)
    honest, permuted = (
        compute_metrics(
            FeatureArrays(ours, own), FeatureArrays(real, theirs), settings=settings, groups=groups, only=["fid"]
        ).to_dict()
        for own in (labels, wrong)
    )
    assert honest["probe_accuracy"] == pytest.approx(honest["probe_accuracy_ceiling"], abs=0.05)
    assert permuted["probe_accuracy"] == pytest.approx(0.25, abs=0.06)
    assert honest["groups"]["few"]["probe_accuracy"] == pytest.approx(
        np.mean(honest["per_class"]["probe_accuracy"][2:]), abs=1e-12
    )
    interval = honest["confidence"]["groups.few.probe_accuracy"]
    assert interval["low"] < honest["groups"]["few"]["probe_accuracy"] < interval["high"]
