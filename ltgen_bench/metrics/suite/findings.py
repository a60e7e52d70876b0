"""The state of one metric run: inputs, what has been found, and the report at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.core.choices import Group
from ltgen_bench.metrics import uncertainty
from ltgen_bench.metrics.groups import mean_of
from ltgen_bench.metrics.inputs import FeatureArrays, FloatArray, IntArray, rows_of_classes
from ltgen_bench.metrics.memorisation import MemorisationInputs, MemorisationScores
from ltgen_bench.metrics.numerics.distances import distinct_rows
from ltgen_bench.metrics.numerics.statistics import GaussianStatistics
from ltgen_bench.metrics.repeats import effective_number
from ltgen_bench.metrics.settings import MetricSettings
from ltgen_bench.metrics.suite.report import MetricReport
from ltgen_bench.metrics.uncertainty import Interval, StandardError

# The JSON keys that a metric name stands for.
_KEYS = {
    "fid": ("fid", "fid_infinity"),
    "per_class_fid": ("per_class.fid",),
    "kid": ("kid", "kid_std"),
    "inception_score": ("inception_score", "inception_score_std"),
    "prd": ("f8", "f1_8"),
    "precision_recall": ("precision", "recall", "density", "coverage", "clipped_density", "clipped_coverage"),
    "vendi": ("vendi_score",),
    "memorisation": ("memorisation",),
    "papers_fid": ("papers_fid", "copying_gain"),
    "real_vs_real": ("fid_floor", "coverage_ceiling"),
    "ceilings": ("precision_ceiling", "recall_ceiling", "f8_ceiling", "f1_8_ceiling"),
    "label_probe": ("probe_accuracy", "probe_accuracy_ceiling"),
    "label_accuracy": ("label_accuracy", "confusion"),
}


@dataclass(eq=False)
class Findings:
    """The inputs of one run and what has been found so far."""

    generated: FeatureArrays
    reference: FeatureArrays | None
    reference_statistics: GaussianStatistics | None
    settings: MetricSettings
    class_count: int | None
    groups: dict[str, list[int]]
    classifier_probabilities: FloatArray | None
    training: MemorisationInputs | None
    papers: FeatureArrays | None
    papers_statistics: GaussianStatistics | None
    names: Sequence[str]
    device: str
    values: dict[str, Any] = field(default_factory=dict)
    per_class: dict[str, list[Any]] = field(default_factory=dict)
    by_group: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    memorisation_scores: dict[str, MemorisationScores] = field(default_factory=dict)
    floor_constant: float | None = None
    errors: dict[str, StandardError] = field(default_factory=dict)
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    share_counts: dict[str, int] = field(default_factory=dict)
    repeats: IntArray | None = None

    def __post_init__(self) -> None:
        self.by_group = {name: {} for name in self.groups}

    def skip(self, metric: str, reason: str) -> None:
        """Note for every key of `metric` why it is null."""
        for key in _KEYS[metric]:
            self.notes[key] = reason

    @cached_property
    def generated_rows(self) -> list[IntArray] | None:
        """Row numbers by class; None without labels."""
        return _class_rows(self.generated, self.class_count)

    @cached_property
    def reference_rows(self) -> list[IntArray] | None:
        """Row numbers by class; None without labels."""
        return _class_rows(self.reference, self.class_count)

    def set_per_class(self, key: str, values: Sequence[Any], reason: str) -> None:
        """Store one value a class; `reason` explains the classes that have none."""
        self.per_class[key] = list(values)
        missing = [c for c, value in enumerate(values) if value is None]
        if missing:
            shown = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
            self.notes[f"per_class.{key}"] = f"{reason} (class {shown})"

    def set_group(self, group: str, key: str, value: float | None, reason: str) -> None:
        """Store one value of a group; `reason` explains it where it is None."""
        self.by_group[group][key] = value
        if value is None:
            self.notes[f"groups.{group}.{key}"] = reason

    def set_class_means(self, key: str, values: Sequence[float | None]) -> None:
        """The mean of one value a class over the classes of every group, as `mean_class_<key>`."""
        for group, classes in self.groups.items():
            mean = mean_of(values, classes)
            self.set_group(group, f"mean_class_{key}", mean, f"a class of the group has no {key}: see per_class.{key}")

    @property
    def strata(self) -> IntArray | None:
        """The labels where every class has a fixed number of samples; None where sampling again draws them anew."""
        return self.generated.labels if self.settings.fixed_class_counts else None

    def note_error(
        self, key: str, error: StandardError | None, *, least: float = -math.inf, most: float = math.inf
    ) -> None:
        """Keep the standard error of a number within `least` ... `most`; its interval is made at the end."""
        if error is not None and self.settings.intervals:
            self.errors[key] = error
            self.limits[key] = (least, most)

    def note_share(self, key: str, error: StandardError | None, count: int) -> None:
        """Keep the standard error of a share of `count` samples or images."""
        if error is not None and self.settings.intervals:
            self.errors[key] = error
            self.share_counts[key] = count

    def note_means(self, key: str, values: NDArray[Any], *, shares: bool) -> None:
        """The standard errors of the mean of per-sample `values` (N,) over all samples and over every group."""
        if not self.settings.intervals:
            return
        labels, strata = self.generated.labels, self.strata
        places: list[tuple[str, NDArray[np.bool_]]] = [(key, np.ones(len(values), dtype=bool))]
        if labels is not None:
            places += [(f"groups.{g}.{key}", np.isin(labels, classes)) for g, classes in self.groups.items()]
        for name, inside in places:
            if inside.sum() >= 2:
                error = uncertainty.error_of_mean(values[inside], None if strata is None else strata[inside])
                if shares:
                    self.note_share(name, error, int(inside.sum()))
                else:
                    self.note_error(name, error, least=0.0)

    def group_means(self, key: str, values: NDArray[Any], labels: IntArray | None) -> None:
        """The mean of per-sample `values` in every group."""
        for group, classes in self.groups.items():
            inside = np.isin(labels, classes) if labels is not None else np.zeros(0, dtype=bool)
            mean = float(values[inside].mean()) if inside.any() else None
            self.set_group(group, key, mean, "needs labels" if labels is None else "has no samples")


def _class_rows(arrays: FeatureArrays | None, class_count: int | None) -> list[IntArray] | None:
    if arrays is None or arrays.labels is None or class_count is None:
        return None
    return rows_of_classes(arrays.labels, class_count)


def reason_without_reference(findings: Findings, *, labels: bool = False) -> str | None:
    """Why a metric that needs reference features (and `labels` of both sets) cannot be computed; None when it can."""
    if findings.reference is None:
        return "needs reference features; only reference statistics are given"
    if labels and findings.generated_rows is None:
        return "needs labels for the generated samples"
    if labels and findings.reference_rows is None:
        return "needs labels for the reference samples"
    return None


def finish(findings: Findings) -> MetricReport:
    """The report of a run whose steps are done."""
    groups: dict[str, dict[str, Any]] = {}
    if findings.generated_rows is not None:
        findings.per_class["n_generated"] = [len(rows) for rows in findings.generated_rows]
    if findings.reference_rows is not None:
        findings.per_class["n_reference"] = [len(rows) for rows in findings.reference_rows]
    for name, classes in findings.groups.items():
        counts: dict[str, Any] = {
            key: sum(findings.per_class[key][c] for c in classes)
            for key in ("n_generated", "n_reference")
            if key in findings.per_class
        }
        groups[name] = {"classes": classes, **counts, **findings.by_group[name]}
    gap = None
    if Group.MANY in groups and Group.FEW in groups:
        many, few = groups[Group.MANY], groups[Group.FEW]
        shared = [key for key in few if key in many and isinstance(few[key], float) and isinstance(many[key], float)]
        gap = {key: few[key] - many[key] for key in shared}
    return MetricReport(
        **findings.values,
        per_class=findings.per_class or None,
        groups=groups or None,
        head_tail_gap=gap,
        confidence=_intervals(findings, gap or {}),
        notes=findings.notes,
        memorisation_scores=findings.memorisation_scores,
    )


def _intervals(findings: Findings, gap: dict[str, float]) -> dict[str, Interval]:
    """The interval of every number with a standard error, and of the gaps between two of them."""
    level = findings.settings.confidence_level
    found: dict[str, Interval] = {}
    if not findings.errors:
        return found
    independent = _Independent(findings)
    for key, error in findings.errors.items():
        value = _value(findings, key)
        if value is None:
            continue
        share = independent.share(key)
        if share < 1:
            error = error.as_of(share)
        if key in findings.share_counts:
            count = max(1, round(share * findings.share_counts[key]))
            found[key] = uncertainty.share_interval(value, error, level, count=count)
        else:
            least, most = findings.limits[key]
            found[key] = uncertainty.number_interval(value, error, level, least=least, most=most)
    for key in gap:
        names = [f"groups.{group.value}.{key}" for group in (Group.FEW, Group.MANY)]
        if all(name in found for name in names):
            few, many = (float(findings.by_group[name.split(".")[1]][key]) for name in names)
            found[f"head_tail_gap.{key}"] = uncertainty.difference_interval(few, found[names[0]], many, found[names[1]])
    return found


class _Independent:
    """What share of the samples behind a number are independent draws: repeats of one sample count once."""

    def __init__(self, findings: Findings) -> None:
        clusters, labels = findings.repeats, findings.generated.labels
        if clusters is None:  # nothing looked for near-equal samples
            clusters = distinct_rows(findings.generated.features).index
        self._whole = effective_number(clusters) / len(clusters)
        self._groups = {}
        if self._whole == 1:
            return
        different = len(np.unique(clusters))
        findings.notes["confidence"] = (
            f"{len(clusters):,} samples are {different:,} different ones: intervals count repeats once"
        )
        for group, classes in findings.groups.items():
            own = clusters[np.isin(labels, classes)] if labels is not None else clusters[:0]
            if len(own):
                self._groups[group] = effective_number(own) / len(own)

    def share(self, key: str) -> float:
        """Of all samples, or of those of the group that `key` names."""
        part, _, rest = key.partition(".")
        return self._groups.get(rest.partition(".")[0], self._whole) if part == "groups" else self._whole


def _value(findings: Findings, key: str) -> float | None:
    part, _, rest = key.partition(".")
    if part == "groups":
        group, _, metric = rest.partition(".")
        value = findings.by_group[group].get(metric)
    elif part == "memorisation":
        space, _, metric = rest.partition(".")
        value = findings.values["memorisation"][space][metric]
    else:
        value = findings.values.get(key)
    return None if value is None else float(value)
