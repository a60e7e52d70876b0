"""What the site's templates show, as plain values: everything that a page needs and nothing to compute in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from markupsafe import Markup

from ltgen_bench.core.choices import Group
from ltgen_bench.evaluation.record import Record
from ltgen_bench.evaluation.report.tables import number
from ltgen_bench.leaderboard.build import recipe_toml
from ltgen_bench.leaderboard.collect import Board, Entry
from ltgen_bench.leaderboard.columns import FURTHER_COLUMNS, MAIN_COLUMNS, Column, shown_columns
from ltgen_bench.leaderboard.how import in_words, row_made
from ltgen_bench.leaderboard.published import PublishedRow
from ltgen_bench.leaderboard.ranking import Row, baseline, best, rows, shown_decimals
from ltgen_bench.leaderboard.reported import cells_of, conflicts, origins
from ltgen_bench.leaderboard.site.charts import (
    MAX_SERIES,
    Series,
    class_bars,
    class_chart,
    head_tail_chart,
)
from ltgen_bench.leaderboard.site.curve_charts import guidance_charts
from ltgen_bench.leaderboard.site.separation_charts import separation_charts
from ltgen_bench.leaderboard.submission.levels import level_of
from ltgen_bench.leaderboard.tables import is_beaten, more_seeds, shown_cell, shown_cells, shown_rank, suspected_copies

_BY_KEY = {column.key: column for column in (*MAIN_COLUMNS, *FURTHER_COLUMNS)}
# Column groups of the table on the page: a heading over some columns.
_COPIES = "memorisation.features.fraction"
LAYOUT = (
    (
        "All classes",
        (
            *("fid", "label_accuracy", "probe_accuracy", "coverage", "precision", "recall", "f1_8", "f8"),
            *("inception_score", _COPIES, "copying_gain", "papers_fid"),
        ),
    ),
    (
        "Tail",
        ("groups.few.fid", "gap", "groups.few.label_accuracy", "groups.few.probe_accuracy", "groups.few.recall"),
    ),
    ("Medium", ("groups.medium.fid", "groups.medium.recall")),
    ("Head", ("groups.many.fid", "groups.many.recall")),
)
MISSING_LAST = {True: "-999999999", False: "999999999"}  # what sorts a missing value behind all others


@dataclass
class Cell:
    """A cell: what is shown, what it sorts by, whether it is the best of its column."""

    text: str
    sort: str
    best: bool = False


@dataclass
class PageRow:
    """A row of a board's table."""

    row: Row
    cells: list[Cell] = field(default_factory=list)
    rank: str = ""
    beaten: bool = False
    difference: str = ""
    copies: str = ""
    how: str = ""

    @property
    def entry(self) -> Entry:
        """The submission behind it."""
        return self.row.entry


def board_context(board: Board) -> dict[str, Any]:
    """One data set under one protocol."""
    ordered = rows(board)
    first = baseline(ordered)
    page_rows = [
        PageRow(
            row,
            rank=shown_rank(row),
            beaten=is_beaten(board, row),
            difference=_difference(board, row, first),
            copies=suspected_copies(row),
            how=in_words(row_made(row.entry)),
        )
        for row in ordered
    ]
    headings: list[dict[str, Any]] = []
    layout = [
        (
            heading,
            shown_columns(
                tuple(_BY_KEY[key] for key in keys), lambda key: any(row.mean[key] is not None for row in ordered)
            ),
        )
        for heading, keys in LAYOUT
    ]
    for heading, columns in layout:
        headings.append({"title": heading, "columns": [_column(board, column, heading) for column in columns]})
        for column in columns:
            shown = shown_cells(board, column, ordered)
            winners = best(column, shown, ordered)
            for index, page_row in enumerate(page_rows):
                mean = ordered[index].mean[column.key]
                sort = MISSING_LAST[column.higher_is_better] if mean is None else f"{mean:.8f}"
                page_row.cells.append(Cell(shown[index], sort, index in winners))
    dataset = board.record.dataset
    references = []
    for reference in board.references:
        cells = []
        for column in (column for _, columns in layout for column in columns):
            decimals = shown_decimals(board, column, [row.mean[column.key] for row in ordered])
            mean = reference.mean(column.key)
            sort = MISSING_LAST[column.higher_is_better] if mean is None else f"{mean:.8f}"
            cells.append(Cell(shown_cell(mean, reference.std(column.key), column, decimals), sort))
        references.append({"title": reference.title, "how": reference.how, "n": len(reference.draws), "cells": cells})
    return {
        "board": board,
        "references": references,
        "dataset": dataset,
        "protocol": board.record.protocol,
        "headings": headings,
        "rows": page_rows,
        "unranked": any(row.rank is None for row in ordered),
        "charts": _board_charts(board, ordered) + guidance_charts(board, ordered),
        "title": f"{board.dataset}, {board.protocol}",
    }


