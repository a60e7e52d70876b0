"""The steps of a metric run. Each reads the inputs, fills in what it can and notes why it could not do the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics import prd_error, uncertainty
from ltgen_bench.metrics.inception_score import divergences, inception_score_of_splits
from ltgen_bench.metrics.kid import kid, kid_error, per_class_kid
from ltgen_bench.metrics.label_accuracy import label_accuracy
from ltgen_bench.metrics.linear_probe import fit_linear_probe
from ltgen_bench.metrics.numerics.content_order import deal
from ltgen_bench.metrics.prd import f_scores, prd_scores
from ltgen_bench.metrics.suite.findings import Findings, reason_without_reference
from ltgen_bench.metrics.suite.steps_frechet import step_fid, step_papers_fid, step_per_class_fid
from ltgen_bench.metrics.suite.steps_manifold import step_precision_recall, step_vendi
from ltgen_bench.metrics.suite.steps_memorisation import step_memorisation
from ltgen_bench.metrics.suite.steps_real import step_ceilings, step_real_vs_real
from ltgen_bench.metrics.uncertainty import StandardError


def step_kid(findings: Findings) -> None:
    """KID over random subsets, and of every class from all its samples."""
    reason = reason_without_reference(findings)
    if reason or findings.reference is None:
        findings.skip("kid", reason or "")
        return
    settings = findings.settings
    x, y = findings.generated.features, findings.reference.features
    if min(len(x), len(y)) < 2:
        findings.skip("kid", "needs at least 2 generated and 2 reference samples")
        return
    subsets: dict[str, int] = {"subset_size": settings.kid_subset_size, "subsets": settings.kid_subsets}
    value, deviation = kid(x, y, **subsets, seed=settings.seed, by_content=settings.by_content)
    findings.values["kid"], findings.values["kid_std"] = value, deviation
    if settings.intervals and len(x) > 2:
        findings.note_error("kid", kid_error(x, y, findings.strata, **subsets, subset_std=deviation))
    if findings.values["kid_std"] is None:
        findings.notes["kid_std"] = "one subset only, of all samples: it has no deviation"
    if min(len(x), len(y)) < settings.kid_subset_size:
        findings.notes["kid"] = f"subsets of {min(len(x), len(y))} instead of {settings.kid_subset_size} samples"
    if findings.generated_rows is None or findings.reference_rows is None:
        findings.notes["per_class.kid"] = reason_without_reference(findings, labels=True) or ""
        return
    values = per_class_kid(x, findings.generated_rows, y, findings.reference_rows)
    findings.set_per_class("kid", values, "needs at least 2 generated and 2 reference samples")
    findings.set_class_means("kid", values)


def step_inception_score(findings: Findings) -> None:
    """Inception Score with its deviation over the splits."""
    if findings.generated.probabilities is None:
        findings.skip("inception_score", "needs class probabilities for the generated samples")
        return
    try:
        scores = inception_score_of_splits(
            findings.generated.probabilities,
            splits=findings.settings.inception_score_splits,
            seed=findings.settings.seed,
            by_content=findings.settings.by_content,
        )
    except SamplesError as problem:
        findings.skip("inception_score", str(problem))
        return
    score = float(np.mean(scores))
    findings.values["inception_score"], findings.values["inception_score_std"] = score, float(np.std(scores))
    if len(scores) > 1:  # dealing samples into parts adds noise of its own
        error = uncertainty.error_of_mean(np.array(scores), None)
    else:
        error = uncertainty.error_of_mean(divergences(findings.generated.probabilities), findings.strata).times(score)
    findings.note_error("inception_score", error, least=1.0)


def step_prd(findings: Findings) -> None:
    """F8 and F1/8, their intervals, and both within every group from the same clusters."""
    reason = reason_without_reference(findings)
    if findings.class_count is None:
        reason = reason or "needs the number of classes, which fixes the number of clusters"
    if reason or findings.reference is None or findings.class_count is None:
        findings.skip("prd", reason or "")
        return
    settings = findings.settings
    curve: dict[str, Any] = {"angles": settings.prd_angles, "beta": settings.prd_beta}
    try:
        scores = prd_scores(
            findings.generated.features,
            findings.reference.features,
            cluster_count=settings.prd_clusters_per_class * findings.class_count,
            runs=settings.prd_runs,
            seed=settings.seed,
            clustering=settings.prd_clustering,
            device=findings.device,
            **curve,
        )
    except SamplesError as error:
        findings.skip("prd", str(error))
        return
    findings.values["f8"], findings.values["f1_8"] = scores.f_beta, scores.f_inverse_beta
    part = deal(findings.generated.features, findings.strata, min(prd_error.PRD_GROUPS, len(findings.generated)))
    _note_prd_errors(findings, "", prd_error.prd_errors(scores.clusterings, part, **curve))
    labels, reference_labels = findings.generated.labels, findings.reference.labels
    if labels is None or reference_labels is None:
        return
    for group, classes in findings.groups.items():
        real, own = (np.isin(values, classes).astype(float) for values in (reference_labels, labels))
        usable = [c for c in scores.clusterings if min(real[c.reference_rows].sum(), own[c.generated_rows].sum()) > 0]
        pairs = [f_scores(*c.histograms(real, own), **curve) for c in usable]
        means = [float(mean) for mean in np.mean(pairs, axis=0)] if pairs else [None, None]
        for key, mean in zip(("f8", "f1_8"), means, strict=True):
            findings.set_group(group, key, mean, "no clustering holds both generated and reference samples of it")
        if usable:
            errors = prd_error.prd_errors(usable, part, weights=(real, own), **curve)
            _note_prd_errors(findings, f"groups.{group}.", errors)


def _note_prd_errors(findings: Findings, prefix: str, errors: tuple[StandardError, StandardError] | None) -> None:
    for key, error in zip(("f8", "f1_8"), errors or (None, None), strict=True):
        findings.note_error(prefix + key, error, least=0.0, most=1.0)


def step_label_accuracy(findings: Findings) -> None:
    """Label accuracy and the confusion table."""
    labels = findings.generated.labels
    if findings.classifier_probabilities is None or labels is None or findings.class_count is None:
        missing = "labels for the generated samples" if labels is None else "a classifier"
        findings.skip("label_accuracy", f"needs {missing}")
        return
    scores = label_accuracy(findings.classifier_probabilities, labels, class_count=findings.class_count)
    findings.values["label_accuracy"] = scores.accuracy
    findings.values["confusion"] = scores.confusion.tolist()
    findings.set_per_class("label_accuracy", scores.per_class, "needs generated samples")
    findings.note_means("label_accuracy", scores.correct, shares=True)
    findings.group_means("label_accuracy", scores.correct, labels)


def step_label_probe(findings: Findings) -> None:
    """Label accuracy in the eyes of a linear probe of the reference's features, and that of real images left out."""
    labels = findings.generated.labels
    reason = reason_without_reference(findings, labels=True)
    if reason or findings.reference is None or findings.reference.labels is None or findings.class_count is None:
        findings.skip("label_probe", reason or "")
        return
    probe = fit_linear_probe(findings.reference.features, findings.reference.labels, findings.class_count)
    if probe is None or labels is None:
        findings.skip("label_probe", "needs two reference images of every class")
        return
    correct = probe.predict(findings.generated.features) == labels
    findings.values["probe_accuracy"] = float(correct.mean())
    findings.values["probe_accuracy_ceiling"] = probe.accuracy
    rows = findings.generated_rows or []
    per_class = [float(correct[of_class].mean()) if len(of_class) else None for of_class in rows]
    findings.set_per_class("probe_accuracy", per_class, "needs generated samples")
    findings.note_means("probe_accuracy", correct, shares=True)
    findings.group_means("probe_accuracy", correct, labels)
    findings.group_means("probe_accuracy_ceiling", probe.correct, findings.reference.labels)


Step = Callable[[Findings], None]
STEPS: tuple[tuple[str, str, Step], ...] = (
    ("fid", "FID", step_fid),
    ("per_class_fid", "FID of every class", step_per_class_fid),
    ("kid", "KID", step_kid),
    ("inception_score", "Inception Score", step_inception_score),
    ("prd", "PRD: F8 and F1/8", step_prd),
    ("precision_recall", "precision, recall, density, coverage", step_precision_recall),
    ("vendi", "Vendi scores", step_vendi),
    ("label_accuracy", "label accuracy", step_label_accuracy),
    ("label_probe", "label accuracy by a linear probe", step_label_probe),
    ("memorisation", "memorisation", step_memorisation),
    ("real_vs_real", "real images against real images", step_real_vs_real),
    ("ceilings", "halves of the reference against each other", step_ceilings),
    ("papers_fid", "FID to the papers' reference", step_papers_fid),
)
