"""Which numbers of a record are compared with what was measured again, and how near they must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ltgen_bench.evaluation.record import HEADLINE_METRICS, Record

# (relative, absolute): the larger one counts. Another machine's kernels move features in the last digits of float32.
TOLERANCES: dict[str, tuple[float, float]] = {
    "fid": (1e-3, 1e-3),
    "fid_floor": (1e-3, 1e-3),
    "papers_fid": (1e-3, 1e-3),
    "kid": (1e-2, 1e-4),
    "inception_score": (1e-3, 1e-3),
    "f8": (0.0, 0.01),  # k-means may put a sample on a border into the neighbouring cluster
    "f1_8": (0.0, 0.01),
    "density": (5e-3, 2e-3),
    "clipped_density": (5e-3, 2e-3),
    "clipped_coverage": (5e-3, 5e-3),
    "vendi_score": (1e-3, 1e-3),
    # shares of samples: `tolerance` widens these to two samples
    "precision": (0.0, 2e-3),
    "recall": (0.0, 2e-3),
    "coverage": (0.0, 2e-3),
    "label_accuracy": (0.0, 2e-3),
    "probe_accuracy": (0.0, 2e-3),
    "fraction": (0.0, 2e-3),
    # of the reference alone
    "coverage_ceiling": (0.0, 1e-9),
    "precision_ceiling": (0.0, 5e-3),
    "recall_ceiling": (0.0, 5e-3),
    "f8_ceiling": (0.0, 0.01),
    "f1_8_ceiling": (0.0, 0.01),
    "probe_accuracy_ceiling": (0.0, 2e-3),
}
_OF_REFERENCE = ("recall", "coverage", "precision_ceiling", "recall_ceiling", "probe_accuracy_ceiling")
_OF_SAMPLES = ("precision", "density", "label_accuracy", "probe_accuracy", "fraction")
_SECOND = ("fid_floor", "papers_fid", "probe_accuracy", *(key for key in TOLERANCES if key.endswith("_ceiling")))
_OF_CLUSTERS = ("f8", "f1_8")
_LATER = ("clipped_density", "clipped_coverage", "vendi_score")  # records of earlier versions say nothing of these


def table_values(record: Record) -> dict[str, float | None]:
    """The numbers that are compared: the overall ones, those of the groups (`groups.few.fid`), and suspected copies."""
    return metric_values(record.metrics.model_dump(mode="json"))


def metric_values(metrics: dict[str, Any]) -> dict[str, float | None]:
    """The same from the metrics as JSON values."""
    values: dict[str, float | None] = {key: metrics.get(key) for key in HEADLINE_METRICS}
    values |= {key: metrics.get(key) for key in (*_SECOND, *_LATER)}
    for name, group in (metrics.get("groups") or {}).items():
        values |= {f"groups.{name}.{key}": group[key] for key in group if _metric(key) in TOLERANCES}
    for space, scores in (metrics.get("memorisation") or {}).items():
        values[f"memorisation.{space}.fraction"] = scores.get("fraction")
    return {key: None if value is None else float(value) for key, value in values.items()}


def _metric(key: str) -> str:
    return key.rpartition(".")[2].removeprefix("mean_class_")


def tolerance(record: Record, key: str, value: float, classes: Sequence[int] | None = None) -> float:
    """How far a measured value may lie from the record's; shares may differ by two of the images in `classes`."""
    metric, of_group = _metric(key), key.startswith("groups.")
    relative, absolute = TOLERANCES[metric]
    if of_group and metric in _OF_CLUSTERS:
        absolute = 0.05  # few samples in many clusters: one that changes its cluster counts for more
    if of_group:
        classes = record.dataset.groups.get(key.split(".")[1], [])  # type: ignore[call-overload]
    if count := _images(record, metric, classes, smallest="mean_class_" in key):
        absolute = max(absolute, 2 / count + 1e-12)
    return max(relative * abs(value), absolute)


def _images(record: Record, metric: str, classes: Sequence[int] | None, *, smallest: bool) -> int:
    """The number of images that a share is taken of, or of the smallest class among them; 0 for what is not a share."""
    if metric in _OF_REFERENCE:
        counts = record.metrics.per_class.n_reference
    elif metric in _OF_SAMPLES:
        counts = record.metrics.per_class.n_generated
        if classes is None:
            return record.samples.count  # also of samples that belong to no class
    else:
        return 0
    chosen = counts if classes is None else [counts[c] for c in classes]
    return min((count for count in chosen if count), default=0) if smallest else sum(chosen)


