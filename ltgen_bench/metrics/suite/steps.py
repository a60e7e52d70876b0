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
from ltgen_bench.metrics.manifold_error import coverage_error, recall_error, recall_halves
from ltgen_bench.metrics.memorisation import (
    MemorisationScores,
    memorisation_scores,
    nearest_in_features,
    nearest_in_pixels,
)
from ltgen_bench.metrics.numerics.content_order import deal
from ltgen_bench.metrics.prd import f_scores, prd_scores
from ltgen_bench.metrics.precision_recall import ManifoldScores, manifold_scores, per_class_manifold_scores
from ltgen_bench.metrics.suite.findings import Findings, reason_without_reference
from ltgen_bench.metrics.suite.steps_frechet import step_fid, step_papers_fid, step_per_class_fid
from ltgen_bench.metrics.suite.steps_real import step_ceilings, step_real_vs_real
from ltgen_bench.metrics.uncertainty import StandardError

# Closest pairs that a report names; enough for a panel.
_CLOSEST_PAIRS = 64


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


def step_precision_recall(findings: Findings) -> None:
    """Precision, recall, density and coverage: of everything, of the groups, and within every class."""
    reason = reason_without_reference(findings)
    if reason or findings.reference is None:
        findings.skip("precision_recall", reason or "")
        return
    k, device = findings.settings.k, findings.device
    try:
        scores = manifold_scores(findings.generated.manifold, findings.reference.manifold, k=k, device=device)
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
    _note_manifold_errors(findings, scores)
    if findings.generated_rows is None or findings.reference_rows is None:
        findings.notes["per_class.recall"] = reason_without_reference(findings, labels=True) or ""
        return
    per_class = per_class_manifold_scores(
        findings.generated.manifold,
        findings.generated_rows,
        findings.reference.manifold,
        findings.reference_rows,
        k=k,
        device=device,
    )
    for key in ("precision", "recall", "density", "coverage"):
        of_class = [None if s is None else float(getattr(s, key)) for s in per_class]
        findings.set_per_class(key, of_class, f"needs more than k = {k} generated and reference samples")
        findings.set_class_means(key, of_class)


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


def step_memorisation(findings: Findings) -> None:
    """Nearest training images in features and in pixels, compared with held-out images."""
    given = findings.training
    if given is None:
        findings.skip("memorisation", "needs the training images' features or pixels")
        return
    found: dict[str, MemorisationScores] = {}
    quantile, device = findings.settings.memorisation_quantile, findings.device
    if given.training_features is not None:
        training = given.training_features, given.mirrored_features
        near = nearest_in_features(findings.generated.features, *training, device=device)
        held = given.held_out_features
        far = None if held is None else nearest_in_features(held, *training, device=device)
        found["features"] = memorisation_scores(near, far, quantile=quantile)
    if given.training_pixels is not None and given.generated_pixels is not None:
        if len(given.generated_pixels) != len(findings.generated):
            raise SamplesError(
                f"generated_pixels: has {len(given.generated_pixels)} images, expected {len(findings.generated)}"
            )
        near = nearest_in_pixels(given.generated_pixels, given.training_pixels, device=device)
        pixels = given.held_out_pixels
        far = None if pixels is None else nearest_in_pixels(pixels, given.training_pixels, device=device)
        found["pixels"] = memorisation_scores(near, far, quantile=quantile)
    if not found:
        findings.skip("memorisation", "needs the training images' features, or pixels of generated and training images")
        return
    findings.memorisation_scores = found
    findings.values["memorisation"] = {
        space: _memorisation_entry(findings, space, scores) for space, scores in found.items()
    }


def _memorisation_entry(findings: Findings, space: str, scores: MemorisationScores) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "median_distance": scores.median_distance,
        "held_out_median_distance": scores.held_out_median_distance,
        "threshold": scores.threshold,
        "threshold_quantile": scores.quantile,
        "fraction": scores.fraction,
        "closest_pairs": [list(pair) for pair in scores.closest_pairs(_CLOSEST_PAIRS)],
        "per_class": None,
        "groups": None,
    }
    if scores.copied is None:
        for key in ("threshold", "fraction"):
            findings.notes[f"memorisation.{space}.{key}"] = scores.reason or ""
        return entry
    copied = scores.copied
    findings.note_share(
        f"memorisation.{space}.fraction", uncertainty.error_of_mean(copied, findings.strata), len(copied)
    )
    if findings.generated_rows is not None:
        per_class = [float(copied[rows].mean()) if len(rows) else None for rows in findings.generated_rows]
        entry["per_class"] = per_class
        entry["groups"] = {}
        for group, classes in findings.groups.items():
            rows = np.concatenate([np.zeros(0, dtype=np.int64), *(findings.generated_rows[c] for c in classes)])
            entry["groups"][group] = float(copied[rows].mean()) if len(rows) else None
    return entry


Step = Callable[[Findings], None]
STEPS: tuple[tuple[str, str, Step], ...] = (
    ("fid", "FID", step_fid),
    ("per_class_fid", "FID of every class", step_per_class_fid),
    ("kid", "KID", step_kid),
    ("inception_score", "Inception Score", step_inception_score),
    ("prd", "PRD: F8 and F1/8", step_prd),
    ("precision_recall", "precision, recall, density, coverage", step_precision_recall),
    ("label_accuracy", "label accuracy", step_label_accuracy),
    ("label_probe", "label accuracy by a linear probe", step_label_probe),
    ("memorisation", "memorisation", step_memorisation),
    ("real_vs_real", "real images against real images", step_real_vs_real),
    ("ceilings", "halves of the reference against each other", step_ceilings),
    ("papers_fid", "FID to the papers' reference", step_papers_fid),
)