def _column(board: Board, column: Column, heading: str) -> dict[str, Any]:
    """A column's heading: short below a group's heading, whole in its tooltip."""
    label = column.title.format(fid=board.fid_label)
    short = column.title.format(fid=board.fid_label.split("[")[0]) if heading in column.title else label
    short = short.removeprefix(f"{heading} ")
    return {
        "title": short[:1].upper() + short[1:],
        "label": f"{label}, {'higher' if column.higher_is_better else 'lower'} is better",
        "higher": column.higher_is_better,
    }


def _difference(board: Board, row: Row, first: Row | None) -> str:
    if row.difference is None or first is None:
        return ""
    gap = row.difference
    words = "beyond noise" if gap.beyond_noise else f"within noise ({more_seeds(gap, row.entry.n)} more seeds needed)"
    return (
        f"{board.fid_label} {gap.mean:+.2f} to {first.entry.method}, simultaneous 95 % interval {gap.low:+.2f} to "
        f"{gap.high:+.2f}: {words}"
    )


def head_to_tail(record: Record) -> list[int]:
    """Class indices from the largest to the smallest class."""
    counts = record.dataset.class_counts
    return sorted(range(len(counts)), key=lambda index: (-counts[index], index))


def _board_charts(board: Board, ordered: list[Row]) -> list[tuple[str, Markup]]:
    order = head_to_tail(board.record)
    names = [board.record.dataset.class_names[index] for index in order]
    counts = [board.record.dataset.class_counts[index] for index in order]
    charts = []
    for key, title in (("fid", f"{board.fid_label} (lower is better)"), ("recall", "recall (higher is better)")):
        heading = f"Head to tail: {title}"
        lines = [(row.entry.method, {g: row.mean.get(f"groups.{g}.{key}") for g in Group}) for row in ordered]
        charts.append((heading, head_tail_chart(heading, lines)))
        limit = f", the first {MAX_SERIES} rows" if len(ordered) > MAX_SERIES else ""
        heading = f"By class: {title}{limit}"
        series = [Series(row.entry.method, [_class_mean(row.entry, key, index) for index in order]) for row in ordered]
        charts.append((heading, class_chart(heading, series, names, counts)))
    return [(heading, chart) for heading, chart in charts if chart]


def _class_mean(entry: Entry, key: str, index: int) -> float | None:
    """A class's value as the mean over seeds; None unless every seed has it."""
    values = [r.metrics.per_class.lists.get(key, [])[index : index + 1] for r in entry.records.values()]
    present = [value[0] for value in values if value and value[0] is not None]
    return fmean(present) if len(present) == entry.n else None


def published_context(published: list[PublishedRow]) -> list[dict[str, Any]]:
    """Every data set's published numbers, the sources side by side."""
    sections = []
    for dataset in dict.fromkeys(row.dataset for row in published):
        chosen = [row for row in published if row.dataset == dataset]
        header, body = cells_of(chosen)
        sections.append(
            {
                "dataset": dataset,
                "title": chosen[0].dataset_title,
                "header": header,
                "body": body,
                "conflicts": conflicts(chosen),
                "origins": origins(chosen),
            }
        )
    return sections


_OVERALL = tuple(column for column in (*MAIN_COLUMNS, *FURTHER_COLUMNS) if not column.key.startswith("groups."))


def record_context(board: Board, entry: Entry, seed: int) -> dict[str, Any]:
    """One record: its numbers, its charts, where it comes from, and its configuration."""
    record = entry.records[seed]
    metrics = record.metrics
    overall = []
    for column in shown_columns(_OVERALL, lambda key: metrics.number(key) is not None):
        interval = metrics.confidence.get(column.key)
        title = column.title.format(fid=board.fid_label)
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        shown = "" if interval is None else f"{number(low, column.scale)} … {number(high, column.scale)}"
        value = number(metrics.number(column.key), column.scale)
        overall.append((title, value, shown, "higher" if column.higher_is_better else "lower"))
    group_keys = ("fid", "recall", "precision", "density", "coverage", "label_accuracy", "mean_class_fid")
    groups = []
    for group in Group:
        part = metrics.groups.get(group)
        extra = {} if part is None else part.numbers
        size = 0 if part is None else len(part.classes)
        groups.append((group.position, size, [number(extra.get(key)) for key in group_keys]))
    return {
        "board": board,
        "entry": entry,
        "seed": seed,
        "record": record,
        "overall": overall,
        "group_titles": [key.replace("_", " ").replace("fid", board.fid_label) for key in group_keys],
        "groups": groups,
        "classes": class_table(board, record),
        "charts": record_charts(board, record),
        "separation": separation_charts(board),
        "recipe": recipe_toml(entry),
        "verification": (own := entry.verifications.get(seed)),
        "level": level_of({} if own is None else {seed: own}, 1),
        "provenance": provenance(record),
    }


