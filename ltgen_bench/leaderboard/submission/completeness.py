"""What a record has to hold because its protocol computes it, and what cannot be, whatever was measured.

A number is easier to leave out than to forge: without the confusion table nothing contradicts a label accuracy, without
the interval nothing contradicts a distance. `evaluate` writes all of this, so a record of a published protocol that
lacks some was edited.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator

from ltgen_bench.core.config import OPTIONAL_SECTIONS, build
from ltgen_bench.core.errors import UserError
from ltgen_bench.evaluation.contradictions import is_share
from ltgen_bench.evaluation.record import CodePart, Record
from ltgen_bench.features.catalogue import extractor_info
from ltgen_bench.methods import METHODS, DiffusionMethod

# Of all samples, of every group and of every class, where the first is there.
_EVERYWHERE = ("fid", "precision", "recall", "density", "coverage", "label_accuracy", "probe_accuracy")
_BY_GROUP = (*_EVERYWHERE, "f8", "f1_8")
_BY_CLASS = (*_EVERYWHERE, "fid_floor", "fid_floor_n", "kid", "clipped_density", "clipped_coverage", "vendi_score")
_WITH_INTERVAL = ("fid", "inception_score", "f8", "f1_8", "precision", "recall", "density", "coverage")
_OF_LABELS = ("label_accuracy", "probe_accuracy")
_GROUP_KEYS = {
    *_BY_GROUP,
    *(f"mean_class_{key}" for key in _BY_CLASS),
    *(f"{key}_ceiling" for key in ("precision", "recall", "coverage", "probe_accuracy")),
    *("n_generated", "n_reference", "fid_floor", "fid_excess", "fid_n"),
}
_MEMORISATION = ("fraction", "median_distance", "threshold_quantile")
_MOST_DEVIATION = 100.0  # of KID over its subsets, in units of 1 + |KID|
_RELATIVE = 1e-6
_EARLIEST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)  # there was no such package before
_CLOCKS = datetime.timedelta(days=1)  # a clock may be wrong by so much


def gaps(record: Record) -> Iterator[str]:
    """One line for everything that is missing, or that no measurement gives."""
    yield from _missing_numbers(record)
    yield from _impossible_numbers(record)
    yield from _memorisation(record)
    yield from _run(record)
    yield from code_problems(record.code)
    if problem := time_problem(record.timing.created):
        yield f"timing.created {problem}"
    if record.samples.resized_from is not None and record.protocol.resize == "none":
        yield f"samples.resized_from is set, and protocol {record.protocol.name} takes no resized samples"


def code_problems(code: CodePart) -> Iterator[str]:
    """A commit is known to be clean or not; without one nobody can know."""
    if (code.commit is None) != (code.clean is None):
        yield "code.clean says nothing of code.commit: a checkout is clean or is not"


def time_problem(text: str) -> str | None:
    """Why a time is none that this package writes: UTC, ISO 8601, not before the package and not in the future."""
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        return "is no time of the form 2026-01-31T12:00:00Z"
    if time.tzinfo is None or time.utcoffset() != datetime.timedelta(0):
        return "is not in UTC"
    if not _EARLIEST <= time <= datetime.datetime.now(datetime.UTC) + _CLOCKS:
        return "is before this package was, or in the future"
    return None


def _missing_numbers(record: Record) -> Iterator[str]:
    metrics, labelled = record.metrics, record.samples.labelled
    for name, group in metrics.groups.items():
        for key in group.numbers:
            if key not in _GROUP_KEYS:
                yield f"metrics.groups.{name} has an unknown number {ascii(key)[:60]}"
    for key in metrics.per_class.lists:
        if key not in _BY_CLASS:
            yield f"metrics.per_class has an unknown list {ascii(key)[:60]}"
    if not labelled:
        for key in _OF_LABELS:
            if getattr(metrics, key) is not None:
                yield f"metrics.{key} is set, and the samples have no labels"
    if record.protocol.is_custom:
        return  # its settings may leave things out
    for name, members in record.dataset.groups.items():
        if members and name not in metrics.groups:
            yield f"metrics.groups.{name} is missing"
    if labelled:
        for key in _BY_GROUP:
            if getattr(metrics, key) is None:
                continue
            for name, group in metrics.groups.items():
                if key not in group.numbers:
                    yield f"metrics.groups.{name}.{key} is missing"
            if key in _EVERYWHERE and key not in metrics.per_class.lists:
                yield f"metrics.per_class.{key} is missing"
    if metrics.label_accuracy is not None and metrics.confusion is None:
        yield "metrics.confusion is missing, which metrics.label_accuracy comes from"
    for key in (*_WITH_INTERVAL, *_OF_LABELS):
        if getattr(metrics, key) is not None and metrics.confidence.get(key) is None:
            yield f"metrics.confidence.{key} is missing"


def _impossible_numbers(record: Record) -> Iterator[str]:
    metrics = record.metrics
    interval = metrics.confidence.get("fid")
    if interval is not None and metrics.fid is not None and interval.low > 0:  # at 0 it is cut off
        middle, width = (interval.low + interval.high) / 2, interval.high - interval.low
        if abs(middle - metrics.fid) > _RELATIVE * max(width, metrics.fid):
            yield "metrics.fid is not in the middle of metrics.confidence.fid"
    try:
        classes = extractor_info(record.protocol.extractor).classes
    except UserError:
        classes = None
    if classes is not None and metrics.inception_score is not None and metrics.inception_score > classes + 1e-9:
        yield f"metrics.inception_score is above the number of classes of {record.protocol.extractor}, {classes}"
    if metrics.kid_std is not None and metrics.kid_std > _MOST_DEVIATION * (1 + abs(metrics.kid or 0)):
        yield "metrics.kid_std is beyond what subsets of one set of samples can have"


def _memorisation(record: Record) -> Iterator[str]:
    counts = record.metrics.per_class.n_generated
    for space, scores in (record.metrics.memorisation or {}).items():
        if not record.protocol.is_custom and (missing := [key for key in _MEMORISATION if key not in scores]):
            yield f"metrics.memorisation.{space}.{missing[0]} is missing"
        by_class, share = scores.get("per_class"), scores.get("fraction")
        if not isinstance(by_class, list) or not record.samples.labelled or share is None:
            continue
        if len(by_class) != len(counts) or not all(is_share(value) for value in by_class):
            yield f"metrics.memorisation.{space}.per_class is not one share a class"
            continue
        mean = sum(n * value for n, value in zip(counts, by_class, strict=True) if n) / max(1, sum(counts))
        if not math.isclose(mean, share, rel_tol=_RELATIVE, abs_tol=1e-9):
            yield f"metrics.memorisation.{space}.fraction is not the mean over the classes"


def _run(record: Record) -> Iterator[str]:
    """What a record of a run says of its configuration, and where a record of samples made elsewhere is silent."""
    config, method = record.method.config, record.method
    if config is None:
        for what, value in (("method.config_hash", method.config_hash), ("training", record.training)):
            if value is not None:
                yield f"{what} is set, and method.config is null"
        return
    for key in ("seed", "execution"):
        if key in config:
            yield f"method.config has {key!r}, which is no part of a configuration's identity"
    training = config.get("training")
    if isinstance(training, dict) and "init_from" in training:
        yield "method.config.training.init_from is a path; a record has the weights' init_sha256"
    if method.name not in METHODS:
        if method.code_sha256 is None:
            name = ascii(method.name)[:60]
            yield f"method {name} is not one of this package, and there is no sha256 of a plug-in's code"
        return
    if method.code_sha256 is not None:
        return  # a plug-in of the same name as it is here
    try:
        chosen = METHODS.get(method.name)
    except UserError as error:  # methods that cannot be joined
        yield str(error)
        return
    options = config.get("method")
    try:
        build(chosen.Config, options if isinstance(options, dict) else {}, "method.config.method")
    except UserError as error:
        yield str(error)
    for section in OPTIONAL_SECTIONS:
        if (section in config) != (section in chosen.uses):
            says = "has" if section in config else "lacks"
            yield f"method.config {says} {section!r}, unlike every configuration of {method.name}"
    if issubclass(chosen, DiffusionMethod):
        missing = {"training": record.training is None, "samples.sampler": record.samples.sampler is None}
        for what in (name for name, absent in missing.items() if absent):
            yield f"{what} is null, and method.config says how {method.name} is trained and sampled"
