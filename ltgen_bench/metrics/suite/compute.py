"""All metrics of two sets of features in one call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from ltgen_bench.core.errors import SamplesError, UnknownNameError, did_you_mean
from ltgen_bench.metrics.groups import check_groups
from ltgen_bench.metrics.inputs import FeatureArrays, FloatArray, check_labels
from ltgen_bench.metrics.memorisation import MemorisationInputs
from ltgen_bench.metrics.numerics.distances import check_metrics_device
from ltgen_bench.metrics.numerics.statistics import GaussianStatistics
from ltgen_bench.metrics.settings import MetricSettings
from ltgen_bench.metrics.suite.findings import Findings, finish
from ltgen_bench.metrics.suite.report import MetricReport
from ltgen_bench.metrics.suite.steps import STEPS

METRIC_NAMES = ("fid", "per_class_fid", "kid", "inception_score", "prd", "precision_recall", "vendi", "memorisation")


def check_metric_names(only: Collection[str] | None) -> tuple[str, ...]:
    """The chosen metric names in the order of `METRIC_NAMES`; all of them for None.

    Raises `UnknownNameError` with the closest known name.
    """
    if only is None:
        return METRIC_NAMES
    for name in only:
        if name not in METRIC_NAMES:
            raise UnknownNameError(f"unknown metric {name!r}: {did_you_mean(name, METRIC_NAMES)}")
    return tuple(name for name in METRIC_NAMES if name in only)


def compute_metrics(
    generated: FeatureArrays,
    reference: FeatureArrays | None,
    *,
    settings: MetricSettings | None = None,
    class_count: int | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    only: Collection[str] | None = None,
    classifier_probabilities: FloatArray | None = None,
    training: MemorisationInputs | None = None,
    papers: FeatureArrays | None = None,
    papers_statistics: GaussianStatistics | None = None,
    reference_statistics: GaussianStatistics | None = None,
    progress: Callable[[str], None] | None = None,
    device: str = "cpu",
) -> MetricReport:
    """Compare `generated` with `reference` and return every number that the inputs allow.

    Arguments:
        generated, reference: the two sets; `reference` may be None when `reference_statistics` is given, and then
            only FID, the Inception Score, label accuracy and memorisation can be computed.
        settings: what the numbers depend on; the defaults when None.
        class_count: number of classes C; from the labels when None.
        groups: "many", "medium", "few" -> class indices.
        only: names out of `METRIC_NAMES`; None for all. Label accuracy comes whenever a classifier is given.
        classifier_probabilities: (N, C) for the generated samples, over the data set's own classes.
        training: what memorisation needs.
        papers, papers_statistics: the reference set of the papers, where `reference` is another one, and its mean and
            covariance where they are known.
        reference_statistics: the reference's mean and covariance for FID, used in place of its features.
        progress: called with a line of text before every step.
        device: "cpu" or "cuda" for neighbours (precision, recall, density, coverage, memorisation), the clusters of
            PRD and the distances of classes with fewer samples than feature dimensions.

    Raises `SamplesError` when the two sets do not fit together, `UnknownNameError` for an unknown metric and
    `DeviceError` for a device that is not there. A metric that lacks an input or samples is None with a note instead.
    """
    if reference is None and reference_statistics is None:
        raise SamplesError("reference: neither features nor statistics are given; one of them is needed")
    check_metrics_device(device)
    _check_fit(generated, reference, reference_statistics)
    classes = _class_count(generated, reference, class_count)
    findings = Findings(
        generated=generated,
        reference=reference,
        reference_statistics=reference_statistics,
        settings=settings or MetricSettings(),
        class_count=classes,
        groups=check_groups(groups, classes) if groups and classes is not None else {},
        classifier_probabilities=classifier_probabilities,
        training=training,
        papers=papers,
        papers_statistics=papers_statistics,
        names=check_metric_names(only),
        device=device,
    )
    return _take_steps(findings, progress)


def _take_steps(findings: Findings, progress: Callable[[str], None] | None) -> MetricReport:
    for name, title, step in STEPS:
        wanted = {
            "label_accuracy": findings.classifier_probabilities is not None,
            "papers_fid": findings.papers is not None and "fid" in findings.names,
            "real_vs_real": findings.settings.real_vs_real and "fid" in findings.names,
            "ceilings": findings.settings.real_vs_real and bool({"prd", "precision_recall"} & set(findings.names)),
            "label_probe": findings.settings.label_probe,
        }.get(name, name in findings.names)
        if wanted and progress is not None:
            progress(title)
        if wanted or name == "label_accuracy":  # which says itself what it lacks
            step(findings)
        elif name in ("papers_fid", "real_vs_real", "ceilings", "label_probe"):
            findings.skip(name, "not asked for")
    for name in METRIC_NAMES:
        if name not in findings.names:
            findings.skip(name, "not asked for")
    if not findings.settings.fid_infinity:
        findings.notes["fid_infinity"] = "not asked for"
    return finish(findings)


def _check_fit(
    generated: FeatureArrays, reference: FeatureArrays | None, statistics: GaussianStatistics | None
) -> None:
    width = generated.features.shape[1]
    if reference is not None:
        for name, ours, theirs in (
            ("features", generated.features, reference.features),
            ("manifold_features", generated.manifold, reference.manifold),
        ):
            if ours.shape[1] != theirs.shape[1]:
                raise SamplesError(
                    f"{name}: generated have {ours.shape[1]} columns, reference {theirs.shape[1]}; "
                    "both need the same extractor"
                )
        if (generated.manifold_features is None) != (reference.manifold_features is None):
            raise SamplesError("manifold_features: given for one set only; give them for both or for neither")
    if statistics is not None and statistics.mean.size != width:
        raise SamplesError(
            f"reference statistics: dimension {statistics.mean.size}, but the features have {width} columns; "
            "both need the same extractor"
        )


def _class_count(generated: FeatureArrays, reference: FeatureArrays | None, class_count: int | None) -> int | None:
    sets = [("generated labels", generated.labels)]
    if reference is not None:
        sets.append(("reference labels", reference.labels))
    if class_count is not None:
        if class_count < 1:
            raise SamplesError(f"class_count: is {class_count}; at least 1 class is needed")
        for name, labels in sets:
            if labels is not None:
                check_labels(name, labels, rows=len(labels), class_count=class_count)
        return class_count
    largest = [int(np.max(labels)) for _, labels in sets if labels is not None]
    return max(largest) + 1 if largest else None
