"""The steps of a metric run that compute Fréchet distances: of everything, of every class, of the groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.equal_numbers import equal_number, group_distance
from ltgen_bench.metrics.frechet import (
    FrechetSolver,
    fid_floor,
    fid_infinity,
    floor_split,
    frechet_distance,
    frechet_distance_gram,
)
from ltgen_bench.metrics.frechet_error import gram_error, influence_error
from ltgen_bench.metrics.inputs import FloatArray, IntArray
from ltgen_bench.metrics.numerics.statistics import (
    GaussianStatistics,
    StatisticsAccumulator,
    gaussian_statistics,
    statistics_side_by_side,
)
from ltgen_bench.metrics.numerics.threads import map_in_threads
from ltgen_bench.metrics.suite.findings import Findings, reason_without_reference
from ltgen_bench.metrics.uncertainty import StandardError

_Sums = tuple[StatisticsAccumulator, StatisticsAccumulator]


def step_fid(findings: Findings) -> None:
    """FID of everything, its interval, and FID-infinity where asked for."""
    settings, features = findings.settings, findings.generated.features
    reference: GaussianStatistics | FloatArray | None = findings.reference_statistics
    if reference is None and findings.reference is not None:
        reference = findings.reference.features
    if reference is None:
        return
    gram = isinstance(reference, np.ndarray) and min(len(features), len(reference)) <= features.shape[1]
    try:
        if gram and isinstance(reference, np.ndarray):
            value = frechet_distance_gram(features, reference)
            if settings.intervals:
                findings.note_error("fid", gram_error(features, reference, findings.strata), least=0.0)
        else:
            if isinstance(reference, np.ndarray):
                statistics, reference = statistics_side_by_side((features, reference))
            else:
                statistics = gaussian_statistics(features)
            value, error = _distance_and_error(findings, features, statistics, reference, findings.strata)
            findings.note_error("fid", error, least=0.0)
    except SamplesError as problem:
        findings.skip("fid", str(problem))
        return
    findings.values["fid"] = value
    if not settings.fid_infinity:
        return
    try:
        statistics = reference if isinstance(reference, GaussianStatistics) else gaussian_statistics(reference)
        findings.values["fid_infinity"] = fid_infinity(features, statistics, seed=settings.seed)
    except SamplesError as problem:
        findings.notes["fid_infinity"] = str(problem)


def _distance_and_error(
    findings: Findings,
    features: FloatArray,
    statistics: GaussianStatistics,
    reference: GaussianStatistics,
    strata: IntArray | None,
) -> tuple[float, StandardError | None]:
    """The distance of `features` (N, D), whose `statistics` these are, and its standard error."""
    solver = FrechetSolver(reference)
    if not findings.settings.intervals or len(features) <= features.shape[1]:
        return solver.distance(statistics), None
    value, gradient = solver.distance_and_gradient(statistics)
    return value, influence_error(features, statistics, reference.mean, gradient, strata)


def step_per_class_fid(findings: Findings) -> None:
    """FID of every class, the real-versus-real floor beside it, and the pooled FID of the groups."""
    reason = reason_without_reference(findings, labels=True)
    if reason or findings.reference is None or findings.generated_rows is None or findings.reference_rows is None:
        findings.skip("per_class_fid", reason or "")
        return
    generated, reference = findings.generated.features, findings.reference.features
    generated_rows, reference_rows = findings.generated_rows, findings.reference_rows
    options: dict[str, Any] = {"seed": findings.settings.seed, "device": findings.device}

    def of_class(c: int) -> tuple[float | None, tuple[float, int] | None, _Sums | None]:
        x, y = generated[generated_rows[c]], reference[reference_rows[c]]
        if min(len(x), len(y)) < 2:
            return None, fid_floor(y, len(x), **options), None
        if min(len(x), len(y)) <= x.shape[1]:
            value = frechet_distance_gram(x, y, device=findings.device)
            return value, fid_floor(y, len(x), **options), None
        floor, of_reference = _floor_and_sums(y, len(x), findings.settings.seed)
        sums = StatisticsAccumulator(x.shape[1]).update(x), of_reference
        return frechet_distance(sums[0].result(), sums[1].result()), floor, sums

    pooled = _GroupFid(findings)
    fids: list[float | None] = []
    floors: list[tuple[float, int] | None] = []
    for c, (value, floor, sums) in enumerate(map_in_threads(of_class, range(len(generated_rows)))):
        fids.append(value)
        floors.append(floor)
        pooled.add(c, sums)
    too_few = "needs at least 2 generated and 2 reference samples"
    findings.set_per_class("fid", fids, too_few)
    reason = "needs at least 2 generated and 4 reference samples"
    findings.set_per_class("fid_floor", [None if f is None else f[0] for f in floors], reason)
    findings.set_per_class("fid_floor_n", [None if f is None else f[1] for f in floors], reason)
    findings.set_class_means("fid", fids)
    findings.set_class_means("fid_floor", findings.per_class["fid_floor"])
    if findings.settings.equal_numbers:
        _equal_number_distances(findings)
        return
    for group in findings.groups:
        value, error = pooled.value(group)
        findings.set_group(group, "fid", value, too_few)
        findings.note_error(f"groups.{group}.fid", error, least=0.0)


def _equal_number_distances(findings: Findings) -> None:
    """Every group's distance at equal numbers, its floor at the same ones, and the excess, which may be negative."""
    generated, reference = findings.generated, findings.reference
    rows, reference_rows = findings.generated_rows, findings.reference_rows
    if reference is None or rows is None or reference_rows is None or generated.labels is None:
        return
    assert reference.labels is not None
    groups = {group: classes for group, classes in findings.groups.items() if classes}
    ours = {group: np.concatenate([rows[c] for c in classes]) for group, classes in groups.items()}
    theirs = {group: np.concatenate([reference_rows[c] for c in classes]) for group, classes in groups.items()}
    count = equal_number(
        [[reference_rows[c] for c in classes] for classes in groups.values()], list(map(len, ours.values()))
    )
    for group in findings.groups:
        found = None
        if count >= 2 and group in groups:
            g, r = ours[group], theirs[group]
            found = group_distance(
                generated.features[g],
                generated.labels[g],
                reference.features[r],
                reference.labels[r],
                count,
                seed=findings.settings.seed,
            )
        if found is None:
            for key in ("fid", "fid_floor", "fid_excess"):
                findings.set_group(
                    group, key, None, "every group needs 2 samples and 4 reference images of its classes"
                )
            continue
        findings.by_group[group]["fid_n"] = found.count
        findings.set_group(group, "fid", found.distance, "")
        findings.set_group(group, "fid_floor", found.floor, "")
        findings.set_group(group, "fid_excess", found.distance - found.floor, "")
        findings.note_error(f"groups.{group}.fid", found.error, least=0.0)
        findings.note_error(f"groups.{group}.fid_excess", found.error)


