"""Everything in a record that follows from other things in it, computed again.

Two depths: `inconsistencies` hold for any record, and none is written or read with one; `contradictions` are what a
submission must be free of, such as metrics that are not the means of others, and settings that differ in two places.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np

from ltgen_bench.core.choices import Group
from ltgen_bench.core.config import RunConfig
from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.protocol import PROTOCOLS
from ltgen_bench.core.seeding import equal_labels, labels_by_policy
from ltgen_bench.core.storage import sha256_json
from ltgen_bench.evaluation.guidance_rule import best_scale, rule_scales, selection_cost
from ltgen_bench.evaluation.record import HEADLINE_METRICS, MetricsPart, RecognitionArm, Record

MAX_DERIVED_SAMPLES = 10_000_000  # labels are drawn again up to here; a custom protocol may claim any number
# Sums of float64 in another order differ in the last digits only.
RELATIVE, ABSOLUTE = 1e-6, 1e-9
# Labels that are uniform look less uniform than this once in 10^9 submissions.
UNIFORMITY_P_VALUE = 1e-9
# What the numbers of groups and classes can be.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("fid", "fid_floor", "density", "n_generated", "n_reference"), (0.0, 1e100)),
    **dict.fromkeys(("f8", "f1_8", "precision", "recall", "coverage", "label_accuracy", "probe_accuracy"), (0.0, 1.0)),
    **dict.fromkeys(("precision_ceiling", "recall_ceiling", "coverage_ceiling", "probe_accuracy_ceiling"), (0.0, 1.0)),
    **dict.fromkeys(("clipped_density", "clipped_coverage"), (0.0, 1.0)),
    **dict.fromkeys(("inception_score", "vendi_score"), (1.0, 1e100)),
}


def inconsistencies(record: Record) -> Iterator[str]:
    """One line for every impossible length, sum, hash or range; a record with one is neither written nor read."""
    yield from _lengths_and_sums(record)
    yield from _protocol_and_hashes(record)
    yield from _ranges(record.metrics)


def _lengths_and_sums(record: Record) -> Iterator[str]:
    dataset, samples, metrics = record.dataset, record.samples, record.metrics
    classes = len(dataset.class_names)
    if len(dataset.class_counts) != classes:
        yield "dataset.class_counts has another length than class_names"
    if sum(dataset.class_counts) != dataset.total:
        yield "dataset.total is not the sum of class_counts"
    if len(dataset.reference.class_counts) != classes:
        yield "dataset.reference.class_counts has another length"
    if sorted(index for group in dataset.groups.values() for index in group) != list(range(classes)):
        yield "dataset.groups do not hold every class once"
    if len(samples.class_counts) != classes:
        yield "samples.class_counts has another length than class_names"
    if sum(samples.class_counts) != (samples.count if samples.labelled else 0):
        yield "samples.count is not the sum of class_counts"
    if metrics.per_class.n_generated != samples.class_counts:
        yield "metrics.per_class.n_generated differs from samples.class_counts"
    if metrics.per_class.n_reference != dataset.reference.class_counts:
        yield "metrics.per_class.n_reference differs from dataset.reference.class_counts"
    if any(len(values) != classes for values in metrics.per_class.lists.values()):
        yield "a list in metrics.per_class has another length than class_names"
    if metrics.confusion is not None and {len(metrics.confusion), *map(len, metrics.confusion)} != {classes}:
        yield "metrics.confusion is not a square table over the classes"


def _protocol_and_hashes(record: Record) -> Iterator[str]:
    protocol, training = record.protocol, record.training
    if record.protocol_hash != protocol.hash():
        yield "protocol_hash is not the hash of protocol"
    if record.method.config is not None and sha256_json(record.method.config)[:10] != record.method.config_hash:
        yield "method.config_hash is not the hash of method.config"
    if not protocol.is_custom and record.samples.count != protocol.samples:
        yield f"samples.count {record.samples.count} is not the protocol's {protocol.samples}"
    if training is not None and protocol.training_images not in (None, training.images_seen):
        yield "training.images_seen is not the protocol's training_images"
    if not protocol.is_custom and protocol != PROTOCOLS.get(protocol.name):
        yield f"protocol {protocol.name!r} is not the published one of that name"
    if (record.dataset.papers_reference is not None) != (protocol.reference == "unseen"):
        yield f"dataset.papers_reference does not fit protocol {protocol.name}"
    if set(protocol.extractors()) != {extractor.name for extractor in record.extractors.values()}:
        yield "extractors are not those of the protocol"


def _ranges(metrics: MetricsPart) -> Iterator[str]:
    places = [("per_class", key, values) for key, values in metrics.per_class.lists.items()]
    for name, group in metrics.groups.items():
        places += [(f"groups.{name}", key, [value]) for key, value in group.numbers.items()]
    for place, key, values in places:
        low, high = _RANGES.get(key.removeprefix("mean_class_"), (-1e100, 1e100))
        if not all(value is None or low <= value <= high for value in values):
            yield f"metrics.{place}.{key} is not within {low:g} ... {high:g}"
    if not _is_memorisation(metrics.memorisation):
        yield "metrics.memorisation is not one of the two spaces"
    for metric, interval in metrics.confidence.items():
        if interval is not None and interval.low > interval.high:
            yield f"metrics.confidence.{metric} has low above high"
    for metric in HEADLINE_METRICS:
        if getattr(metrics, metric) is None and metric not in metrics.notes:
            yield f"metrics.{metric} is null and metrics.notes does not say why"


def contradictions(record: Record) -> Iterator[str]:
    """One line for everything that does not follow from the rest of the record."""
    yield from _groups(record)
    yield from _confusion(record)
    yield from _intervals(record)
    yield from _configuration(record)
    yield from _labels(record)
    yield from _recognition(record)
    for point in record.separation or []:
        low, high = _SEPARATION.get(point.metric, (0.0, 1e100))
        if any(end is not None and not low <= end <= high for end in (point.value, point.low, point.high)):
            yield f"separation: {point.metric} at t = {point.t} is not within {low:g} ... {high:g}"
        if point.value is None and not point.reason:
            yield f"separation: {point.metric} at t = {point.t} is null and says not why"


_SEPARATION = {
    **dict.fromkeys(("knn_purity", "nearest_mean_accuracy", "probe_accuracy"), (0.0, 1.0)),
    "silhouette": (-1.0, 1.0),
}


def _differs(stated: float | int | None, derived: float | None) -> bool:
    if stated is None or derived is None:
        return (stated is None) != (derived is None)
    return not math.isclose(stated, derived, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def _groups(record: Record) -> Iterator[str]:
    metrics, dataset = record.metrics, record.dataset
    per_class = metrics.per_class.lists
    generated, reference = metrics.per_class.n_generated, metrics.per_class.n_reference
    values = {name: group.numbers for name, group in metrics.groups.items()}
    for name, group in metrics.groups.items():
        if sorted(group.classes) != sorted(dataset.groups.get(name, [])):
            yield f"metrics.groups.{name}.classes are not those of dataset.groups.{name}"
            return  # nothing below can be right
    for name, group in metrics.groups.items():
        own = values[name]
        for key, counts in (("n_generated", generated), ("n_reference", reference)):
            if key in own and own[key] != sum(counts[c] for c in group.classes):
                yield f"metrics.groups.{name}.{key} is not the sum over its classes"
        for key, value in own.items():
            of_class = per_class.get(key.removeprefix("mean_class_"))
            if key.startswith("mean_class_") and of_class is None:
                yield f"metrics.groups.{name}.{key} has no list in metrics.per_class to come from"
            elif key.startswith("mean_class_") and of_class is not None:
                chosen = [of_class[c] for c in group.classes]
                present = [v for v in chosen if v is not None]
                mean = float(np.mean(present)) if present and len(present) == len(chosen) else None
                if _differs(value, mean):
                    yield f"metrics.groups.{name}.{key} is not the mean over its classes"
    if {c for group in metrics.groups.values() for c in group.classes} == set(range(len(dataset.class_names))):
        yield from _weighted_means(record, values)
    many, few = values.get(Group.MANY, {}), values.get(Group.FEW, {})
    for key, gap in metrics.head_tail_gap.items():
        high, low = many.get(key), few.get(key)
        if high is None or low is None:
            if gap is not None:
                yield f"metrics.head_tail_gap.{key} has no values in both groups to come from"
        elif _differs(gap, low - high):
            yield f"metrics.head_tail_gap.{key} is not few minus many"


def _weighted_means(record: Record, values: dict[Any, dict[str, Any]]) -> Iterator[str]:
    """Shares over all samples are the groups' shares, weighted by their numbers of samples."""
    counts = {"precision": "n_generated", "density": "n_generated", "label_accuracy": "n_generated"}
    counts["probe_accuracy"] = "n_generated"
    counts |= {"recall": "n_reference", "coverage": "n_reference"}
    for key, weight in counts.items():
        parts: list[tuple[Any, Any]] = [(g.get(weight), g.get(key)) for g in values.values() if g.get(weight) != 0]
        if parts and all(n is not None and v is not None for n, v in parts):
            mean = sum(n * v for n, v in parts) / sum(n for n, _ in parts)
            if _differs(getattr(record.metrics, key), mean):
                yield f"metrics.{key} is not the mean of the groups' {key}"


