"""A board as tables: Markdown, CSV and LaTeX (`booktabs`), through pandas and tabulate."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import tabulate as tabulate_module

from ltgen_bench.leaderboard import text
from ltgen_bench.leaderboard.collect import Board
from ltgen_bench.leaderboard.columns import FURTHER_COLUMNS, MAIN_COLUMNS, Column
from ltgen_bench.leaderboard.ranking import Row, baseline, best, rows, shown_decimals

MISSING = "–"
MANY_COPIES = 0.05  # of the samples; an honest model has about 0.01
GENERATED = "made by `ltgen-bench leaderboard build`; edit the records, not this file"


def board_markdown(board: Board, ordered: list[Row]) -> str:
    """The board's table in Markdown, links relative to `leaderboards/tables/`."""
    frame = _frame(board, ordered, bold=lambda cell: f"**{cell}**", escape=text.markdown)
    links, recipes = [], []
    for row in ordered:
        folder = f"../records/{board.dataset}/{row.entry.name}"
        links.append(" ".join(f"[{seed}]({folder}/{seed}.json)" for seed in row.entry.records))
        recipes.append(_recipe_link(board, row))
    frame["Records"], frame["Recipe"] = links, recipes
    return markdown_table(frame, left=("Method", "Status", "Records", "Recipe"))


def _recipe_link(board: Board, row: Row) -> str:
    if row.entry.submission.first.method.config is not None:
        return f"[recipe](recipes/{board.dataset}/{row.entry.name}.toml)"
    url = row.entry.submission.metadata.code_url
    return f"[code]({url})" if url else MISSING


def board_latex(board: Board, ordered: list[Row]) -> str:
    """The board's table as a LaTeX `tabular` with `booktabs` rules, to be `\\input` into a paper."""
    frame = _frame(board, ordered, bold=lambda cell: rf"\textbf{{{cell}}}", escape=text.latex)
    frame.columns = pd.Index([text.latex(column) for column in frame.columns])
    body = frame.to_latex(index=False, escape=False, column_format="rll" + "r" * (len(frame.columns) - 3))
    head = (
        f"% {board.dataset}, protocol {board.protocol} ({board.record.protocol_hash})\n"
        "% made by ltgen-bench leaderboard build; needs \\usepackage{booktabs}\n"
    )
    return head + body


def board_csv(board: Board, ordered: list[Row]) -> str:
    """The board's numbers without rounding for the eye: mean and standard deviation of every metric."""
    table: dict[str, list[object]] = {
        "rank": [row.rank for row in ordered],
        "submission": [row.entry.name for row in ordered],
        "method": [row.entry.method for row in ordered],
        "status": [row.entry.status for row in ordered],
        "verified_seeds": [len(row.entry.verifications) for row in ordered],
        "n": [row.entry.n for row in ordered],
    }
    for column in (*MAIN_COLUMNS, *FURTHER_COLUMNS):
        table[f"{column.key}.mean"] = [row.mean[column.key] for row in ordered]
        table[f"{column.key}.std"] = [row.std[column.key] for row in ordered]
    frame = pd.DataFrame(table).astype({"rank": "Int64"})
    # A spreadsheet would evaluate a cell that starts like a formula, and the text comes from a submitter.
    frame["method"] = [f"'{m}" if str(m).startswith(("=", "+", "-", "@")) else m for m in frame["method"]]
    result: str = frame.to_csv(index=False, float_format="%.8g", lineterminator="\n")
    return result


def differences_markdown(board: Board, ordered: list[Row]) -> str:
    """Every row's paired difference to the first that can have one; empty when no two rows pair."""
    first = baseline(ordered)
    if first is None or all(row.difference is None for row in ordered):
        return ""
    cells = []
    for row in ordered:
        gap = row.difference
        if row is first:
            continue
        if gap is None:
            why = "seeds do not pair" if row.entry.n > 1 else "one seed"
            cells.append((text.markdown(row.entry.method), MISSING, MISSING, why))
            continue
        cells.append(
            (
                text.markdown(row.entry.method),
                f"{gap.mean:+.3f} ± {gap.std:.3f}",
                f"{gap.interval.low:+.3f} … {gap.interval.high:+.3f}",
                "beyond noise" if gap.beyond_noise else "within noise",
            )
        )
    label = f"{board.fid_label} minus {first.entry.method}'s"
    frame = pd.DataFrame(cells, columns=["Method", label, "95 % interval", "Difference"])
    return markdown_table(frame, left=("Method", "Difference"))


def _frame(board: Board, ordered: list[Row], *, bold: object, escape: object) -> pd.DataFrame:
    """The cells as shown, without links."""
    assert callable(bold)
    assert callable(escape)
    table: dict[str, list[str]] = {
        "Rank": [MISSING if row.rank is None else str(row.rank) for row in ordered],
        "Method": [escape(row.entry.method) for row in ordered],
        "Status": [row.entry.status_text for row in ordered],
        "n": [str(row.entry.n) for row in ordered],
    }
    for column in MAIN_COLUMNS:
        cells = shown_cells(board, column, ordered)
        for index in best(column, cells, ordered):
            cells[index] = bold(cells[index])
        table[column.title.format(fid=board.fid_label)] = [
            cell.replace("±", r"$\pm$") if escape is text.latex else cell for cell in cells
        ]
    return pd.DataFrame(table)


