"""`compare`: several records side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltgen_bench.cli.options import Options, offers
from ltgen_bench.cli.output import print_json, print_tables
from ltgen_bench.core.errors import RecordError
from ltgen_bench.core.plain_text import printable

if TYPE_CHECKING:
    from ltgen_bench.evaluation.record import Record


def add_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command("compare")(compare)


@offers("records metrics baseline csv latex figures class_name leaderboards as_json")
def compare(
    options: Options,
    records: Annotated[
        list[Path],
        typer.Argument(help="Records, runs, folders of runs, submissions, or names of leaderboard rows; two or more."),
    ],
    metrics: Annotated[
        str | None, typer.Option(help="Only these, comma-separated, such as fid,few.fid,recall.", show_default=False)
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="The method that others are compared with. Default: the first.", show_default=False),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="A file for every number, with intervals.", show_default=False)
    ] = None,
    latex: Annotated[Path | None, typer.Option(help="A file for a table that fits a page.", show_default=False)] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            "--figures",
            help="A folder for pictures: distances by class, and samples of one class.",
            show_default=False,
        ),
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="The class whose samples are shown. Default: the rarest.")
    ] = None,
) -> None:
    """Mean and standard deviation over seeds by method, and differences to the first method.

    Only records of the same data set, reference set and protocol as the first are compared; others are named and left
    out. A difference is marked * when it is
    beyond the noise of the seeds, with all pairs of methods compared at once, as on the leaderboard. Seeds pair between
    runs of this program only: for samples made elsewhere an equal seed means nothing.

    Examples:

        ltgen-bench compare runs/digits-lt/ddpm runs/digits-lt/coral

        ltgen-bench compare runs/digits-lt/mine coral-v2 ddpm-v2 --baseline DDPM --metrics fid,few.fid
    """
    from ltgen_bench.core.storage import write_text
    from ltgen_bench.leaderboard.comparison_files import comparison_csv, comparison_latex
    from ltgen_bench.leaderboard.side_by_side import compare as compare_records

    chosen = _chosen_metrics(metrics)
    found, records_read = _read(records, options.leaderboards)
    result = _only(compare_records(records_read, baseline=baseline), chosen)
    for path, write in ((csv, comparison_csv), (latex, comparison_latex)):
        if path is not None:
            write_text(path, write(result))
    pictures = [] if figures is None else _pictures(figures, records_read, found, class_name)
    if options.as_json:
        print_json(result)
        return
    files = [f"{what:<7} {path}" for what, path in (("csv", csv), ("latex", latex)) if path is not None]
    print_tables([*_table(result), *files, *(f"figure  {path}" for path in pictures)])


def _table(result: dict[str, Any]) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    from ltgen_bench.evaluation.report.tables import SCALES, number, title_of
    from ltgen_bench.leaderboard.side_by_side import lower_is_better, metric_names

    table = Table(
        title=Text(f"{result['dataset']}, protocol {result['protocol']}; differences to {result['baseline']}"),
        title_justify="left",
    )
    table.add_column("metric")
    table.add_column("better")
    for row in result["methods"]:
        table.add_column(Text(f"{row['method']} (n = {len(row['seeds'])})"), justify="right")
    for name in (name for name in metric_names() if name in result["methods"][0]["metrics"]):
        scale = SCALES.get(name.rpartition(".")[2], 1.0)
        cells = [_cell(row["metrics"][name], lambda value, by=scale: number(value, by)) for row in result["methods"]]
        if any(cell != "-" for cell in cells):
            direction = "lower" if lower_is_better(name) else "higher"
            table.add_row(Text(title_of(name, result["label"])), direction, *cells)
    noise = "* beyond noise: the 95 % interval, for all pairs of methods at once, leaves out 0"
    return [table, noise, *(Text(f"settings: {line}") for line in result["settings"])]


def _chosen_metrics(text: str | None) -> list[str] | None:
    from ltgen_bench.core.errors import did_you_mean
    from ltgen_bench.leaderboard.side_by_side import metric_names

    if text is None:
        return None
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    for name in wanted:
        if name not in metric_names():
            raise RecordError(f"--metrics {name}: {did_you_mean(name, metric_names())}")
    return wanted


def _only(result: dict[str, Any], metrics: list[str] | None) -> dict[str, Any]:
    if metrics is None:
        return result
    rows = [
        {**row, "metrics": {name: row["metrics"][name] for name in row["metrics"] if name in metrics}}
        for row in result["methods"]
    ]
    return {**result, "methods": rows}


def _read(paths: list[Path], leaderboards: Path) -> tuple[list[Path], list[Record]]:
    """The records that can be compared with the first; others are named. Raises RecordError where one is left."""
    from ltgen_bench.evaluation.record_files import read_record
    from ltgen_bench.leaderboard.side_by_side import misfit

    files = [file for path in paths for file in record_files(path, leaderboards)]
    if len(files) < 2:
        raise RecordError(f"{len(files)} record found in {', '.join(map(str, paths))}; a comparison needs two or more")
    found = [(file, read_record(file)) for file in files]
    problems = {file: words for file, record in found if (words := misfit(found[0][1], record)) is not None}
    kept = [(file, record) for file, record in found if file not in problems]
    if len(kept) < 2:
        raise RecordError(next(iter(problems.values())))
    for file, words in problems.items():
        print(f"left out: {printable(f'{file}: {words}')}", file=sys.stderr)
    return [file for file, _ in kept], [record for _, record in kept]


def _pictures(folder: Path, records: list[Record], files: list[Path], class_name: str | None) -> list[Path]:
    from ltgen_bench.evaluation.report.side_by_side import write_side_by_side
    from ltgen_bench.leaderboard.side_by_side import contenders

    samples = {id(record): file.parent / "samples" / "samples.npz" for record, file in zip(records, files, strict=True)}
    methods = {
        rival.name: [(record, samples[id(record)]) for record in rival.records.values()]
        for rival in contenders(records)
    }
    return write_side_by_side(folder, methods, class_name)


def record_files(path: Path, leaderboards: Path = Path("leaderboards")) -> list[Path]:
    """The records that a path stands for: itself, every `record.json` below it, or those of a submission.

    What is no path may be the name of a row in `leaderboards`. Raises RecordError without any record.
    """
    if not path.exists() and path.suffix != ".json":
        rows = sorted((leaderboards / "records").glob(f"*/{path.name}")) if path.name not in ("", "..") else []
        rows = [row for row in rows if len(path.parts) == 1 or row.parent.name == path.parent.name]
        if len(rows) > 1:
            names = " and ".join(f"{row.parent.name}/{row.name}" for row in rows)
            raise RecordError(f"{path} is the name of several rows: say {names}")
        if not rows:
            raise RecordError(f"there is no record, run or folder {path}, and no row of that name in {leaderboards}")
        path = rows[0]
    if path.is_dir():
        submission = (path / "submission.toml").is_file()
        files = sorted(path.glob("[0-9]*.json") if submission else path.rglob("record.json"))
        if not files:
            raise RecordError(f"there is no record.json in {path}")
        return files
    return [path]


def _cell(value: dict[str, Any], number: Any) -> str:
    text: str = number(value["mean"])
    if value["std"] is not None:
        text += f" ± {number(value['std'])}"
    difference = value["difference"]
    if difference is not None and difference["mean"] is not None:
        text += f"  ({'+' if difference['mean'] >= 0 else ''}{number(difference['mean'])}"
        text += "*)" if difference["beyond_noise"] else ")"
    return text