def _confusion(record: Record) -> Iterator[str]:
    metrics = record.metrics
    if metrics.confusion is None:
        return
    table = np.array(metrics.confusion, dtype=np.float64)
    if table.sum(axis=1).tolist() != metrics.per_class.n_generated:
        yield "metrics.confusion: a row does not sum to the class's number of samples"
        return
    if _differs(metrics.label_accuracy, float(table.trace() / table.sum())):
        yield "metrics.label_accuracy is not the diagonal of metrics.confusion over all samples"
    stated = metrics.per_class.lists.get("label_accuracy")
    if stated is not None:
        for index, row in enumerate(table):
            if _differs(stated[index], float(row[index] / row.sum()) if row.sum() else None):
                yield f"metrics.per_class.label_accuracy.{index} is not the diagonal of metrics.confusion"


def _intervals(record: Record) -> Iterator[str]:
    # Percentile intervals may leave their estimate out; these three are built around it.
    for key in ("fid", "f8", "f1_8"):
        interval, value = record.metrics.confidence.get(key), getattr(record.metrics, key)
        if interval is not None and value is not None and not interval.low <= value <= interval.high:
            yield f"metrics.confidence.{key} does not hold metrics.{key}"


def _configuration(record: Record) -> Iterator[str]:
    if record.method.config is None:
        return
    try:
        config = RunConfig.as_written({**record.method.config, "seed": record.seed or 0}, "method.config")
    except ConfigError as error:
        yield str(error)
        return
    if _null_in_a_list(record.method.config):
        yield "method.config holds null in a list, which no configuration file can"
    if record.method.name != config.method.get("name"):
        yield "method.name is not that of method.config"
    if config.protocol != record.protocol:
        yield "protocol is not that of method.config"
    if record.seed is None:
        yield "seed is null, and the configured run has one"
    for section, absent in (("training", record.training is None), ("sampling", record.samples.sampler is None)):
        if not absent and not config.uses(section):
            yield f"the record has numbers of {section}, and method.config has no such section"
    if record.training is not None:
        training = config.training
        if record.training.steps != training.steps:
            yield f"training.steps {record.training.steps} is not the configured {training.steps}"
        if record.training.images_seen != record.training.steps * training.batch_size:
            yield "training.images_seen is not steps x batch_size"
    if record.samples.sampler is not None:
        # as written then: a later version's new keys, with their defaults, do not contradict it
        configured = record.method.config.get("sampling")
        if record.guidance is not None and isinstance(configured, dict):
            configured = {**configured, "guidance_scale": record.guidance.guidance_scale}
        if record.samples.sampler != configured:
            yield "samples.sampler is not the configured one"
        if not record.protocol.is_custom and config.sampling.departs_from(record.protocol):
            yield (
                f"samples.sampler is not the one that protocol {record.protocol.name} fixes: such a run belongs to "
                "a custom protocol"
            )
        sampling = config.sampling
        if record.guidance is not None:
            sampling = sampling.at_scale(record.guidance.guidance_scale)
        if record.samples.network_evaluations != sampling.network_evaluations:
            yield f"samples.network_evaluations is not the sampler's {sampling.network_evaluations}"
    yield from _guidance(record, config)


