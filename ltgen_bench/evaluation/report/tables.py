"""Numbers as tables for a terminal: overall, by group, by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ltgen_bench.core.choices import Group
from ltgen_bench.evaluation.record import RecognitionPart, Record
from ltgen_bench.metrics.uncertainty import MEANING

MAX_CLASS_ROWS = 30  # with more classes, the ten largest and the ten smallest are shown

# key in the record, title, whether higher is better
OVERALL = (
    ("fid", "{label}", False),
    ("fid_infinity", "{label}, infinite samples", False),
    ("papers_fid", "{label} to the papers' reference", False),
    ("copying_gain", "nearer to it than to unseen images by", False),
    ("kid", "KID x 1000", False),
    ("inception_score", "Inception Score", True),
    ("f8", "F8 (recall of PRD)", True),
    ("f1_8", "F1/8 (precision of PRD)", True),
    ("precision", "precision{manifold}", True),
    ("recall", "recall{manifold}", True),
    ("density", "density", True),
    ("coverage", "coverage", True),
    ("clipped_density", "clipped density", True),
    ("clipped_coverage", "clipped coverage", True),
    ("vendi_score", "Vendi score", True),
    ("label_accuracy", "label accuracy", True),
    ("probe_accuracy", "label accuracy, linear probe", True),
)
COLUMNS = (
    ("fid", "{label}"),
    ("fid_floor", "real vs real"),
    ("kid", "KID x 1000"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("coverage", "coverage"),
    ("label_accuracy", "accuracy"),
    ("probe_accuracy", "by probe"),
)
PERFECT = {  # where a perfect generator's number stands
    "fid": "fid_floor",
    "f8": "f8_ceiling",
    "f1_8": "f1_8_ceiling",
    "precision": "precision_ceiling",
    "recall": "recall_ceiling",
    "coverage": "coverage_ceiling",
    "probe_accuracy": "probe_accuracy_ceiling",
}
GROUP_COLUMNS = (
    *COLUMNS[:1],
    ("fid_floor", "real vs real"),
    ("fid_excess", "excess"),
    ("mean_class_fid", "mean of classes"),
    ("mean_class_fid_floor", "real vs real, of classes"),
    *COLUMNS[2:],
)
SCALES = {"kid": 1000.0}  # what a value is multiplied by before it is shown


def title_of(name: str, label: str) -> str:
    """A number's title by its name, as in `few.fid`; `label` is what the Frechet distance is called."""
    titles = {key: title for key, title, _ in OVERALL} | {"gap": "gap of {label}, tail minus head"}
    group, dot, key = name.rpartition(".")
    title = titles[key].format(label=label, manifold=" (k-NN)")
    return f"{Group(group).caption} {title}" if dot else title


def record_tables(record: Record) -> list[Any]:
    """Rich renderables of a record's metrics."""
    dataset = record.dataset
    heading = (
        f"{record.method.title or record.method.name} on {dataset.name}, {record.samples.count:,} samples, "
        f"protocol {record.protocol.name}" + (f", seed {record.seed}" if record.seed is not None else "")
    )
    return metric_tables(
        record.metrics.model_dump(mode="json"),
        heading=heading,
        label=record.extractors["features"].label,
        class_names=dataset.class_names,
        class_counts=dataset.class_counts,
        manifold=record.protocol.recall_name.removeprefix("recall"),
    )


def metric_tables(
    metrics: Mapping[str, Any],
    *,
    heading: str,
    label: str,
    class_names: Sequence[str],
    class_counts: Sequence[int] | None,
    manifold: str = " (k-NN)",
) -> list[Any]:
    """Rich renderables: overall numbers, groups, classes, memorisation, and the reasons for what is missing.

    `metrics` has the keys of a record's `metrics`; `label` is what the Frechet distance is called; `manifold` stands
    behind precision and recall; without `class_counts` (training images) classes keep their order.
    """
    from rich.text import Text

    parts: list[Any] = [_overall(metrics, heading, label, manifold)]
    if metrics.get("groups"):
        parts.append(_groups(metrics["groups"], label))
    if any(value is not None for key, _ in COLUMNS for value in (metrics.get("per_class") or {}).get(key) or []):
        parts.append(_classes(metrics["per_class"], label, class_names, class_counts))
    if metrics.get("memorisation"):
        parts.append(_memorisation(metrics["memorisation"]))
    if metrics.get("recognition"):
        parts.append(_recognition(RecognitionPart.model_validate(metrics["recognition"])))
    parts += [Text(note) for note in _notes(metrics)]
    return parts


