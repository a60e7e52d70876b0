"""The steps of a metric run about where the samples lie among real ones, and how varied they are."""

from __future__ import annotations

import numpy as np

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics import uncertainty
from ltgen_bench.metrics.clipped import ClippedScores
from ltgen_bench.metrics.frechet_error import jackknife_error
from ltgen_bench.metrics.manifold_error import coverage_error, recall_error, recall_halves
from ltgen_bench.metrics.numerics.content_order import deal
from ltgen_bench.metrics.precision_recall import ManifoldScores, manifold_scores, per_class_manifold_scores
from ltgen_bench.metrics.suite.findings import Findings, reason_without_reference
from ltgen_bench.metrics.vendi import per_class_vendi_scores, vendi_score

CLIPPED_PARTS = 20  # of the samples, left out one after the other for the error of clipped coverage


def step_precision_recall(findings: Findings) -> None:
    """Precision, recall, density and coverage: of everything, of the groups, and within every class."""
    reason = reason_without_reference(findings)
    if reason or findings.reference is None:
        findings.skip("precision_recall", reason or "")
        return
    k, device = findings.settings.k, findings.device
    generated, reference, clipped_k = (
        findings.generated.manifold,
        findings.reference.manifold,
        findings.settings.clipped_k,
    )
    part = None
    if findings.settings.intervals and len(generated) >= 2 * CLIPPED_PARTS:
        part = deal(generated, findings.strata, CLIPPED_PARTS)
    try:
        scores = manifold_scores(generated, reference, k=k, clipped_k=clipped_k, part=part, device=device)
    except SamplesError as error:
        findings.skip("precision_recall", str(error))
        return
    for key, values, labels in (
        ("precision", scores.generated_inside, findings.generated.labels),
        ("recall", scores.reference_inside, findings.reference.labels),
        ("density", scores.generated_density, findings.generated.labels),
        ("coverage", scores.reference_covered, findings.reference.labels),
    ):
        findings.values[key] = getattr(scores, key)
        findings.group_means(key, values, labels)
    findings.repeats = scores.repeats
    _note_manifold_errors(findings, scores)
    _note_clipped(findings, scores.clipped)
    if findings.generated_rows is None or findings.reference_rows is None:
        findings.notes["per_class.recall"] = reason_without_reference(findings, labels=True) or ""
        return
    per_class = per_class_manifold_scores(
        generated,
        findings.generated_rows,
        reference,
        findings.reference_rows,
        k=k,
        clipped_k=clipped_k,
        device=device,
    )
    for key in ("precision", "recall", "density", "coverage"):
        of_class = [None if s is None else float(getattr(s, key)) for s in per_class]
        findings.set_per_class(key, of_class, f"needs more than k = {k} generated and reference samples")
        findings.set_class_means(key, of_class)
    for key in ("density", "coverage"):
        clipped = [None if s is None or s.clipped is None else float(getattr(s.clipped, key)) for s in per_class]
        reason = f"needs more than k = {max(k, clipped_k)} generated and reference samples"
        findings.set_per_class(f"clipped_{key}", clipped, reason)
        findings.set_class_means(f"clipped_{key}", clipped)


def _note_clipped(findings: Findings, scores: ClippedScores | None) -> None:
    """Clipped density and coverage over everything, with their errors."""
    if scores is None:
        for key in ("clipped_density", "clipped_coverage"):
            findings.notes[key] = f"needs more than k = {findings.settings.clipped_k} generated and reference samples"
        return
    findings.values |= {"clipped_density": scores.density, "clipped_coverage": scores.coverage}
    norm = float(scores.reference_density.mean())
    if norm > 0:
        error = uncertainty.error_of_mean(scores.sample_density, findings.strata).times(1 / norm)
        findings.note_error("clipped_density", error, least=0.0, most=1.0)
    if scores.without_parts is not None:
        findings.note_error("clipped_coverage", jackknife_error(scores.without_parts.tolist()), least=0.0, most=1.0)


def _note_manifold_errors(findings: Findings, scores: ManifoldScores) -> None:
    """Precision and density are means over the samples; recall and coverage are shares of what these reach."""
    if findings.reference is None or not findings.settings.intervals:
        return
    findings.note_means("precision", scores.generated_inside, shares=True)
    findings.note_means("density", scores.generated_density, shares=False)
    generated, reference, strata = findings.generated.manifold, findings.reference.manifold, findings.strata
    labels = findings.reference.labels
    places = {"": np.ones(len(reference), dtype=bool)}
    if labels is not None:
        places |= {f"groups.{group}.": np.isin(labels, classes) for group, classes in findings.groups.items()}
    halves = None
    if len(generated) >= 4 * findings.settings.k:  # else a half has no manifold
        halves = recall_halves(generated, reference, strata, k=findings.settings.k)
    in_balls = scores.reference_counts, scores.reference_sets, scores.reference_single
    for prefix, chosen in places.items():
        if not chosen.any():
            continue
        if halves is not None:
            error = recall_error(halves, chosen, len(generated))
            findings.note_share(f"{prefix}recall", error, int(chosen.sum()))
        error = coverage_error(*in_balls, chosen, strata, len(generated))
        findings.note_share(f"{prefix}coverage", error, int(chosen.sum()))


def step_vendi(findings: Findings) -> None:
    """The effective number of different samples: of all, and within every class."""
    features = findings.generated.features
    try:
        findings.values["vendi_score"] = vendi_score(features)
        if findings.generated_rows is None:
            findings.notes["per_class.vendi_score"] = "needs labels for the generated samples"
            return
        per_class = per_class_vendi_scores(features, findings.generated_rows)
    except SamplesError as problem:
        findings.skip("vendi", str(problem))
        return
    findings.set_per_class("vendi_score", per_class, "needs generated samples")
    findings.set_class_means("vendi_score", per_class)
