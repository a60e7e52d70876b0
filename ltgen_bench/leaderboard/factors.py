"""What else moves a number: other images in the tail, other rare classes, other seeds, and how hard classes are.

One cut and one class order are one draw of each. Records of a data set under several of them (`--cut-seed`,
`--class-order`) say how far a method's numbers move with either, beside how far they move with the training seed; and
records of the balanced set that is as poor as the tail (`Dataset.control`) say how much of a gap is which classes are
rare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev, variance
from typing import Any

from ltgen_bench.core.choices import Group
from ltgen_bench.core.errors import RecordError
from ltgen_bench.datasets.cut import Cut, split_cut_name, tail_size
from ltgen_bench.evaluation.record import DatasetPart, Record

FACTOR_METRICS = ("fid", "groups.few.fid", "groups.many.fid", "gap")


@dataclass(frozen=True)
class Spread:
    """How far one number of one method moves.

    Arguments:
        mean: over all cuts and orders, each with the mean of its seeds.
        settings: how many cuts and orders that are.
        seed: standard deviation between seeds within one cut and order, pooled; None with one seed.
        cut: between cuts of one order, the seeds' means; pooled over orders; None with one cut.
        order: between orders of one cut, likewise.
        control: mean over the balanced sets' records; None without any.
    """

    mean: float
    settings: int
    seed: float | None
    cut: float | None
    order: float | None
    control: float | None


def factors(records: Sequence[Record]) -> dict[str, Any]:
    """By method and metric the spread over seeds, cuts and class orders, as JSON values.

    Raises RecordError where the records are of several data sets (apart from cuts, orders and their controls), of
    several protocols, or of one method with several settings.
    """
    tails = [record for record in records if len(set(record.dataset.class_counts)) > 1]
    if not tails:
        raise RecordError("no record is of a long-tailed set; give those whose spread is asked for")
    families = {split_cut_name(record.dataset.name)[0] for record in tails}
    protocols = {record.protocol_hash for record in records}
    for what, found in (("data sets", families), ("protocols", protocols)):
        if len(found) > 1:
            raise RecordError(f"records of several {what} have no common spread: {', '.join(sorted(found))}")
    controls = [record for record in records if any(is_control(record.dataset, one.dataset) for one in tails)]
    for record in records:
        if record not in tails and record not in controls:
            raise RecordError(f"{record.dataset.name} is neither a cut of {families.pop()} nor the control of one")
    methods: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(record.method.name for record in tails):
        own = [record for record in tails if record.method.name == name]
        _refuse_other_settings(own)
        balanced = [record for record in controls if record.method.name == name]
        spreads = {key: _spread(own, balanced, key) for key in FACTOR_METRICS}
        title = own[0].method.title or name
        methods[title] = {key: None if spread is None else vars(spread) for key, spread in spreads.items()}
    first = tails[0]
    label = first.extractors["features"].label
    return {"dataset": families.pop(), "protocol": first.protocol.name, "label": label, "methods": methods}


def is_control(balanced: DatasetPart, tail: DatasetPart) -> bool:
    """Whether `balanced` has as many images of every class as the tail of `tail` has on average, in the same groups."""
    size = tail_size(tail.class_counts, tail.groups.get(Group.FEW, []))
    return (
        balanced.class_names == tail.class_names
        and balanced.groups == tail.groups
        and set(balanced.class_counts) == {size}
        and len(set(tail.class_counts)) > 1
    )


def _cut(record: Record) -> Cut:
    options = split_cut_name(record.dataset.name)[1]
    return Cut(options.get("class_order"), options.get("cut_seed", 0))


def _refuse_other_settings(records: Sequence[Record]) -> None:
    """The configurations of one method may differ in data set and protocol name only."""
    settings = [{k: v for k, v in (r.method.config or {}).items() if k not in ("dataset", "protocol")} for r in records]
    if any(setting != settings[0] for setting in settings):
        raise RecordError(f"the records of {records[0].method.name} are of several configurations; give those of one")


def _spread(records: Sequence[Record], controls: Sequence[Record], key: str) -> Spread | None:
    values: dict[Cut, list[float]] = {}
    for record in records:
        if (value := record.metrics.number(key)) is not None:
            values.setdefault(_cut(record), []).append(value)
    if not values:
        return None
    means = {cut: fmean(found) for cut, found in values.items()}
    balanced = [value for record in controls if (value := record.metrics.number(key)) is not None]
    return Spread(
        mean=fmean(means.values()),
        settings=len(means),
        seed=_pooled(values.values()),
        cut=_pooled(_by(means, lambda cut: str(cut.order))),
        order=_pooled(_by(means, lambda cut: str(cut.seed))),
        control=fmean(balanced) if balanced else None,
    )


def _by(means: dict[Cut, float], what_stays: Callable[[Cut], str]) -> Iterable[list[float]]:
    groups: dict[str, list[float]] = {}
    for cut, mean in means.items():
        groups.setdefault(what_stays(cut), []).append(mean)
    return groups.values()


def _pooled(groups: Iterable[Sequence[float]]) -> float | None:
    """The standard deviation within groups, weighted by their degrees of freedom; None where none has two values."""
    usable = [group for group in groups if len(group) > 1]
    if not usable:
        return None
    if len(usable) == 1:
        return stdev(usable[0])
    freedom = sum(len(group) - 1 for group in usable)
    return float((sum(variance(group) * (len(group) - 1) for group in usable) / freedom) ** 0.5)
