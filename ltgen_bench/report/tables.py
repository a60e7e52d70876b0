"""A record's numbers as tables for a terminal: overall, by group, by class."""

from __future__ import annotations

from typing import Any

from ltgen_bench.record import Interval, Record

GROUP_TITLES = {"many": "head (many)", "medium": "medium", "few": "tail (few)"}
MAX_CLASS_ROWS = 30  # more classes are summarised by the extremes and left to the record

# key in the record, title, whether higher is better
OVERALL = (
    ("fid", "{label}", False),
    ("kid", "KID", False),
    ("inception_score", "Inception Score", True),
    ("f8", "F8 (recall of PRD)", True),
    ("f1_8", "F1/8 (precision of PRD)", True),
    ("precision", "precision (k-NN)", True),
    ("recall", "recall (k-NN)", True),
    ("density", "density", True),
    ("coverage", "coverage", True),
    ("label_accuracy", "label accuracy", True),
)
COLUMNS = (
    ("fid", "{label}"),
    ("fid_floor", "real vs real"),
    ("kid", "KID"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("coverage", "coverage"),
    ("label_accuracy", "accuracy"),
)


def record_tables(record: Record) -> list[Any]:
    """Rich renderables: the overall numbers, the groups, the classes, and the reasons for what is missing."""
    from rich.table import Table
    from rich.text import Text

    metrics, dataset = record.metrics, record.dataset
    label = record.extractors["features"].label
    heading = (
        f"{record.method.title or record.method.name} on {dataset.name}, {record.samples.count:,} samples, "
        f"protocol {record.protocol.name}" + (f", seed {record.seed}" if record.seed is not None else "")
    )
    overall = Table(title=Text(heading), title_justify="left", title_style="bold")
    overall.add_column("metric")
    overall.add_column("value", justify="right")
    overall.add_column("confidence interval", justify="right")
    overall.add_column("better")
    for key, title, higher in OVERALL:
        value = getattr(metrics, key)
        deviation = getattr(metrics, f"{key}_std", None)
        shown = number(value) + (f" ± {number(deviation)}" if value is not None and deviation is not None else "")
        overall.add_row(
            Text(title.format(label=label)),
            shown,
            interval(metrics.confidence.get(key)),
            "higher" if higher else "lower",
        )

    groups = Table(title="by group of classes", title_justify="left", title_style="bold")
    groups.add_column("group")
    groups.add_column("classes", justify="right")
    group_values = {name: dict(values.model_extra or {}) for name, values in metrics.groups.items()}
    group_keys = [(k, t) for k, t in COLUMNS if any(values.get(k) is not None for values in group_values.values())]
    for _, title in group_keys:
        groups.add_column(Text(title.format(label=label)), justify="right")
    for name, title in GROUP_TITLES.items():
        values = group_values.get(name, {})  # type: ignore[call-overload]
        members = dataset.groups.get(name, [])  # type: ignore[call-overload]
        groups.add_row(title, str(len(members)), *(number(values.get(key)) for key, _ in group_keys))

    classes = Table(title="by class, head to tail", title_justify="left", title_style="bold")
    for column in ("class", "training images", "samples"):
        classes.add_column(column, justify="left" if column == "class" else "right")
    lists = metrics.per_class.model_extra or {}
    class_keys = [(k, t) for k, t in COLUMNS if any(value is not None for value in lists.get(k, []))]
    for _, title in class_keys:
        classes.add_column(Text(title.format(label=label)), justify="right")
    order = sorted(range(len(dataset.class_names)), key=lambda index: (-dataset.class_counts[index], index))
    shown_classes = order if len(order) <= MAX_CLASS_ROWS else [*order[:10], *order[-10:]]
    for index in shown_classes:
        if len(order) > MAX_CLASS_ROWS and index == order[-10]:
            classes.add_row("…", *[""] * (2 + len(class_keys)))
        classes.add_row(
            Text(dataset.class_names[index]),
            f"{dataset.class_counts[index]:,}",
            f"{metrics.per_class.n_generated[index]:,}",
            *(number(lists[key][index]) for key, _ in class_keys),
        )
    parts: list[Any] = [overall, groups, classes]
    parts += [Text(f"{name}: {reason}") for name, reason in metrics.notes.items() if reason != "not asked for"]
    return parts


def number(value: Any) -> str:
    """A number with four significant digits; a dash for what was not computed."""
    if value is None:
        return "-"
    size = abs(float(value))
    if size and size < 1e-3:
        return f"{value:.2e}"
    return f"{value:.{4 if size < 1 else 3 if size < 10 else 2 if size < 100 else 1}f}"


def interval(value: Interval | None) -> str:
    """An interval as `low … high`; empty when there is none."""
    return "" if value is None else f"{number(value.low)} … {number(value.high)}"
