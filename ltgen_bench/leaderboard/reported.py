"""Published numbers as Markdown: their own section, the sources side by side, never ranked."""

from __future__ import annotations

import pandas as pd

from ltgen_bench.leaderboard.markdown import markdown_table
from ltgen_bench.leaderboard.published import Publication, PublishedRow
from ltgen_bench.leaderboard.tables import GENERATED, MISSING
from ltgen_bench.leaderboard.text import markdown

TITLES = {
    "fid": "FID",
    "inception_score": "IS",
    "f8": "F8",
    "recall": "Recall",
    "f1_8": "F1/8",
    "precision": "Precision",
}
HEADING = "Reported by the authors, not reproduced here"


def columns_of(rows: list[PublishedRow]) -> list[tuple[str, str]]:
    """(metric, source key) pairs in the order of metrics, the sources of one metric side by side."""
    sources = list(dict.fromkeys(row.source.key for row in rows))
    present = {(key, row.source.key) for row in rows for key in row.values}
    return [(key, source) for key in TITLES for source in sources if (key, source) in present]


def cells_of(rows: list[PublishedRow]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of one data set's published numbers: a row a method, sources side by side."""
    columns = columns_of(rows)
    numbers = {(row.method, key, row.source.key): value for row in rows for key, value in row.values.items()}
    recalls = {row.source.key: row.recall for row in rows if row.recall is not None}
    titles = {**TITLES, "recall": None}
    header = ["Method", *(f"{titles[key] or recalls[source]} ({source})" for key, source in columns)]
    body = []
    for method in dict.fromkeys(row.method for row in rows):
        values = [numbers.get((method, key, source)) for key, source in columns]
        body.append([method, *(MISSING if value is None else f"{value:.2f}" for value in values)])
    return header, body


def conflicts(rows: list[PublishedRow]) -> list[str]:
    """One line for every number that two sources report differently."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        for key, value in row.values.items():
            found.setdefault((row.method, key), {})[row.source.key] = value
    lines = []
    for (method, key), by_source in found.items():
        if len(set(by_source.values())) > 1:
            values = ", ".join(f"{value:.2f} in {source}" for source, value in by_source.items())
            lines.append(f"{TITLES[key]} of {method}: {values}")
    return lines


def origins(rows: list[PublishedRow]) -> list[str]:
    """The sources of some rows in words, each once."""
    tables: dict[str, tuple[PublishedRow, set[int]]] = {}
    for row in rows:
        tables.setdefault(row.source.key, (row, set()))[1].update(row.tables)
    return [
        f"{key}: {row.model_copy(update={'tables': tuple(sorted(numbers))}).origin}"
        for key, (row, numbers) in tables.items()
    ]


def reported_section(rows: list[PublishedRow], level: str = "##") -> str:
    """The section of one data set, empty when nothing is published."""
    if not rows:
        return ""
    header, body = cells_of(rows)
    frame = pd.DataFrame([[markdown(cell) for cell in line] for line in body], columns=header)
    parts = [f"{level} {HEADING}", f"{markdown(rows[0].dataset_title)}. {markdown('; '.join(origins(rows)))}."]
    parts.append(markdown_table(frame, left=("Method",)))
    if disagreements := conflicts(rows):
        parts.append("The sources disagree: " + markdown("; ".join(disagreements)) + ".")
    parts.append("Not ranked with our own runs: the protocols differ or are not stated ([published](published.md)).")
    return "\n\n".join(parts)


def published_page(publications: list[Publication], rows: list[PublishedRow]) -> str:
    """`published.md`: every published number by data set, and what each source says of its protocol."""
    parts = [f"# {HEADING}", f"<!-- {GENERATED} -->"]
    for dataset in dict.fromkeys(row.dataset for row in rows):
        chosen = [row for row in rows if row.dataset == dataset]
        header, body = cells_of(chosen)
        frame = pd.DataFrame([[markdown(cell) for cell in line] for line in body], columns=header)
        parts += [f"## {markdown(chosen[0].dataset_title)}", markdown_table(frame, left=("Method",))]
        if disagreements := conflicts(chosen):
            parts.append("The sources disagree: " + markdown("; ".join(disagreements)) + ".")
        parts.append(f"{markdown('; '.join(origins(chosen)))}.")
    parts.append("## What the sources say of their protocols")
    for publication in publications:
        hand = " (quoted second hand)" if publication.source.second_hand else ""
        parts.append(f"### {markdown(publication.source.title)}{hand}")
        for title, lines in (("Stated", publication.protocol.stated), ("Unstated", publication.protocol.unstated)):
            if lines:
                parts.append(f"{title}:\n\n" + "\n".join(f"* {markdown(line)}" for line in lines))
    return "\n\n".join(parts) + "\n"