def step_papers_fid(findings: Findings) -> None:
    """The distance to the papers' reference, and how much nearer to it than to unseen images the samples are."""
    papers, features = findings.papers, findings.generated.features
    if papers is None:
        return
    gram = min(len(features), len(papers)) <= features.shape[1]
    if gram:
        value = frechet_distance_gram(features, papers.features)
        error = gram_error(features, papers.features, findings.strata) if findings.settings.intervals else None
    else:
        statistics = findings.papers_statistics or gaussian_statistics(papers.features)
        value, error = _distance_and_error(
            findings, features, gaussian_statistics(features), statistics, findings.strata
        )
    findings.values["papers_fid"] = value
    findings.note_error("papers_fid", error, least=0.0)
    own = findings.values.get("fid")
    if findings.floor_constant is None or own is None or findings.reference is None:
        findings.notes["copying_gain"] = "needs the floors of both distances"
        return
    more_noise = findings.floor_constant * (1 / len(findings.reference) - 1 / len(papers))
    findings.values["copying_gain"] = own - value - more_noise


def _floor_and_sums(
    reference: FloatArray, count: int, seed: int
) -> tuple[tuple[float, int] | None, StatisticsAccumulator]:
    """`fid_floor`, and the sums of all of `reference` (M, D): those of its two sides, so one pass makes both."""
    split = floor_split(len(reference), count, seed=seed)
    if split is None or len(split[0]) <= reference.shape[1]:
        whole = StatisticsAccumulator(reference.shape[1]).update(reference)
        return fid_floor(reference, count, seed=seed), whole
    drawn, rest = (StatisticsAccumulator(reference.shape[1]).update(reference[rows]) for rows in split)
    return (frechet_distance(drawn.result(), rest.result()), drawn.count), rest.merge(drawn)


class _GroupFid:
    """Pooled FID of the groups from the classes' sums, so that their features are not summed up a second time."""

    def __init__(self, findings: Findings) -> None:
        self._run = findings
        self._group = {c: group for group, classes in findings.groups.items() for c in classes}
        self._sums: dict[str, _Sums] = {}
        self._without_sums: dict[str, list[int]] = {}
        dimension = findings.generated.features.shape[1]
        for group, classes in findings.groups.items():
            if min(len(self._rows(0, classes)), len(self._rows(1, classes))) > dimension:
                self._sums[group] = (StatisticsAccumulator(dimension), StatisticsAccumulator(dimension))
                self._without_sums[group] = []

    def _rows(self, side: int, classes: Sequence[int]) -> IntArray:
        rows = (self._run.generated_rows, self._run.reference_rows)[side] or []
        return np.concatenate([np.zeros(0, dtype=np.int64), *(rows[c] for c in classes)])

    def add(self, c: int, sums: _Sums | None) -> None:
        """Take in a class's sums; None where it went the Gram way and has none."""
        group = self._group.get(c, "")
        if group not in self._sums:
            return
        if sums is None:
            self._without_sums[group].append(c)
            return
        for total, part in zip(self._sums[group], sums, strict=True):
            total.merge(part)

    def value(self, group: str) -> tuple[float | None, StandardError | None]:
        """The pooled FID and its standard error; None with fewer than two samples on a side."""
        if self._run.reference is None:
            return None, None
        sets = self._run.generated.features, self._run.reference.features
        g, r = (self._rows(side, self._run.groups[group]) for side in (0, 1))
        strata = None if self._run.strata is None else self._run.strata[g]
        if group in self._sums:
            for side, total in enumerate(self._sums[group]):
                total.update(sets[side][self._rows(side, self._without_sums[group])])
            a, b = (total.result() for total in self._sums[group])
            return _distance_and_error(self._run, sets[0][g], a, b, strata)
        if min(len(g), len(r)) < 2:
            return None, None
        generated, reference = sets[0][g], sets[1][r]
        error = gram_error(generated, reference, strata) if self._run.settings.intervals else None
        return frechet_distance_gram(generated, reference), error