def _notes(metrics: Mapping[str, Any]) -> list[str]:
    """The notes, those with the same text together, and what a reader of the real-versus-real column should know."""
    names_of: dict[str, list[str]] = {}
    for name, reason in metrics["notes"].items():
        # what the means over a group's classes lack, the notes on the classes say
        if reason != "not asked for" and ".mean_class_" not in name:
            names_of.setdefault(reason, []).append(name)
    lines = []
    for reason, names in names_of.items():
        bases = [name for name in names if name.removesuffix("_std").removesuffix("_n") == name]
        shown = bases or names  # a deviation or a count has its reason from its value
        lines.append(f"{', '.join(shown)}: {reason}")
    if metrics["confidence"]:
        lines.append(f"interval: {MEANING}; the reference stands still")
    if metrics.get("recall_ceiling") is not None:
        lines.append(
            "perfect: of real images at these numbers; of precision, recall, F8 and F1/8 one half of the reference "
            "against the other, of the probe real images left out of its fit"
        )
    counts = {values["fid_n"] for values in (metrics.get("groups") or {}).values() if values.get("fid_n") is not None}
    if counts:
        lines.append(
            f"distances of groups: {counts.pop():,} samples against as many reference images in every group, so that "
            "a gap is not one of sizes; excess is what is left above real vs real"
        )
    per_class = metrics.get("per_class") or {}
    sizes = [
        int(n)
        for n, samples in zip(per_class.get("fid_floor_n") or [], per_class.get("n_generated") or [], strict=False)
        if n is not None and n < samples
    ]
    if sizes:
        low, high = min(sizes), max(sizes)
        count = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        lines.append(
            f"real vs real: two random halves of the reference, {count} images each. Fewer images give a larger "
            "distance, so this floor lies too high for the number of samples here"
        )
    return lines


def _overall(metrics: Mapping[str, Any], heading: str, label: str, manifold: str) -> Any:
    from rich.text import Text

    table = _table(heading)
    perfect = any(metrics.get(key) is not None for key in PERFECT.values())
    for column, justify in (
        ("metric", "left"),
        ("value", "right"),
        (_interval_title(metrics["confidence"]), "right"),
        *([("perfect", "right")] if perfect else []),
        ("better", "left"),
    ):
        table.add_column(column, justify=justify)
    for key, title, higher in OVERALL:
        value, reason = metrics.get(key), metrics["notes"].get(key)
        if value is None and (reason is None or reason == "not asked for"):
            continue
        deviation = metrics.get(f"{key}_std")
        scale = SCALES.get(key, 1.0)
        shown = number(value, scale)
        if value is not None and deviation is not None:
            shown += f" ± {number(deviation, scale)}"
        table.add_row(
            Text(title.format(label=label, manifold=manifold)),
            shown,
            interval(metrics["confidence"].get(key), scale),
            *([number(metrics.get(PERFECT[key])) if key in PERFECT else ""] if perfect else []),
            "higher" if higher else "lower",
        )
    return table


def _groups(groups: Mapping[str, Mapping[str, Any]], label: str) -> Any:
    from rich.text import Text

    table = _table("by group of classes")
    table.add_column("group")
    table.add_column("classes", justify="right")
    keys = [
        (key, title) for key, title in GROUP_COLUMNS if any(values.get(key) is not None for values in groups.values())
    ]
    for _, title in keys:
        table.add_column(Text(title.format(label=label)), justify="right")
    for name in Group:
        values = groups.get(name, {})
        table.add_row(
            name.caption,
            str(len(values.get("classes", []))),
            *(number(values.get(key), SCALES.get(key, 1.0)) for key, _ in keys),
        )
    return table


def _classes(
    per_class: Mapping[str, Sequence[Any]], label: str, class_names: Sequence[str], class_counts: Sequence[int] | None
) -> Any:
    from rich.text import Text

    table = _table("by class, head to tail" if class_counts else "by class")
    table.add_column("class")
    if class_counts:
        table.add_column("training images", justify="right")
    table.add_column("samples", justify="right")
    keys = [(key, t) for key, t in COLUMNS if any(value is not None for value in per_class.get(key) or [])]
    for _, title in keys:
        table.add_column(Text(title.format(label=label)), justify="right")
    order = list(range(len(class_names)))
    if class_counts:
        order.sort(key=lambda index: (-class_counts[index], index))
    shown = order if len(order) <= MAX_CLASS_ROWS else [*order[:10], *order[-10:]]
    for index in shown:
        if len(order) > MAX_CLASS_ROWS and index == order[-10]:
            table.add_row(f"... {len(order) - 20} more in the record")
        table.add_row(
            Text(class_names[index]),
            *([f"{class_counts[index]:,}"] if class_counts else []),
            f"{per_class['n_generated'][index]:,}",
            *(number(per_class[key][index], SCALES.get(key, 1.0)) for key, _ in keys),
        )
    return table


