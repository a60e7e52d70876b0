"""What a metric run found, with the key names of the JSON output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ltgen_bench.metrics.memorisation import MemorisationScores
from ltgen_bench.metrics.uncertainty import Interval


@dataclass(frozen=True)
class MetricReport:
    """Every number of a run. None means not computed, and `notes` says why; a missing value never becomes 0.

    Arguments:
        fid ... label_accuracy: over all samples. `f8` is recall-like, `f1_8` precision-like.
        fid_infinity: only where asked for.
        fid_floor, coverage_ceiling: what a perfect generator would score with as many samples; where asked for.
        precision_ceiling, recall_ceiling, f8_ceiling, f1_8_ceiling: what one half of the reference scores against the
            other; where asked for.
        probe_accuracy: share of samples that a linear probe of the reference's features takes for the class asked for.
        probe_accuracy_ceiling: the same of reference images, each left out of the probe's fit.
        papers_fid: the distance to the papers' reference, where the reference is another one.
        copying_gain: how much nearer the samples are to the papers' reference, which holds training images, than to
            unseen ones: `fid` less its floor, minus `papers_fid` less its own.
        per_class: lists with one entry a class: `fid`, `fid_floor` (of `fid_floor_n` reference images against the
            `n_reference` - `fid_floor_n` others), `kid`, `precision`, `recall`, `density`, `coverage`,
            `clipped_density`, `clipped_coverage`, `vendi_score`, `label_accuracy`, `n_generated`, `n_reference`.
        groups: for `many`, `medium`, `few` a dictionary. `fid`: the group's classes pooled; `precision`, `recall`,
            `density`, `coverage`: the group's samples within the other set's whole manifold; `mean_class_*`: plain
            means over the group's classes; also `f8`, `f1_8`, `label_accuracy`, counts, `classes`.
        head_tail_gap: metric -> its value in `few` minus its value in `many`.
        confusion: (C, C) counts, row = class asked for, column = class predicted.
        confidence: metric -> interval; `groups.few.recall` names one of a group.
        memorisation: space ("features", "pixels") -> numbers, and under `closest_pairs` (generated, training) indices.
        notes: metric -> the reason for a null, or what a reader should know of the number.
        memorisation_scores: space -> the full arrays, for figures; not part of `to_dict`.
    """

    fid: float | None = None
    fid_infinity: float | None = None
    fid_floor: float | None = None
    papers_fid: float | None = None
    copying_gain: float | None = None
    coverage_ceiling: float | None = None
    precision_ceiling: float | None = None
    recall_ceiling: float | None = None
    f8_ceiling: float | None = None
    f1_8_ceiling: float | None = None
    probe_accuracy: float | None = None
    probe_accuracy_ceiling: float | None = None
    kid: float | None = None
    kid_std: float | None = None
    inception_score: float | None = None
    inception_score_std: float | None = None
    f8: float | None = None
    f1_8: float | None = None
    precision: float | None = None
    recall: float | None = None
    density: float | None = None
    coverage: float | None = None
    clipped_density: float | None = None
    clipped_coverage: float | None = None
    vendi_score: float | None = None
    label_accuracy: float | None = None
    per_class: Mapping[str, Sequence[float | int | None]] | None = None
    groups: Mapping[str, Mapping[str, Any]] | None = None
    head_tail_gap: Mapping[str, float] | None = None
    confusion: Sequence[Sequence[int]] | None = None
    confidence: Mapping[str, Interval] = field(default_factory=dict)
    memorisation: Mapping[str, Mapping[str, Any]] | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    memorisation_scores: Mapping[str, MemorisationScores] = field(default_factory=dict, compare=False, repr=False)

    def __repr__(self) -> str:
        names = ("fid", "kid", "inception_score", "f8", "f1_8", "precision", "recall", "density", "coverage")
        values = [f"{name}={getattr(self, name):.4g}" for name in names if getattr(self, name) is not None]
        return f"<metrics {' '.join(values) or 'none'}; more in to_dict()>"

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dictionaries, lists, numbers and None, ready for `json.dumps(..., allow_nan=False)`."""
        result = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "memorisation_scores"}
        result["confidence"] = {name: interval.to_dict() for name, interval in self.confidence.items()}
        return result
