"""The step that says what a perfect generator would score."""

from __future__ import annotations

from ltgen_bench.metrics.real_vs_real import coverage_ceiling, floor_constant
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
