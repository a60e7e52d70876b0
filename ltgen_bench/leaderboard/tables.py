"""A board as tables: Markdown, CSV and LaTeX (`booktabs`), through pandas and tabulate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pandas as pd

from ltgen_bench.leaderboard import text
from ltgen_bench.leaderboard.collect import Board
from ltgen_bench.leaderboard.columns import (
    FURTHER_COLUMNS,
    MAIN_COLUMNS,
    PAPER_COLUMNS,
    RANKED_BY,
    Column,
    columns_called,
    shown_columns,
)
from ltgen_bench.leaderboard.comparison import MOST_SEEDS_ASKED, Difference
from ltgen_bench.leaderboard.guidance import guidance_section
from ltgen_bench.leaderboard.how import in_words, row_made
from ltgen_bench.leaderboard.markdown import markdown_table
from ltgen_bench.leaderboard.ranking import Row, baseline, best, rows, shown_decimals
from ltgen_bench.leaderboard.reference_rows import MEMORISER, reference_rows_path
from ltgen_bench.methods import METHODS

MISSING = "–"
MARK = "†"
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
    if board.references:
        file = reference_rows_path(Path("..") / "..", board.dataset, board.protocol)
        links += [f"[measured]({file.relative_to('..')})"] * len(board.references)
        recipes += [MISSING] * len(board.references)
    frame["Records"], frame["Recipe"] = links, recipes
    return markdown_table(frame, left=("Method", "Status", "How", "Records", "Recipe"))


def _recipe_link(board: Board, row: Row) -> str:
    if row.entry.submission.first.method.config is not None:
        return f"[recipe](recipes/{board.dataset}/{row.entry.name}.toml)"
    url = row.entry.submission.metadata.code_url
    return f"[code]({url})" if url else MISSING


def board_latex(board: Board, ordered: list[Row], columns: Sequence[str] = PAPER_COLUMNS) -> str:
    """The board's table as a LaTeX `tabular` with `booktabs` rules, to be `\\input` into a paper."""
    frame = _chosen(_frame(board, ordered, bold=lambda cell: rf"\textbf{{{cell}}}", escape=text.latex, columns=columns))
    frame.columns = pd.Index([text.latex(column) for column in frame.columns])
    body = frame.to_latex(index=False, escape=False, column_format="rl" + "r" * (len(frame.columns) - 2))
    head = (
        f"% {board.dataset}, protocol {board.protocol} ({board.record.protocol_hash})\n"
        "% made by ltgen-bench; needs \\usepackage{booktabs}. Mean $\\pm$ standard deviation over n seeds.\n"
        f"% other columns: ltgen-bench leaderboard table {board.dataset} --protocol {board.protocol} --columns ...\n"
    )
    return head + body


def chosen_markdown(board: Board, ordered: list[Row], columns: Sequence[str]) -> str:
    """The board's table in Markdown with these columns only."""
    frame = _frame(board, ordered, bold=lambda cell: f"**{cell}**", escape=text.markdown, columns=columns)
    return markdown_table(_chosen(frame), left=("Method",)) + "\n"


def _chosen(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=["Status", "How"])


