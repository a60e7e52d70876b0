"""Records side by side: means and standard deviations over seeds, and which differences are beyond noise."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ltgen_bench.core.choices import Group
from ltgen_bench.core.errors import RecordError, did_you_mean
from ltgen_bench.core.mappings import difference
from ltgen_bench.core.storage import sha256_json
from ltgen_bench.evaluation.record import HEADLINE_METRICS, Record
from ltgen_bench.evaluation.report.tables import OVERALL
from ltgen_bench.leaderboard.comparison import Difference, SeedSeries, compare_all

RATIO_METRICS = ("fid",)  # positive, with noise in proportion
GROUP_METRICS = ("fid", "recall", "label_accuracy", "probe_accuracy")


@dataclass(frozen=True)
class Contender:
    """All records of one method, by seed."""

    name: str
    records: dict[int | None, Record]


def misfit(first: Record, record: Record) -> str | None:
    """Why `record` cannot be compared with `first`, in words; None where it can."""
    for what, ours, theirs in (
        ("data set", first.dataset.fingerprint, record.dataset.fingerprint),
        ("reference set", first.dataset.reference.fingerprint, record.dataset.reference.fingerprint),
        ("protocol", first.protocol_hash, record.protocol_hash),
        ("set of feature weights", _weights(first), _weights(record)),
    ):
        if ours != theirs:
            return (
                f"records of another {what} cannot be compared: {first.method.name} has {ours[:10]} "
                f"({first.dataset.name}, {first.protocol.name}), {record.method.name} has {theirs[:10]} "
                f"({record.dataset.name}, {record.protocol.name})"
            )
    return None


def contenders(records: Sequence[Record]) -> list[Contender]:
    """Group records by method and configuration, in the order in which they come.

    Raises RecordError when they are of different data sets, reference sets or protocols, or a seed comes twice.
    """
    first = records[0]
    found: dict[tuple[str, str | None], Contender] = {}
    for record in records:
        if problem := misfit(first, record):
            raise RecordError(problem)
        key = (record.method.name, record.method.config_hash)
        contender = found.setdefault(key, Contender(record.method.title or record.method.name, {}))
        if record.seed in contender.records:
            seed = "no seed" if record.seed is None else f"the seed {record.seed}"
            raise RecordError(
                f"two records of {record.method.name} have {seed}; 'evaluate' tells models apart by --method-name and "
                "runs of one model by --seed"
            )
        contender.records[record.seed] = record
    names = [contender.name for contender in found.values()]
    return [
        Contender(f"{c.name} [{key[1]}]" if names.count(c.name) > 1 else c.name, c.records) for key, c in found.items()
    ]


def _weights(record: Record) -> str:
    """The feature networks behind a record's numbers, as one hash."""
    return sha256_json({role: part.model_dump() for role, part in record.extractors.items()})


def setting_differences(rivals: Sequence[Contender]) -> list[str]:
    """For every two neighbours that are one method with two configurations: what differs, in a line."""
    by_method: dict[str, list[Contender]] = {}
    for rival in rivals:
        by_method.setdefault(next(iter(rival.records.values())).method.name, []).append(rival)
    lines = []
    for group in by_method.values():
        for one, other in itertools.pairwise(group):
            before, after = (next(iter(rival.records.values())).method.config or {} for rival in (one, other))
            if changes := difference(before, after):
                lines.append(f"{one.name} -> {other.name}: {'; '.join(changes)}")
    return lines


def _with_baseline_first(rivals: list[Contender], baseline: str | None) -> list[Contender]:
    if baseline is None:
        return rivals
    wanted = baseline.casefold()
    for rival in rivals:
        names = (rival.name, next(iter(rival.records.values())).method.name)
        if wanted in (name.casefold() for name in names):
            return [rival, *(other for other in rivals if other is not rival)]
    raise RecordError(f"--baseline {baseline!r}: {did_you_mean(baseline, [rival.name for rival in rivals])}")


def compare(records: Sequence[Record], *, baseline: str | None = None) -> dict[str, Any]:
    """Means, deviations and differences to the first method, or to `baseline` (a method's name), as JSON values.

    Differences come from `comparison.compare_all`, as those of the leaderboard do: `low` and `high` are simultaneous
    95 % intervals over all pairs of the methods; they and `beyond_noise` are null where no noise can be measured.
    """
    rivals = _with_baseline_first(contenders(records), baseline)
    rows: list[dict[str, Any]] = [
        {"method": rival.name, "seeds": sorted(rival.records, key=str), "metrics": {}} for rival in rivals
    ]
    for name in metric_names():
        series = [_series(rival, name) for rival in rivals]
        present = [index for index, one in enumerate(series) if one.values]
        gaps = compare_all([series[index] for index in present], ratio=name.rpartition(".")[2] in RATIO_METRICS)
        place = {index: number for number, index in enumerate(present)}
        for index, (row, one) in enumerate(zip(rows, series, strict=True)):
            values = list(one.values.values())
            gap = None
            if index and index in place and 0 in place:
                gap = _difference(gaps[place[index]][place[0]], one, series[0])
            row["metrics"][name] = {
                "n": len(values),
                "mean": statistics.fmean(values) if values else None,
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "difference": gap,
            }
    first = records[0]
    return {
        "dataset": first.dataset.name,
        "protocol": first.protocol.name,
        "label": first.extractors["features"].label,
        "baseline": rivals[0].name,
        "methods": rows,
        "settings": setting_differences(rivals),
    }


def metric_names() -> list[str]:
    """The compared metrics; `few.fid` is a group's."""
    headline = (*HEADLINE_METRICS, "probe_accuracy")
    return [*headline, *(f"{group}.{name}" for group in Group for name in GROUP_METRICS), "gap"]


def lower_is_better(name: str) -> bool:
    """Whether the smaller of two values is the better one."""
    return name == "gap" or not {key: higher for key, _, higher in OVERALL}[name.rpartition(".")[2]]


def _series(rival: Contender, name: str) -> SeedSeries:
    """A method's values by seed; a record without a seed pairs with nothing and stands under a number of its own."""
    key = f"groups.{name}" if "." in name else name
    values = {}
    for seed, record in rival.records.items():
        if (value := record.metrics.number(key)) is not None:
            values[-1 if seed is None else seed] = value
    pairs = all(seed is not None and pairs_by_seed(record) for seed, record in rival.records.items())
    return SeedSeries(values, pairs)


def pairs_by_seed(record: Record) -> bool:
    """Whether it ran here: then an equal seed means equal labels and equal initial noise."""
    return record.method.config is not None


def _difference(gap: Difference | None, ours: SeedSeries, theirs: SeedSeries) -> dict[str, Any]:
    if gap is None:
        return {
            "mean": ours.mean - theirs.mean,
            "low": None,
            "high": None,
            "beyond_noise": None,
            "paired": None,
            "seeds_needed": None,
        }
    return dataclasses.asdict(gap)