def shown_cells(board: Board, column: Column, ordered: list[Row]) -> list[str]:
    """`mean ± standard deviation` for every row; a mean alone with one seed, a dash where nothing was computed."""
    decimals = shown_decimals(board, column, [row.mean[column.key] for row in ordered])
    cells = []
    for row in ordered:
        mean, std = row.mean[column.key], row.std[column.key]
        if mean is None:
            cells.append(MISSING)
        else:
            cells.append(f"{mean:.{decimals}f}" + ("" if std is None else f" ± {std:.{decimals}f}"))
    return cells


def markdown_table(frame: pd.DataFrame, left: tuple[str, ...]) -> str:
    """A frame of escaped strings as a Markdown table; the same bytes with and without tabulate's optional wcwidth."""
    shown = frame.set_axis([name if name in left else text.markdown(name) for name in frame.columns], axis=1)
    wide, tabulate_module.WIDE_CHARS_MODE = tabulate_module.WIDE_CHARS_MODE, False
    try:
        align = tuple("left" if name in left else "right" for name in frame.columns)
        table: str = shown.to_markdown(index=False, tablefmt="pipe", disable_numparse=True, colalign=align)
    finally:
        tabulate_module.WIDE_CHARS_MODE = wide
    return table


def board_files(board: Board, published: str) -> dict[Path, str]:
    """The three files of a board, by their path in `tables/`; `published` is the section of reported numbers."""
    ordered = rows(board)
    return {
        Path(f"{board.slug}.md"): board_page(board, ordered, published),
        Path(f"{board.slug}.csv"): board_csv(board, ordered),
        Path(f"{board.slug}.tex"): board_latex(board, ordered),
    }


def board_page(board: Board, ordered: list[Row], published: str) -> str:
    """The Markdown page of a board."""
    record = board.record
    dataset, protocol = record.dataset, record.protocol
    counts = dataset.class_counts
    unranked = [row for row in ordered if row.rank is None]
    parts = [
        f"# {text.markdown(board.dataset)}, protocol {text.markdown(board.protocol)}",
        f"<!-- {GENERATED} -->",
        (
            f"{dataset.total:,} training images in {len(counts)} classes, {max(counts):,} … {min(counts):,} a class; "
            f"reference {text.markdown(dataset.reference.name)} with {sum(dataset.reference.class_counts):,} images. "
            f"{protocol.samples:,} samples, features {text.markdown(protocol.extractor)}, "
            f"manifolds {text.markdown(protocol.manifold_extractor)} with k = {protocol.neighbours}. "
            f"Protocol hash `{record.protocol_hash}`."
        ),
        board_markdown(board, ordered),
        (
            "Mean ± standard deviation over n seeds. "
            f"Lower is better where a column says {text.markdown(board.fid_label)}, higher in all others. "
            f"Ranked by mean {text.markdown(board.fid_label)}; **bold**: best among ranked rows. "
            + (
                "Rows without a rank are not verified, have fewer than three seeds, or are unconditional. "
                if unranked
                else ""
            )
            + f"[How to read this](../README.md). The same as [CSV]({board.slug}.csv) and [LaTeX]({board.slug}.tex)."
        ),
    ]
    if differences := differences_markdown(board, ordered):
        parts += [
            "## How sure is the order?",
            differences,
            (
                "Paired over equal seeds, Student's t; not corrected for the number of rows. "
                "*Within noise*: other seeds could turn the order round."
            ),
        ]
    parts += ["## The methods", "\n".join(_about(row) for row in ordered)]
    if published:
        parts += [published]
    return "\n\n".join(parts) + "\n"


def suspected_copies(row: Row) -> str:
    """A sentence where far more samples than an honest model's lie suspiciously near to a training image, else ''."""
    shares = [row.mean[f"memorisation.{space}.fraction"] for space in ("features", "pixels")]
    most = max((share for share in shares if share is not None), default=0.0)
    return f"{most:.0%} of the samples are suspected copies of training images" if most > MANY_COPIES else ""


def _about(row: Row) -> str:
    metadata = row.entry.submission.metadata
    facts = [text.markdown(metadata.paper)] if metadata.paper else []
    facts += [f"[paper]({metadata.paper_url})"] if metadata.paper_url else []
    facts += [f"[code]({metadata.code_url})"] if metadata.code_url else []
    facts += [f"handed in by {text.markdown(metadata.submitter)}"] if metadata.submitter else []
    facts += [text.markdown(metadata.note)] if metadata.note else []
    facts += [f"**{copies}**"] if (copies := suspected_copies(row)) else []
    return f"* **{text.markdown(metadata.method)}**: {'; '.join(facts) or 'no paper named'}"