def board_csv(board: Board, ordered: list[Row]) -> str:
    """The board's numbers without rounding for the eye: mean, standard deviation and interval over seeds."""
    table: dict[str, list[object]] = {
        "dataset": [board.dataset] * len(ordered),
        "protocol": [board.protocol] * len(ordered),
        "protocol_hash": [board.record.protocol_hash] * len(ordered),
        "extractor": [board.record.protocol.extractor] * len(ordered),
        "reference": [board.record.dataset.reference.name] * len(ordered),
        "rank": [row.rank for row in ordered],
        "best_rank": [row.rank_range and row.rank_range[0] for row in ordered],
        "worst_rank": [row.rank_range and row.rank_range[1] for row in ordered],
        "submission": [row.entry.name for row in ordered],
        "method": [row.entry.method for row in ordered],
        "level": [row.entry.level for row in ordered],
        "remeasured_seeds": [len(row.entry.verifications) for row in ordered],
        "resampled_seeds": [sum(bool(one.redrawn_rows) for one in row.entry.verifications.values()) for row in ordered],
        "checked_by": [row.entry.checked_by for row in ordered],
        "checked": [max((one.verified for one in row.entry.verifications.values()), default="") for row in ordered],
        "checked_with": [row.entry.checked_with for row in ordered],
        "n": [row.entry.n for row in ordered],
        "fidelity": [fidelity(row) for row in ordered],
    }
    columns = _present((*MAIN_COLUMNS, *FURTHER_COLUMNS), ordered)
    for column in columns:
        table[f"{column.key}.mean"] = [row.mean[column.key] for row in ordered]
        table[f"{column.key}.std"] = [row.std[column.key] for row in ordered]
        for end, value in zip(("low", "high"), seed_intervals(ordered, column.key), strict=True):
            table[f"{column.key}.{end}"] = list(value)
    rows_added: list[dict[str, object]] = []
    made = [row_made(row.entry) for row in ordered]
    for key in made[0]:
        table[f"how.{key}"] = [one[key] for one in made]
    frame = pd.DataFrame(table).astype({"rank": "Int64", "best_rank": "Int64", "worst_rank": "Int64"})
    for reference in board.references:
        numbers: dict[str, object] = {
            "dataset": board.dataset,
            "protocol": board.protocol,
            "protocol_hash": board.record.protocol_hash,
            "extractor": board.record.protocol.extractor,
            "reference": board.record.dataset.reference.name,
            "method": reference.title,
            "level": "reference",
            "n": len(reference.draws),
        }
        for column in columns:
            numbers |= {
                f"{column.key}.mean": reference.mean(column.key),
                f"{column.key}.std": reference.std(column.key),
            }
        rows_added.append(numbers)
    if rows_added:
        added = pd.DataFrame(rows_added, columns=frame.columns).astype(frame.dtypes.to_dict(), errors="ignore")
        frame = pd.concat([frame, added], ignore_index=True)
    frame["method"] = [text.csv(str(method)) for method in frame["method"]]  # it comes from a submitter
    result: str = frame.to_csv(index=False, float_format="%.8g", lineterminator="\n")
    return result


def differences_markdown(board: Board, ordered: list[Row]) -> str:
    """Every row's difference to the first ranked one; empty where no two rows have one."""
    first = baseline(ordered)
    if first is None or all(row.difference is None for row in ordered):
        return ""
    cells = []
    for row in ordered:
        if row is first:
            continue
        name, gap = text.markdown(row.entry.method), row.difference
        if gap is None:
            cells.append((name, MISSING, MISSING, "no noise could be measured", MISSING))
            continue
        words = "beyond noise" if gap.beyond_noise else "within noise"
        words += "" if gap.paired else ", seeds do not pair"
        more = more_seeds(gap, row.entry.n)
        cells.append((name, f"{gap.mean:+.2f}", f"{gap.low:+.2f} … {gap.high:+.2f}", words, more))
    label = f"{board.fid_label} minus {first.entry.method}'s"
    columns = ["Method", label, "95 % interval, all pairs at once", "Difference", "More seeds to tell them apart"]
    return markdown_table(pd.DataFrame(cells, columns=columns), left=("Method", "Difference"))


def controls_markdown(board: Board, ordered: list[Row]) -> str:
    """Every method's gap beside its gap on the balanced set of the tail's size; empty where nobody ran that."""
    controls = {entry.method.casefold(): entry for entry in board.controls}
    cells = []
    for row in ordered:
        control, gap = controls.get(row.entry.method.casefold()), row.mean["gap"]
        values = [] if control is None else [value for value in control.values("gap") if value is not None]
        if control is None or gap is None or not values:
            continue
        balanced = fmean(values)
        name = text.markdown(row.entry.method)
        cells.append((name, f"{gap:+.2f}", f"{balanced:+.2f}", f"{gap - balanced:+.2f}", str(len(values))))
    columns = ["Method", "Gap", "Gap, balanced control", "What rarity adds", "Seeds of the control"]
    return markdown_table(pd.DataFrame(cells, columns=columns), left=("Method",)) if cells else ""