CLASS_KEYS = ("fid", "fid_floor", "precision", "recall", "label_accuracy")


def class_table(board: Board, record: Record) -> dict[str, Any]:
    """The numbers of every class, head to tail, for those who do not see the charts."""
    lists = record.metrics.per_class.lists
    keys = [key for key in CLASS_KEYS if any(value is not None for value in lists.get(key, []))]
    titles = {"fid": board.fid_label, "fid_floor": "real against real"}
    body = [
        (
            record.dataset.class_names[index],
            f"{record.dataset.class_counts[index]:,}",
            f"{record.metrics.per_class.n_generated[index]:,}",
            *(number(lists[key][index]) for key in keys),
        )
        for index in head_to_tail(record)
    ]
    return {"header": [titles.get(key, key.replace("_", " ")) for key in keys], "body": body}


def record_charts(board: Board, record: Record) -> list[tuple[str, Markup]]:
    """Bars by class, head to tail."""
    order = head_to_tail(record)
    dataset, lists = record.dataset, record.metrics.per_class.lists
    group_of = {index: group for group, members in dataset.groups.items() for index in members}
    charts = []
    for key, title in (
        ("fid", f"{board.fid_label} by class (lower is better; line: real against real)"),
        ("recall", "Recall by class (higher is better)"),
        ("label_accuracy", "Label accuracy by class (higher is better)"),
    ):
        if key not in lists:
            continue
        floor = lists.get("fid_floor") if key == "fid" else None
        chart = class_bars(
            title,
            [lists[key][index] for index in order],
            [dataset.class_names[index] for index in order],
            [dataset.class_counts[index] for index in order],
            [group_of[index] for index in order],
            None if floor is None else [floor[index] for index in order],
        )
        charts.append((title, chart))
    return [(title, chart) for title, chart in charts if chart]


def provenance(record: Record) -> list[tuple[str, str]]:
    """Where a record comes from, as (what, value) pairs."""
    code, environment, timing = record.code, record.environment, record.timing
    packages = ", ".join(f"{name} {version}" for name, version in sorted(environment.packages.items()))
    state = {True: ", as committed", False: ", with changes", None: ""}[code.clean]
    pairs: list[tuple[str, Any]] = [
        ("measured", timing.created),
        ("code", f"ltgen-bench {code.version}, commit {code.commit or 'unknown (installed package)'}{state}"),
        *(
            [("plug-in", f"{record.method.plugin or 'a file'}, sha256 {record.method.code_sha256}")]
            if record.method.code_sha256
            else []
        ),
        ("machine", f"{environment.platform}; {environment.device}; {environment.threads} threads"),
        ("packages", f"Python {environment.python}, {packages}"),
        ("protocol", f"{record.protocol.name} ({record.protocol_hash})"),
        ("training set", f"{record.dataset.name}, {record.dataset.total:,} images ({record.dataset.fingerprint})"),
        ("reference", f"{record.dataset.reference.name} ({record.dataset.reference.fingerprint})"),
        ("samples", f"{record.samples.count:,} images ({record.samples.sha256})"),
    ]
    pairs += [
        (f"{role} network", f"{extractor.name}, {extractor.dim} features ({extractor.weights_sha256})")
        for role, extractor in record.extractors.items()
    ]
    parameters = record.method.facts.get("network_parameters")
    if isinstance(parameters, int):
        pairs.append(("parameters", f"{parameters:,}"))
    if record.training is not None:
        pairs.append(("training", f"{record.training.steps:,} steps, {record.training.images_seen:,} images seen"))
    if record.samples.network_evaluations is not None:
        pairs.append(("sampling", f"{record.samples.network_evaluations:,} network evaluations an image"))
    times = (("training", timing.training_seconds), ("sampling", timing.sampling_seconds))
    known = [f"{name} {seconds:,.0f} s" for name, seconds in times if seconds is not None]
    if known:
        pairs.append(("time", ", ".join(known)))
    return pairs