def _memorisation(memorisation: Mapping[str, Mapping[str, Any]]) -> Any:
    shares = [found.get("threshold_quantile") for found in memorisation.values()]
    expected = "" if shares[0] is None else f" (honest: about {percent(shares[0])})"
    table = _table("memorisation: samples suspiciously near to a training image")
    captions = (group.caption for group in Group)
    for column in ("distance in", f"share{expected}", *captions, "median distance", "of held-out images"):
        table.add_column(column, justify="left" if column == "distance in" else "right")
    for space, found in memorisation.items():
        medians = number(found.get("median_distance")), number(found.get("held_out_median_distance"))
        kinds: list[tuple[str, Mapping[str, Any] | None, tuple[str, str]]] = [
            (space, found, medians),
            ("  by class", found.get("by_class"), ("", "")),
            ("  relative, by class", found.get("by_neighbourhood"), ("", "")),
        ]
        for title, kind, ends in kinds:
            if kind is not None:
                groups = kind.get("groups") or {}
                row = percent(kind.get("fraction")), *(percent(groups.get(name)) for name in Group)
                table.add_row(title, *row, *ends)
    shares_of = [found["authentic_share"] for found in memorisation.values() if "authentic_share" in found]
    if shares_of:
        table.caption = (
            "by class: thresholds of their own; relative: in units of the training image's distance to the next one. "
            f"AuthPct {percent(shares_of[0])}"
        )
        table.caption_justify = "left"
    return table


def shown_gain(gain: Mapping[str, Any]) -> str:
    """A gain of `summarise` in points, with its interval."""
    if gain["mean"] is None:
        return "-"
    ends = "" if gain["low"] is None else f" ({100 * gain['low']:+.1f} … {100 * gain['high']:+.1f})"
    return f"{100 * gain['mean']:+.1f}{ends}"


def _recognition(part: RecognitionPart) -> Any:
    from ltgen_bench.evaluation.recognition.summary import summarise  # with torch, which no other table needs

    table = _table("recognition: top-1 on real images of classifiers trained on")
    places = ("all", *Group)
    for column in ("", "all", *(group.caption for group in Group)):
        table.add_column(column, justify="right" if column else "left")
    titles = {
        "real": f"{part.real_images:,} real images",
        "generated": "as many generated ones",
        "generated-balanced": "generated ones, a balanced set",
        "filled": f"real ones, filled up ({part.fill})",
    }
    for arm, title in titles.items():
        table.add_row(title, *(percent(part.accuracy(arm, str(place))) for place in places))
    gains = {gain["group"]: gain for gain in summarise([part.model_dump(mode="json")])["gain"]}
    table.add_row("filled minus real, points (95 % interval)", *(shown_gain(gains[str(place)]) for place in places))
    classifiers = len({row.seed for row in part.rows})
    lines = [
        f"{part.test_images:,} test images that nobody trained on; {part.recipe}, {part.steps:,} steps, last epoch, "
        f"mean of {classifiers} classifiers"
    ]
    lines += [f"{titles[arm]}: {count:,} samples too few" for arm, count in part.missing.items() if count]
    table.caption, table.caption_justify = "; ".join(lines), "left"
    return table


def _table(title: str) -> Any:
    from rich.table import Table
    from rich.text import Text

    return Table(title=Text(title), title_justify="left", title_style="bold")


def _interval_title(intervals: Mapping[str, Mapping[str, Any] | None]) -> str:
    levels = {found["level"] for found in intervals.values() if found is not None}
    return f"{100 * levels.pop():.4g} % interval" if len(levels) == 1 else "confidence interval"


def number(value: Any, scale: float = 1.0) -> str:
    """A number times `scale` with four significant digits; a dash for what was not computed.

    Below 1e-9 it is what rounding leaves of 0, as the distance of a set from itself, and shown as that.
    """
    if value is None:
        return "-"
    value = float(value) * scale
    size = abs(value)
    if 1e-9 <= size < 1e-3:
        return f"{value:.2e}"
    return f"{value:.{4 if size < 1 else 3 if size < 10 else 2 if size < 100 else 1}f}"


def percent(value: float | None) -> str:
    """A fraction in per cent."""
    return "-" if value is None else f"{100 * value:.1f} %"


def interval(value: Mapping[str, Any] | None, scale: float = 1.0) -> str:
    """An interval as `low … high`, times `scale`; empty when there is none."""
    return "" if value is None else f"{number(value['low'], scale)} … {number(value['high'], scale)}"