def seed_intervals(ordered: list[Row], key: str) -> tuple[list[float | None], list[float | None]]:
    """The ends of every row's 95 % interval of the mean over training seeds (Student's t); None with one seed.

    It says how far the mean would move with other seeds, one row at a time; which rows differ, `compare_all` says.
    """
    from scipy.stats import t

    ends: tuple[list[float | None], list[float | None]] = ([], [])
    for row in ordered:
        mean, std, n = row.mean[key], row.std[key], row.entry.n
        reach = None if mean is None or std is None else float(t.ppf(0.975, n - 1)) * std / n**0.5
        for side, sign in zip(ends, (-1, 1), strict=True):
            side.append(None if mean is None or reach is None else mean + sign * reach)
    return ends


def more_seeds(gap: Difference, seeds: int) -> str:
    """How many more seeds of each row would put a difference of this size beyond noise."""
    if gap.beyond_noise:
        return MISSING
    return f"over {MOST_SEEDS_ASKED}" if gap.seeds_needed is None else str(max(1, gap.seeds_needed - seeds))


def shown_rank(row: Row) -> str:
    """The rank, or the ranks that noise leaves open, as in `1–4`."""
    if row.rank is None or row.rank_range is None:
        return MISSING
    best_rank, worst_rank = row.rank_range
    return str(best_rank) if best_rank == worst_rank else f"{best_rank}–{worst_rank}"


