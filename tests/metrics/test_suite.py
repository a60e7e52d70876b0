"""All metrics in one call, intervals, label accuracy, and what is said when something is missing or wrong."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from ltgen_bench.core.errors import ConfigError, SamplesError, UnknownNameError
from ltgen_bench.metrics import (
    METRIC_NAMES,
    FeatureArrays,
    FrechetSolver,
    GaussianStatistics,
    MemorisationInputs,
    MetricSettings,
    compute_metrics,
    fid,
    fid_floor,
    frechet_distance_gram,
    gaussian_statistics,
    label_accuracy,
    manifold_scores,
)
from ltgen_bench.metrics.frechet import frechet_distances_without
from ltgen_bench.metrics.numerics.content_order import deal

GROUPS = {"many": [0, 1], "medium": [2], "few": [3, 4]}
SETTINGS = MetricSettings(prd_runs=2, prd_clusters_per_class=4, kid_subset_size=60, kid_subsets=5)


def two_sets(seed=0, n=400, classes=5, d=12):
    rng = np.random.default_rng(seed)
    centres = 3 * np.random.default_rng(1).standard_normal((classes, d))
    sets = []
    for spread in (1.1, 1.0):
        labels = np.arange(n) % classes
        features = centres[labels] + spread * rng.standard_normal((n, d))
        sets.append(FeatureArrays(features.astype(np.float32), labels, rng.dirichlet(np.ones(classes), n)))
    return sets


def full_report(**changes):
    generated, reference = two_sets()
    rng = np.random.default_rng(7)
    options = {
        "settings": SETTINGS,
        "class_count": 5,
        "groups": GROUPS,
        "classifier_probabilities": generated.probabilities,
        "training": MemorisationInputs(
            training_features=reference.features[:50],
            held_out_features=reference.features[50:],
            generated_pixels=rng.integers(0, 256, (400, 4, 4, 3)).astype(np.uint8),
            training_pixels=rng.integers(0, 256, (50, 4, 4, 3)).astype(np.uint8),
        ),
        **changes,
    }
    return compute_metrics(generated, reference, **options)


def test_every_number_is_there_and_is_json():
    report = full_report(settings=dataclasses.replace(SETTINGS, fid_infinity=True)).to_dict()
    text = json.dumps(report, allow_nan=False)
    assert json.loads(text) == report
    for key in ("fid", "fid_infinity", "kid", "kid_std", "inception_score", "inception_score_std", "f8", "f1_8"):
        assert type(report[key]) is float, key
    for key in ("precision", "recall", "density", "coverage", "label_accuracy"):
        assert type(report[key]) is float, key
    for key in ("clipped_density", "clipped_coverage", "vendi_score"):
        assert type(report[key]) is float, key
        assert None not in report["per_class"][key]
        assert report["groups"]["few"][f"mean_class_{key}"] == pytest.approx(np.mean(report["per_class"][key][3:]))
    for key in ("clipped_density", "clipped_coverage"):
        assert report["confidence"][key]["low"] < report[key] < report["confidence"][key]["high"], key
    per_class = report["per_class"]
    assert {len(values) for values in per_class.values()} == {5}
    assert per_class["n_generated"] == per_class["n_reference"] == [80] * 5
    assert set(per_class) >= {"fid", "fid_floor", "kid", "recall", "coverage", "label_accuracy"}
    reason = "needs held-out images, whose distances set the threshold"
    notes = {name: note for name, note in report["notes"].items() if note != "not asked for"}
    assert notes == {f"memorisation.pixels.{key}": reason for key in ("threshold", "fraction")}
    assert len(report["confusion"]) == 5
    for key in ("fid", "inception_score", "f8", "f1_8", "precision", "recall", "density", "coverage"):
        interval = report["confidence"][key]
        assert interval["low"] < report[key] < interval["high"], key
        assert interval["level"] == 0.95
        assert interval["method"]


def test_the_numbers_are_those_of_the_single_functions():
    generated, reference = two_sets()
    report = full_report()
    assert report.fid == pytest.approx(fid(generated.features, reference.features), rel=1e-9)
    scores = manifold_scores(generated.features, reference.features, k=3)
    assert (report.precision, report.recall) == (scores.precision, scores.recall)
    few = np.isin(generated.labels, [3, 4])
    group = report.groups["few"]
    assert group["fid"] == pytest.approx(fid(generated.features[few], reference.features[few]), rel=1e-9)
    assert group["precision"] == scores.generated_inside[few].mean()
    assert group["recall"] == scores.reference_inside[few].mean()
    assert group["n_generated"] == 160
    assert group["mean_class_fid"] == pytest.approx(np.mean(report.per_class["fid"][3:]))
    one = generated.labels == 2
    assert report.per_class["fid"][2] == pytest.approx(fid(generated.features[one], reference.features[one]), rel=1e-9)
    assert report.groups["medium"]["fid"] == pytest.approx(report.per_class["fid"][2], rel=1e-9)
    floor, size = fid_floor(reference.features[one], 80, seed=SETTINGS.seed)
    assert report.per_class["fid_floor"][2] == pytest.approx(floor, rel=1e-12)
    assert report.per_class["fid_floor_n"][2] == size == 40
    assert report.head_tail_gap["recall"] == group["recall"] - report.groups["many"]["recall"]
    assert report.label_accuracy == label_accuracy(generated.probabilities, generated.labels, class_count=5).accuracy


def test_the_same_call_gives_the_same_report():
    assert full_report().to_dict() == full_report().to_dict()


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_only_one_metric(name):
    lines = []
    report = full_report(only=[name], progress=lines.append, classifier_probabilities=None)
    assert len(lines) == 1
    values = report.to_dict()
    computed = {
        "fid": "fid",
        "per_class_fid": "per_class",
        "kid": "kid",
        "inception_score": "inception_score",
        "prd": "f8",
        "precision_recall": "recall",
        "memorisation": "memorisation",
    }
    for other, key in computed.items():
        if other == name:
            assert values[key] is not None
        elif key != "per_class":
            assert values[key] is None
            assert values["notes"][key] == "not asked for"


def test_null_with_a_reason_and_never_zero():
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    report = compute_metrics(FeatureArrays(x[:1]), FeatureArrays(x)).to_dict()
    for key in ("fid", "kid", "inception_score", "f8", "f1_8", "precision", "label_accuracy", "memorisation"):
        assert report[key] is None, key
        assert report["notes"][key], key
    assert "at least 2 samples" in report["notes"]["fid"]
    assert "number of classes" in report["notes"]["f8"]
    assert "got 1 and 3" in report["notes"]["recall"]
    assert "labels" in report["notes"]["per_class.fid"]


def test_a_class_without_samples_is_null_and_named():
    generated, reference = two_sets()
    keep = generated.labels != 4
    partial = FeatureArrays(generated.features[keep], generated.labels[keep])
    report = compute_metrics(partial, reference, settings=SETTINGS, groups=GROUPS, class_count=5)
    assert report.per_class["fid"][4] is None
    assert report.per_class["n_generated"][4] == 0
    assert report.notes["per_class.fid"].endswith("(class 4)")
    assert report.groups["few"]["mean_class_fid"] is None
    json.dumps(report.to_dict(), allow_nan=False)


def nulls_without_a_note(report):
    """Names of null values for which `notes` has nothing, but for those that the README excepts."""
    values = report.to_dict()
    named = {name: value for name, value in values.items() if name not in ("per_class", "groups", "head_tail_gap")}
    named |= {f"per_class.{key}": None for key, v in (values["per_class"] or {}).items() if None in v}
    for group, found in (values["groups"] or {}).items():
        named |= {f"groups.{group}.{key}": value for key, value in found.items()}
    for space, found in (values["memorisation"] or {}).items():
        named |= {f"memorisation.{space}.{key}": found[key] for key in ("threshold", "fraction")}
    return [name for name, value in named.items() if value is None and not values["notes"].get(name)]


@pytest.mark.parametrize("only", [None, *([name] for name in METRIC_NAMES)])
@pytest.mark.parametrize("given", ["labels", "no labels", "no samples of the tail", "one sample", "statistics"])
def test_every_null_has_a_note(only, given):
    generated, reference = two_sets(n=60)
    keep = {"no samples of the tail": generated.labels < 3, "one sample": np.arange(60) == 0}.get(given, slice(None))
    labels = None if given == "no labels" else generated.labels[keep]
    options = {"settings": SETTINGS, "groups": GROUPS, "class_count": 5, "only": only}
    if given == "statistics":
        options["reference_statistics"] = gaussian_statistics(reference.features)
    training = MemorisationInputs(training_features=reference.features[:30], held_out_features=reference.features[30:])
    sets = FeatureArrays(generated.features[keep], labels), None if given == "statistics" else reference
    report = compute_metrics(*sets, training=training, **options)
    assert nulls_without_a_note(report) == []
    if only == ["kid"]:
        assert report.notes["fid_infinity"] == "not asked for"
    if given == "no samples of the tail" and only is None:
        assert "groups.few.f8" in report.notes
        assert report.notes["groups.few.mean_class_fid"] == "a class of the group has no fid: see per_class.fid"


def test_reference_statistics_in_place_of_features():
    generated, reference = two_sets()
    statistics = gaussian_statistics(reference.features)
    report = compute_metrics(generated, None, settings=SETTINGS, reference_statistics=statistics)
    assert report.fid == pytest.approx(fid(generated.features, reference.features), rel=1e-9)
    assert "reference features" in report.notes["recall"]
    assert report.inception_score is not None


def test_more_dimensions_than_samples():
    generated, reference = two_sets(d=500, n=100)
    report = compute_metrics(generated, reference, settings=SETTINGS, groups=GROUPS, only=["fid", "per_class_fid"])
    assert report.fid == pytest.approx(fid(generated.features, reference.features), rel=1e-9)
    assert report.confidence["fid"].low < report.fid < report.confidence["fid"].high
    few = np.isin(generated.labels, [3, 4])
    assert report.groups["few"]["fid"] == pytest.approx(fid(generated.features[few], reference.features[few]), rel=1e-9)


def test_manifold_features_are_used_for_the_manifold_only():
    generated, reference = two_sets()
    rng = np.random.default_rng(3)
    other = [rng.standard_normal((400, 6)), rng.standard_normal((400, 6))]
    pair = [FeatureArrays(s.features, manifold_features=m) for s, m in zip((generated, reference), other, strict=True)]
    report = compute_metrics(*pair, settings=SETTINGS, only=["precision_recall", "fid"])
    assert report.recall == manifold_scores(*other, k=3).recall
    assert report.fid == pytest.approx(fid(generated.features, reference.features), rel=1e-9)
    with pytest.raises(SamplesError, match="for one set only"):
        compute_metrics(FeatureArrays(other[0], manifold_features=other[0]), FeatureArrays(other[1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": np.ones(3)}, r"features: expected shape \(N, D\)"),
        ({"features": np.ones((0, 3))}, "features: is empty"),
        ({"features": np.array([[1.0], [np.nan]])}, "features: row 1 holds NaN or infinity"),
        ({"features": np.array([[np.inf]])}, "features: row 0"),
        ({"features": np.array([["a"]])}, "real numbers"),
        ({"features": np.ones((2, 2)), "labels": [0]}, "labels: has 1 entries, expected 2"),
        ({"features": np.ones((2, 2)), "labels": [0, -1]}, "start at 0"),
        ({"features": np.ones((2, 2)), "labels": [0, 0.5]}, "whole numbers"),
        ({"features": np.ones((2, 2)), "labels": [[0, 1]]}, r"expected shape \(N,\)"),
        ({"features": np.ones((2, 2)), "probabilities": np.ones((2, 4))}, "must add up to 1"),
        ({"features": np.ones((2, 2)), "probabilities": -np.ones((2, 4))}, "not logits"),
        ({"features": np.ones((2, 2)), "manifold_features": np.ones((3, 4))}, "manifold_features: has 3 rows"),
    ],
)
def test_wrong_arrays(arguments, message):
    with pytest.raises(SamplesError, match=message) as caught:
        FeatureArrays(**arguments)
    assert "\n" not in str(caught.value)


def test_wrong_calls():
    generated, reference = two_sets()
    with pytest.raises(UnknownNameError, match="did you mean 'precision_recall'"):
        compute_metrics(generated, reference, only=["precision-recall"])
    with pytest.raises(SamplesError, match="12 columns, reference 3"):
        compute_metrics(generated, FeatureArrays(np.ones((5, 3))))
    with pytest.raises(SamplesError, match="neither features nor statistics"):
        compute_metrics(generated, None)
    with pytest.raises(SamplesError, match="holds class 4, but there are 3 classes"):
        compute_metrics(generated, reference, class_count=3)
    with pytest.raises(SamplesError, match="in both many and few"):
        compute_metrics(generated, reference, groups={"many": [0], "few": [0]})
    with pytest.raises(SamplesError, match="did you mean 'medium'"):
        compute_metrics(generated, reference, groups={"mediums": [0]})
    with pytest.raises(ConfigError, match="k = 0"):
        MetricSettings(k=0)
    with pytest.raises(ConfigError, match="confidence_level"):
        MetricSettings(confidence_level=95)


def test_label_accuracy_and_confusion_equal_scikit_learn():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, 200), rng.integers(0, 5, 200)
    scores = label_accuracy(np.eye(5)[predicted], labels, class_count=5)
    assert (scores.confusion == confusion_matrix(labels, predicted, labels=range(5))).all()
    assert scores.accuracy == (labels == predicted).mean()
    assert scores.per_class[4] is None
    assert scores.per_class[0] == (predicted[labels == 0] == 0).mean()


def test_intervals_of_f_scores_stay_within_shares():
    """A set against itself scores 1, and nothing scores more."""
    one, _ = two_sets()
    report = compute_metrics(one, one, settings=SETTINGS, only=["prd"])
    for key, value in (("f8", report.f8), ("f1_8", report.f1_8)):
        assert value == pytest.approx(1)
        assert 0.9 < report.confidence[key].low < report.confidence[key].high == 1


def test_importing_the_metrics_is_cheap():
    code = "import sys, ltgen_bench.metrics; print([m for m in ('torch', 'sklearn', 'scipy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_gradient_of_the_distance_equals_its_differences():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((200, 8)) @ rng.standard_normal((8, 8)), rng.standard_normal((300, 8))
    solver, statistics = FrechetSolver(gaussian_statistics(y)), gaussian_statistics(x)
    value, gradient = solver.distance_and_gradient(statistics)
    assert value == pytest.approx(solver.distance(statistics), rel=1e-12)
    step = rng.standard_normal((8, 8))
    step = 1e-5 * (step + step.T)
    ends = [
        solver.distance(GaussianStatistics(statistics.mean, statistics.covariance + sign * step, 200))
        for sign in (1, -1)
    ]
    assert (ends[0] - ends[1]) / 2 == pytest.approx(np.vdot(gradient, step), rel=1e-6)


def test_against_a_constant_reference_the_gradient_is_that_of_the_trace():
    x = np.random.default_rng(8).standard_normal((100, 4))
    value, gradient = FrechetSolver(gaussian_statistics(np.ones((50, 4)))).distance_and_gradient(gaussian_statistics(x))
    assert (gradient == np.eye(4)).all()
    assert value == pytest.approx(np.cov(x, rowvar=False).trace() + np.square(x.mean(axis=0) - 1).sum())


@pytest.mark.parametrize(("n", "m", "d"), [(40, 60, 50), (60, 40, 50), (200, 40, 50), (30, 200, 6)])
def test_gram_distances_without_a_fold_are_those_of_the_rest(n, m, d):
    x, y = (np.random.default_rng(s).standard_normal((size, d)) for s, size in ((0, n), (1, m)))
    fold = deal(x, None, 5)
    expected = [frechet_distance_gram(x[fold != g], y) for g in range(5)]
    assert frechet_distances_without(x, y, fold) == pytest.approx(expected, rel=1e-6)
