"""Records side by side: means and standard deviations over seeds, and whether two methods differ beyond noise."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ltgen_bench.core.choices import Group
from ltgen_bench.core.errors import RecordError
from ltgen_bench.core.storage import sha256_json
from ltgen_bench.evaluation.record import HEADLINE_METRICS, Record
from ltgen_bench.metrics import paired_difference

GROUP_METRICS = ("fid", "recall", "label_accuracy")


@dataclass(frozen=True)
class Contender:
    """All records of one method, by seed."""

    name: str
    records: dict[int | None, Record]


def contenders(records: Sequence[Record]) -> list[Contender]:
    """Group records by method and configuration, in the order in which they come.

    Raises RecordError when they are of different data sets, reference sets or protocols, or a seed comes twice.
    """
    first = records[0]
    found: dict[tuple[str, str | None], Contender] = {}
    for record in records:
        for what, ours, theirs in (
            ("data set", first.dataset.fingerprint, record.dataset.fingerprint),
            ("reference set", first.dataset.reference.fingerprint, record.dataset.reference.fingerprint),
            ("protocol", first.protocol_hash, record.protocol_hash),
            ("set of feature weights", _weights(first), _weights(record)),
        ):
            if ours != theirs:
                raise RecordError(
                    f"records of another {what} cannot be compared: {first.method.name} has {ours[:10]} "
                    f"({first.dataset.name}, {first.protocol.name}), {record.method.name} has {theirs[:10]} "
                    f"({record.dataset.name}, {record.protocol.name})"
                )
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


def compare(records: Sequence[Record]) -> dict[str, Any]:
    """Means, deviations and paired differences to the first method, as JSON values.

    Differences are taken over the seeds that both methods have, with Student's t interval at 95 %; `beyond_noise` is
    null when there are fewer than two such seeds.
    """
    rivals = contenders(records)
    rows = []
    for rival in rivals:
        row: dict[str, Any] = {"method": rival.name, "seeds": sorted(rival.records, key=str), "metrics": {}}
        for name in metric_names():
            values = [value for record in rival.records.values() if (value := _value(record, name)) is not None]
            row["metrics"][name] = {
                "n": len(values),
                "mean": statistics.fmean(values) if values else None,
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "difference": None if rival is rivals[0] else _difference(rival, rivals[0], name),
            }
        rows.append(row)
    first = records[0]
    return {"dataset": first.dataset.name, "protocol": first.protocol.name, "baseline": rivals[0].name, "methods": rows}


def metric_names() -> list[str]:
    """The compared metrics; `few.fid` is a group's."""
    return [*HEADLINE_METRICS, *(f"{group}.{name}" for group in Group for name in GROUP_METRICS)]


def _value(record: Record, name: str) -> float | None:
    return record.metrics.number(f"groups.{name}" if "." in name else name)


def _difference(rival: Contender, baseline: Contender, name: str) -> dict[str, Any]:
    pairs = []
    for seed, record in rival.records.items():
        other = baseline.records.get(seed)
        if seed is None or other is None:
            continue
        ours, theirs = _value(record, name), _value(other, name)
        if ours is not None and theirs is not None:
            pairs.append((ours, theirs))
    mean = statistics.fmean(a - b for a, b in pairs) if pairs else None
    if len(pairs) < 2:
        return {"n": len(pairs), "mean": mean, "low": None, "high": None, "beyond_noise": None}
    found = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
    return {
        "n": len(pairs),
        "mean": found.mean,
        "low": found.interval.low,
        "high": found.interval.high,
        "beyond_noise": bool(found.beyond_noise),
    }
