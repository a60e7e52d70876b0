"""The step that says what a perfect generator would score."""

from __future__ import annotations

import numpy as np

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.prd import prd_scores
from ltgen_bench.metrics.precision_recall import manifold_scores
from ltgen_bench.metrics.real_vs_real import coverage_ceiling, floor_constant, random_halves
from ltgen_bench.metrics.suite.findings import Findings, reason_without_reference


def step_real_vs_real(findings: Findings) -> None:
    """The floor of the distance and the ceiling of coverage, at the numbers of samples and reference images."""
    reason = reason_without_reference(findings)
    if reason or findings.reference is None:
        findings.skip("real_vs_real", reason or "")
        return
    settings, reference = findings.settings, findings.reference
    n, m = len(findings.generated), len(reference)
    findings.values["coverage_ceiling"] = coverage_ceiling(n, m, settings.k)
    for group, classes in findings.groups.items():
        if findings.generated_rows is not None and findings.reference_rows is not None:
            # all samples may fall into a group's balls, but only those of about its own classes do
            ours = sum(len(findings.generated_rows[c]) for c in classes)
            theirs = sum(len(findings.reference_rows[c]) for c in classes)
            findings.set_group(group, "coverage_ceiling", coverage_ceiling(ours, theirs, settings.k), "")
    constant = floor_constant(reference.features, reference.labels, seed=settings.seed)
    if constant is None:
        findings.notes["fid_floor"] = "needs four reference images a dimension; see groups and per_class for theirs"
        return
    findings.floor_constant = constant
    findings.values["fid_floor"] = constant * (1 / n + 1 / m)


def step_ceilings(findings: Findings) -> None:
    """Precision, recall, F8 and F1/8 of one half of the reference against the other, which no closed form gives."""
    reason = reason_without_reference(findings)
    if reason or findings.reference is None:
        findings.skip("ceilings", reason or "")
        return
    settings, reference = findings.settings, findings.reference
    halves = random_halves(reference.features, reference.labels, settings.seed)
    first, second = (reference.manifold[rows] for rows in halves)
    if "precision_recall" in findings.names:
        try:
            scores = manifold_scores(first, second, k=settings.k, device=findings.device)
        except SamplesError as error:
            findings.notes["recall_ceiling"] = findings.notes["precision_ceiling"] = str(error)
        else:
            findings.values |= {"precision_ceiling": scores.precision, "recall_ceiling": scores.recall}
            for key, inside, rows in (
                ("precision_ceiling", scores.generated_inside, halves[0]),
                ("recall_ceiling", scores.reference_inside, halves[1]),
            ):
                findings.group_means(key, inside, None if reference.labels is None else reference.labels[rows])
    if "prd" in findings.names and findings.class_count is not None:
        try:
            prd = prd_scores(
                *(np.ascontiguousarray(reference.features[rows]) for rows in halves),
                cluster_count=settings.prd_clusters_per_class * findings.class_count,
                runs=settings.prd_runs,
                seed=settings.seed,
                clustering=settings.prd_clustering,
                angles=settings.prd_angles,
                beta=settings.prd_beta,
                device=findings.device,
            )
        except SamplesError as error:
            findings.notes["f8_ceiling"] = findings.notes["f1_8_ceiling"] = str(error)
        else:
            findings.values |= {"f8_ceiling": prd.f_beta, "f1_8_ceiling": prd.f_inverse_beta}