def _frame(
    board: Board, ordered: list[Row], *, bold: object, escape: object, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """The cells as shown, without links; `columns` are keys, None for all."""
    assert callable(bold)
    assert callable(escape)
    table: dict[str, list[str]] = {
        "Rank": [escape(shown_rank(row)) for row in ordered] + [MISSING] * len(board.references),
        "Method": [escape(row.entry.method + (f" {MARK}" if is_beaten(board, row) else "")) for row in ordered]
        + [escape(reference.title) for reference in board.references],
        "Status": [escape(row.entry.status_text) for row in ordered] + ["reference"] * len(board.references),
        "n": [str(row.entry.n) for row in ordered] + [str(len(reference.draws)) for reference in board.references],
    }
    for column in _present(MAIN_COLUMNS if columns is None else columns_called(columns), ordered):
        cells = shown_cells(board, column, ordered)
        for index in best(column, cells, ordered):
            cells[index] = bold(cells[index])
        decimals = shown_decimals(board, column, [row.mean[column.key] for row in ordered])
        cells += [
            shown_cell(reference.mean(column.key), reference.std(column.key), column, decimals)
            for reference in board.references
        ]
        table[column.named(board.fid_label)] = [
            cell.replace("±", r"$\pm$") if escape is text.latex else cell for cell in cells
        ]
    table["How"] = [escape(in_words(row_made(row.entry))) for row in ordered]
    table["How"] += [escape(reference.how) for reference in board.references]
    return pd.DataFrame(table)


def _present(columns: tuple[Column, ...], ordered: list[Row]) -> tuple[Column, ...]:
    return shown_columns(columns, lambda key: any(row.mean[key] is not None for row in ordered))


def shown_cells(board: Board, column: Column, ordered: list[Row]) -> list[str]:
    """`mean ± standard deviation` for every row; a mean alone with one seed, a dash where nothing was computed."""
    decimals = shown_decimals(board, column, [row.mean[column.key] for row in ordered])
    return [shown_cell(row.mean[column.key], row.std[column.key], column, decimals) for row in ordered]


def shown_cell(mean: float | None, std: float | None, column: Column, decimals: int) -> str:
    """One cell as shown: a mean, and its standard deviation where there is one."""
    if mean is None:
        return MISSING
    shown = f"{mean * column.scale:.{decimals}f}"
    return shown if std is None else f"{shown} ± {std * column.scale:.{decimals}f}"


def is_beaten(board: Board, row: Row) -> bool:
    """Whether copies of the training set are as near to the reference as the row's samples are."""
    memoriser = next((one.mean(RANKED_BY) for one in board.references if one.kind == MEMORISER), None)
    mean = row.mean[RANKED_BY]
    return memoriser is not None and mean is not None and mean >= memoriser


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
    parts = [
        f"# {text.markdown(board.dataset)}, protocol {text.markdown(board.protocol)}",
        f"<!-- {GENERATED} -->",
        (
            f"{dataset.total:,} training images in {len(counts)} classes, {max(counts):,} … {min(counts):,} a class; "
            f"reference {text.markdown(dataset.reference.name)} with {sum(dataset.reference.class_counts):,} images. "
            f"{protocol.samples:,} samples, features {text.markdown(protocol.extractor)}, "
            f"manifolds {text.markdown(protocol.manifold_extractor)} with k = {protocol.neighbours}: "
            f"its recall is {text.markdown(protocol.recall_name)}. "
            f"Protocol hash `{record.protocol_hash}`."
        ),
        *_one_scale(board),
        board_markdown(board, ordered),
        _legend(board, ordered),
    ]
    if differences := differences_markdown(board, ordered):
        parts += [
            "## How sure is the order?",
            differences,
            (
                "All pairs of ranked rows are compared at once (Tukey's range on the logarithm of the distance, noise "
                "measured on all rows together, what equal seeds share taken out where seeds pair): of equal methods "
                "of equal noise, some pair is called different in at most 5 % of such boards. "
                "*Within noise*: other seeds could turn the order round."
            ),
        ]
    parts += _control_section(board, ordered)
    parts += guidance_section(board, ordered)
    parts += ["## The methods", "\n".join(_about(row) for row in ordered)]
    if published:
        parts += [published]
    return "\n\n".join(parts) + "\n"


def _one_scale(board: Board) -> list[str]:
    """What a reader of a table without a choice of guidance has to know first."""
    if board.record.protocol.selects_guidance:
        return []
    return [
        "**Methods stand at one fixed scale of guidance or at their papers' scales** (How), which favours whoever is "
        "at its best there. Protocols of version 2 choose the scale for every method by one rule."
    ]


def _legend(board: Board, ordered: list[Row]) -> str:
    unranked = any(row.rank is None for row in ordered)
    return (
        "Mean ± standard deviation over n seeds. "
        f"↓: lower is better, ↑: higher is better. Ordered by mean {text.markdown(board.fid_label)}; a rank like "
        "1–4 says that the noise of the seeds leaves these ranks open. **Bold**: best among ranked rows, in the "
        "columns whose numbers mean better on their own. "
        + (
            "Rows without a rank were not drawn again from their weights, have fewer than three seeds, are "
            "unconditional or ignore their labels. "
            if unranked
            else ""
        )
        + (
            f"Reference rows are never ranked; {MARK}: copies of the training set are as near to the reference. "
            if board.references
            else ""
        )
        + f"[How to read this](../README.md). The same as [CSV]({board.slug}.csv) and [LaTeX]({board.slug}.tex)."
    )


def _control_section(board: Board, ordered: list[Row]) -> list[str]:
    controls = controls_markdown(board, ordered)
    if not controls:
        return []
    control = board.controls[0].submission.first.dataset
    return [
        "## How much of the gap is which classes are rare?",
        controls,
        (
            f"The control is trained on {control.class_counts[0]:,} images of every class, as many as the tail's "
            f"classes have on average, and measured in the same groups ({text.markdown(control.name)}). A gap that it "
            "has too says which classes are hard."
        ),
    ]


def suspected_copies(row: Row) -> str:
    """A sentence where far more samples than an honest model's lie suspiciously near to a training image, else ''."""
    shares = [row.mean[f"memorisation.{space}.fraction"] for space in ("features", "pixels")]
    most = max((share for share in shares if share is not None), default=0.0)
    return f"{most:.0%} of the samples are suspected copies of training images" if most > MANY_COPIES else ""


def fidelity(row: Row) -> str:
    """How near a method of this package is to its paper, in words; empty for others."""
    method = row.entry.submission.first.method
    if method.config is None or method.code_sha256 is not None or method.name not in METHODS:
        return ""
    return METHODS.get(method.name).fidelity


def _about(row: Row) -> str:
    metadata = row.entry.submission.metadata
    facts = [text.markdown(metadata.paper)] if metadata.paper else []
    facts += [f"[paper]({metadata.paper_url})"] if metadata.paper_url else []
    facts += [f"[code]({metadata.code_url})"] if metadata.code_url else []
    facts += [f"handed in by {text.markdown(metadata.submitter)}"] if metadata.submitter else []
    facts += [text.markdown(metadata.note)] if metadata.note else []
    facts += [words] if (words := fidelity(row)) else []
    facts += [f"**{copies}**"] if (copies := suspected_copies(row)) else []
    return f"* **{text.markdown(metadata.method)}**: {'; '.join(facts) or 'no paper named'}"
