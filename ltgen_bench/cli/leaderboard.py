"""`leaderboard`: tables and pages from committed records, and whether they hold."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ltgen_bench.cli.layers import know_own_images
from ltgen_bench.cli.options import DATASET_DETAILS, Options, offers
from ltgen_bench.cli.output import print_json
from ltgen_bench.core.errors import ConfigError


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Tables and a site from committed records.",
    )  # fmt: skip
    group.command("build")(build)
    group.command("check")(check)
    group.command("keep")(keep)
    group.command("table")(table)
    group.command("site")(site)
    group.command("reverify")(reverify)
    app.add_typer(group, name="leaderboard")
    app.command("baseline-rows")(baseline_rows)


@offers(f"check leaderboards {DATASET_DETAILS} plugins data_root as_json")
def build(
    options: Options,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 2 when a file is stale.")] = False,
) -> None:
    """Make one table per data set and protocol in leaderboards/tables: Markdown, CSV and LaTeX.

    A submission that is not valid is named and left out, and the exit code is 2 at the end.
    """
    from ltgen_bench.leaderboard.build import build_tables, check_tables

    options.load_plugins()
    know_own_images(options)
    _there(options.leaderboards)
    if check:
        count = check_tables(options.leaderboards, options.data_root)
        if options.as_json:
            print_json({"files": count, "changed": [], "left_out": []})
        else:
            print(f"{count} files are up to date")
        return
    left_out: list[str] = []
    changed = build_tables(options.leaderboards, options.data_root, left_out)
    if options.as_json:
        print_json({"changed": list(map(str, changed)), "left_out": left_out})
    else:
        print("\n".join(map(str, changed)) or "everything is up to date")
    _refuse_left_out(left_out)


@offers(f"draw leaderboards {DATASET_DETAILS} plugins data_root device as_json")
def check(
    options: Options,
    draw: Annotated[
        int, typer.Option(min=0, max=100_000, help="Rows to draw again from each kept seed's weights; 0: none.")
    ] = 0,
) -> None:
    """Check everything: the tables are those of the records, and the kept weights draw the kept samples.

    Exit code 2 when a table is stale or a row drawn again is another one. Example: leaderboard check --draw 8
    """
    from ltgen_bench.leaderboard.build import check_tables
    from ltgen_bench.leaderboard.collect import read_entries
    from ltgen_bench.leaderboard.evidence import draw_again
    from ltgen_bench.leaderboard.submission import SubmissionError

    options.load_plugins()
    know_own_images(options)
    _there(options.leaderboards)
    tables = check_tables(options.leaderboards, options.data_root)
    if not options.as_json:
        print(f"{tables} files are up to date")
    found = []
    if draw:
        entries = read_entries(options.leaderboards, options.data_root)
        where = options.device or "auto"
        for one in draw_again(options.leaderboards, entries, rows=draw, data_root=options.data_root, device=where):
            found.append(one)
            if not options.as_json:
                said = f"{one.rows} rows drawn again, {one.apart:.2f} of 255 apart at the most"
                place = one.submission if one.seed is None else f"{one.submission} seed {one.seed}"
                print(f"{place}: {one.problem or said}", flush=True)
    if options.as_json:
        print_json({"tables": tables, "drawn": [one.to_dict() for one in found]})
    if problems := sum(bool(one.problem) for one in found):
        raise SubmissionError(f"{problems} of {len(found)} kept seeds do not hold")


@offers("path samples model leaderboards data_root")
def keep(
    options: Options,
    path: Annotated[Path, typer.Argument(help="A submission folder.", metavar="SUBMISSION")],
    samples: Annotated[Path, typer.Option(help="The .npz of one seed's samples.")],
    model: Annotated[Path, typer.Option(help="The model.safetensors that 'verify --model' drew them from.")],
) -> None:
    """Keep a verified seed's samples and weights in leaderboards/evidence, where 'leaderboard check --draw' uses them.

    At most 20 MB of weights are kept in all, so keep one seed of a method. Weights are rounded to nine binary digits,
    which moves the samples by less than a grey level.
    """
    from ltgen_bench.leaderboard.collect import Entry
    from ltgen_bench.leaderboard.evidence import keep_evidence
    from ltgen_bench.leaderboard.submission import validate_submission
    from ltgen_bench.leaderboard.submission.verification import verified_seeds

    submission = validate_submission(path, options.data_root)
    entry = Entry(submission, verified_seeds(options.leaderboards, submission))
    for kept in keep_evidence(options.leaderboards, entry, samples, model):
        print(f"{kept}  {kept.stat().st_size:,} bytes")


@offers(
    "dataset protocol columns form leaderboards path plugins data_root",
    dataset=Annotated[str, typer.Argument(help="A board's data set.", metavar="DATASET")],
)
def table(
    options: Options,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, such as fid,few.fid,recall. Default: what fits a page.", show_default=False
        ),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="markdown, latex or csv (csv has every column).")] = "markdown",
) -> None:
    """Print one board with the columns of your choice.

    Example: ltgen-bench leaderboard table digits-lt --columns fid,few.fid,few.recall --format latex
    """
    from ltgen_bench.leaderboard.collect import boards, read_entries
    from ltgen_bench.leaderboard.columns import PAPER_COLUMNS
    from ltgen_bench.leaderboard.ranking import rows
    from ltgen_bench.leaderboard.tables import board_csv, board_latex, chosen_markdown

    if form not in ("markdown", "latex", "csv") or (form == "csv" and columns is not None):
        raise ConfigError(f"--format is markdown, latex, or csv with every column; got {form}")
    options.load_plugins()
    know_own_images(options)
    _there(options.leaderboards)
    found = boards(read_entries(options.leaderboards, options.data_root, []), options.leaderboards)
    own = [board for board in found if board.dataset == options.dataset]
    named = [board for board in own if options.protocol in (None, board.protocol)]
    if not named:
        there = ", ".join(f"{board.dataset} by {board.protocol}" for board in own or found)
        raise ConfigError(f"no such board; there are {there or 'none'}")
    keys = PAPER_COLUMNS if columns is None else tuple(columns.split(","))
    board = named[-1]  # the latest version
    ordered = rows(board)
    makers = {"latex": board_latex, "markdown": chosen_markdown}
    print(board_csv(board, ordered) if form == "csv" else makers[form](board, ordered, keys), end="")


@offers(f"out leaderboards {DATASET_DETAILS} plugins data_root as_json")
def site(
    options: Options,
    out: Annotated[Path, typer.Argument(help="Folder to write; a site of an earlier build in it is replaced.")],
) -> None:
    """Write the leaderboards as a static site that needs no network: open OUT/index.html.

    A submission that is not valid is named and left out, and the exit code is 2 at the end.
    """
    from ltgen_bench.leaderboard.site.write import write_site

    options.load_plugins()
    know_own_images(options)
    _there(options.leaderboards)
    left_out: list[str] = []
    pages = write_site(options.leaderboards, out, options.data_root, left_out)
    if options.as_json:
        print_json({"index": str(out / "index.html"), "record_pages": pages, "left_out": left_out})
    else:
        print(f"{out / 'index.html'} and {pages} pages of records")
    _refuse_left_out(left_out)


@offers("samples_dir verifier leaderboards data_root weights device as_json quiet")
def reverify(
    options: Options,
    samples_dir: Annotated[
        Path | None,
        typer.Option(help="Samples here: DATASET/SUBMISSION/SEED.npz, weights beside them as SEED.safetensors."),
    ] = None,
    verifier: Annotated[str, typer.Option(help="Your name or address, which the tables show.")] = "",
) -> None:
    """Verify every submission again, after a metric has changed: with samples here, or where they are published.

    One that fails does not stop the others; the exit code is 2 then. Seeds without samples keep what they have.
    """
    from ltgen_bench.leaderboard.collect import read_entries
    from ltgen_bench.leaderboard.submission import SubmissionError
    from ltgen_bench.leaderboard.submission.reverify import reverify as verify_all

    _there(options.leaderboards)
    submissions = [entry.submission for entry in read_entries(options.leaderboards, options.data_root)]
    found = []
    for one in verify_all(
        submissions,
        leaderboards=options.leaderboards,
        places=options.places(),
        samples=samples_dir,
        verifier=verifier,
        device=options.device or "auto",
        progress=options.progress(),
    ):
        found.append(one)
        if not options.as_json:
            print(f"{one.submission} seed {one.seed}: {one.problem or one.verification}")
    counts = {
        "verified": sum(one.verification is not None for one in found),
        "failed": sum(one.verification is None and one.found for one in found),
        "without_samples": sum(not one.found for one in found),
    }
    if options.as_json:
        rows = [one.to_dict() for one in found]
        print_json({**counts, "seeds": rows})
    else:
        print(", ".join(f"{count} {word.replace('_', ' ')}" for word, count in counts.items()))
    if counts["failed"]:
        raise SubmissionError(f"{counts['failed']} of {len(found)} seeds failed; their verifications are as they were")


@offers(
    "dataset imbalance per_class cut_seed class_order protocol out leaderboards data_root weights device as_json quiet",
    dataset=Annotated[str, typer.Argument(help="Data set; see 'list datasets'.", metavar="DATASET")],
)
def baseline_rows(
    options: Options,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Another file than the leaderboards' own.")] = None,
) -> None:
    """Measure the rows that no method made: real images, copies of the training set, a Gaussian and a mean a class.

    They go to leaderboards/reference_rows, and 'leaderboard build' puts them into the table, never ranked.

    Example: ltgen-bench baseline-rows digits-lt --protocol digits-1k.v1
    """
    from ltgen_bench.cli.layers import configuration_layers
    from ltgen_bench.cli.output import print_json
    from ltgen_bench.core.config import DatasetConfig, build
    from ltgen_bench.core.devices import measuring_device, resolve_device
    from ltgen_bench.core.protocol import get_protocol
    from ltgen_bench.datasets import load_dataset
    from ltgen_bench.evaluation.evaluate import Evaluator
    from ltgen_bench.leaderboard.reference_rows import (
        measure_reference_rows,
        reference_rows_path,
        write_reference_rows,
    )

    layers = configuration_layers(options)
    chosen = load_dataset(build(DatasetConfig, layers["dataset"], "dataset"), options.data_root)
    protocol = get_protocol(options.protocol or chosen.default_protocol)
    device = measuring_device(resolve_device(options.device or "auto"))
    rows = measure_reference_rows(chosen, protocol, Evaluator(options.places(), device, progress=options.progress()))
    path = out or reference_rows_path(options.leaderboards, chosen.name, protocol.name)
    write_reference_rows(path, rows)
    if options.as_json:
        print_json({"file": str(path), **rows.model_dump(mode="json")})
        return
    for row in rows.rows:
        fid = row.mean("fid")
        print(f"{row.title}: distance {'-' if fid is None else f'{fid:.3f}'}")
    print(path)


def _there(leaderboards: Path) -> None:
    from ltgen_bench.core.errors import MissingFileError

    if not leaderboards.is_dir():
        raise MissingFileError(f"there is no folder {leaderboards}; run this in a checkout, or give --leaderboards")


def _refuse_left_out(problems: list[str]) -> None:
    """Name every submission that was left out, and end with exit code 2."""
    from ltgen_bench.leaderboard.submission import SubmissionError

    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    if problems:
        raise SubmissionError(f"{len(problems)} submissions were left out; everything else was written")