def disagreements(record: Record, measured: dict[str, float | None]) -> Iterator[str]:
    """One line for every number that was not met; a number that one side lacks counts as not met."""
    stated = table_values(record)
    for key in {**stated, **measured}:
        if stated.get(key) is None and _metric(key) in _LATER:
            continue
        yield from _disagreement(key, stated.get(key), measured.get(key), partial(tolerance, record, key))


def class_disagreements(record: Record, metrics: dict[str, Any]) -> Iterator[str]:
    """The same for the numbers of single classes and the confusion table; `metrics` as JSON values."""
    stated, found = record.metrics.per_class.model_dump(mode="json"), metrics.get("per_class") or {}
    if stated["n_generated"] != found.get("n_generated"):
        yield "samples.class_counts are not those of the samples' labels"
        return
    for key in {**stated, **found}:
        if _metric(key) not in TOLERANCES or (key in _LATER and key not in stated):
            continue
        for c in range(len(record.dataset.class_names)):
            ours, theirs = (None if (values := side.get(key)) is None else values[c] for side in (stated, found))
            allowed = partial(tolerance, record, key, classes=[c])
            yield from _disagreement(f"per_class.{key}.{c}", ours, theirs, allowed)
    table, again = record.metrics.confusion, metrics.get("confusion")
    if (table is None) != (again is None):
        yield "metrics.confusion is there in only one of the record and what was measured again"
    elif table is not None and again is not None:
        moved = int(np.abs(np.array(table) - np.array(again)).sum())
        most = max(4, 4e-3 * record.samples.count)  # a sample that moves changes two entries
        if moved > most:
            yield f"metrics.confusion differs in {moved / 2:g} samples from what was measured again"


def memorisation_disagreements(record: Record, metrics: dict[str, Any]) -> Iterator[str]:
    """The same for what stands behind the shares of suspected copies, and for the shares by other thresholds.

    Those by class and by neighbourhood are compared where the record has them: earlier versions did not measure them.
    """
    again = metrics.get("memorisation") or {}
    for space, stated in (record.metrics.memorisation or {}).items():
        found, name = again.get(space) or {}, f"memorisation.{space}"
        for key in ("median_distance", "held_out_median_distance", "threshold"):
            yield from _disagreement(f"{name}.{key}", stated.get(key), found.get(key), lambda value: 1e-3 * abs(value))
        yield from _other_shares(record, name, stated, found)
        for part in ("by_class", "by_neighbourhood"):
            if stated.get(part) is not None:
                yield from _other_shares(record, f"{name}.{part}", stated[part], found.get(part) or {})


def _other_shares(record: Record, name: str, stated: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Overall, of every group and of every class, to two of its samples."""
    counts = record.metrics.per_class.n_generated
    images = {"fraction": record.samples.count}
    images |= {f"groups.{group}": sum(counts[c] for c in members) for group, members in record.dataset.groups.items()}
    images |= {f"per_class.{c}": count for c, count in enumerate(counts)}
    ours, theirs = _flat(stated), _flat(found)
    for key, count in images.items():
        yield from _disagreement(f"{name}.{key}", ours.get(key), theirs.get(key), partial(_two_of, count))


def _two_of(count: int, share: float) -> float:
    return 2 / max(1, count) + 1e-12


def _flat(shares: dict[str, Any]) -> dict[str, Any]:
    """The shares overall, by group and by class under one name each."""
    groups, classes = shares.get("groups"), shares.get("per_class")
    return {
        "fraction": shares.get("fraction"),
        **{f"groups.{name}": share for name, share in (groups if isinstance(groups, dict) else {}).items()},
        **{f"per_class.{c}": share for c, share in enumerate(classes if isinstance(classes, list) else [])},
    }


def _disagreement(
    name: str, stated: float | None, found: float | None, allowed: Callable[[float], float]
) -> Iterator[str]:
    if stated is None and found is None:
        return
    if stated is None or found is None:
        yield f"{name} is {stated} in the record and {found} measured again"
    elif type(stated) not in (int, float):
        yield f"{name} is not a number in the record"
    elif not math.isclose(stated, found, rel_tol=0, abs_tol=allowed(stated)):
        yield (
            f"{name} is {stated:.6g} in the record and {found:.6g} measured again, "
            f"more than {allowed(stated):.2g} apart"
        )