def _guidance(record: Record, config: RunConfig) -> Iterator[str]:
    """The choice of the scale is the protocol's rule applied to the curve that the record holds."""
    protocol, part = record.protocol, record.guidance
    chosen = config.uses("sampling") and config.sampling.guidance_scale is None
    if chosen != (part is not None):
        yield "guidance does not fit method.config.sampling.guidance_scale: a scale is chosen, or it is configured"
    if part is None:
        return
    points = part.curve
    scales = [point.guidance_scale for point in points]
    if not protocol.selects_guidance:
        yield f"guidance was chosen, and protocol {protocol.name} does not choose it"
    elif scales != sorted(set(scales)) or sorted(scales) != rule_scales(protocol, points):
        yield f"guidance.curve does not hold the scales that protocol {protocol.name} asks for"
    elif part.guidance_scale != best_scale(points):
        yield "guidance.guidance_scale is not the scale of guidance.curve with the smallest distance"
    elif (part.samples, part.network_evaluations) != (
        protocol.guidance_samples,
        selection_cost(protocol, config.sampling.steps or 0, points),
    ):
        yield "guidance.samples or its network_evaluations are not those of the protocol's selection"


def _recognition(record: Record) -> Iterator[str]:
    """Recognition is there where the protocol asks for it, as cas.v1 has it."""
    asked, part = record.protocol.recognition is not None, record.metrics.recognition
    if part is None:
        if asked and "recognition" not in record.metrics.notes:
            yield "metrics.recognition is null, the protocol asks for it, and metrics.notes does not say why"
        return
    if not asked:
        yield f"metrics.recognition is there, and protocol {record.protocol.name} does not ask for it"
    elif (part.fill, part.weight, part.filter) != ("balanced", 1.0, None):
        yield f"metrics.recognition has another fill, weight or filter than {record.protocol.recognition}"
    wanted = {(arm, seed) for arm in get_args(RecognitionArm) for seed in range(3)}
    if len(part.rows) != len(wanted) or {(row.arm, row.seed) for row in part.rows} != wanted:
        yield "metrics.recognition.rows are not three classifiers, 0 to 2, for each of four training sets"
    if part.real_images != record.dataset.total:
        yield "metrics.recognition.real_images is not dataset.total"
    for row in part.rows:
        if row.arm == "real" and row.images != part.real_images:
            yield "metrics.recognition: a classifier of real images was trained on another number of images"
        groups = [value for value in (row.many, row.medium, row.few) if value is not None]
        if groups and not min(groups) - ABSOLUTE <= row.all <= max(groups) + ABSOLUTE:
            yield "metrics.recognition: an accuracy over all classes is not between those of the groups"


def _null_in_a_list(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_null_in_a_list, value.values()))
    return isinstance(value, list) and any(item is None or _null_in_a_list(item) for item in value)


def _labels(record: Record) -> Iterator[str]:
    counts, total = record.samples.class_counts, record.samples.count
    if not record.samples.labelled:
        return
    if record.method.config is not None and record.seed is not None and total <= MAX_DERIVED_SAMPLES:
        policy = record.protocol.label_policy
        drawn = np.bincount(labels_by_policy(policy, total, len(counts), record.seed), minlength=len(counts))
        if drawn.tolist() != counts:
            yield f"samples.class_counts are not those of the labels that seed {record.seed} draws"
    elif record.protocol.label_policy == "equal":
        if np.bincount(equal_labels(total, len(counts)), minlength=len(counts)).tolist() != counts:
            yield f"samples.class_counts are not equal, as protocol {record.protocol.name} wants them"
    elif len(counts) > 1 and total > 0:
        from scipy.stats import chi2

        expected = total / len(counts)
        statistic = sum((count - expected) ** 2 for count in counts) / expected
        if float(chi2.sf(statistic, len(counts) - 1)) < UNIFORMITY_P_VALUE:
            yield "samples.class_counts are not those of labels drawn uniformly over the classes"


def _is_memorisation(spaces: dict[str, Any] | None) -> bool:
    """Features and pixels only, each with its share of suspected copies or null in its place, and those by class."""
    for space, scores in (spaces or {}).items():
        if space not in ("features", "pixels") or not isinstance(scores, dict):
            return False
        kinds = [scores, *(scores[key] for key in ("by_class", "by_neighbourhood") if scores.get(key) is not None)]
        if not all(_holds_shares(kind) for kind in kinds) or not is_share(scores.get("authentic_share")):
            return False
    return True


def _holds_shares(kind: Any) -> bool:
    if not isinstance(kind, dict) or not is_share(kind.get("fraction")):
        return False
    groups = kind.get("groups") or {}
    return isinstance(groups, dict) and all(is_share(share) for share in groups.values())


def is_share(value: Any) -> bool:
    """Whether a JSON value is a number from 0 to 1, or null."""
    return value is None or (type(value) in (int, float) and 0 <= value <= 1)
