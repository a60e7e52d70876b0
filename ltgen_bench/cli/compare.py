"""`compare`: several records side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltgen_bench.cli.options import Options, offers
from ltgen_bench.cli.output import print_json, print_tables
from ltgen_bench.core.errors import RecordError

if TYPE_CHECKING:
    from ltgen_bench.evaluation.record import Record


def add_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command("compare")(compare)


@offers("records csv latex figures class_name as_json")
def compare(
    options: Options,
    records: Annotated[
        list[Path], typer.Argument(help="Records, runs, or folders of runs; two or more records in all.")
    ],
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

    Only records of the same data set, reference set and protocol are compared. A difference is marked * when it is
    beyond the noise of the seeds, with all pairs of methods compared at once, as on the leaderboard. Seeds pair between
    runs of this program only: for samples made elsewhere an equal seed means nothing.

    Example: ltgen-bench compare runs/digits-lt/ddpm runs/digits-lt/coral
    """
    from ltgen_bench.core.storage import write_text
    from ltgen_bench.evaluation.record_files import read_record
    from ltgen_bench.leaderboard.comparison_files import comparison_csv, comparison_latex
    from ltgen_bench.leaderboard.side_by_side import compare as compare_records

    found = [file for path in records for file in record_files(path)]
    if len(found) < 2:
        raise RecordError(
            f"{len(found)} record found in {', '.join(map(str, records))}; a comparison needs two or more"
        )
    records_read = [read_record(file) for file in found]
    result = compare_records(records_read)
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
    from ltgen_bench.leaderboard.side_by_side import metric_names

    table = Table(
        title=Text(f"{result['dataset']}, protocol {result['protocol']}; differences to {result['baseline']}"),
        title_justify="left",
    )
    table.add_column("metric")
    for row in result["methods"]:
        table.add_column(Text(f"{row['method']} (n = {len(row['seeds'])})"), justify="right")
    for name in metric_names():
        scale = SCALES.get(name.rpartition(".")[2], 1.0)
        cells = [_cell(row["metrics"][name], lambda value, by=scale: number(value, by)) for row in result["methods"]]
        if any(cell != "-" for cell in cells):
            table.add_row(Text(title_of(name, result["label"])), *cells)
    return [table, "* beyond noise: the 95 % interval, for all pairs of methods at once, leaves out 0"]


def _pictures(folder: Path, records: list[Record], files: list[Path], class_name: str | None) -> list[Path]:
    from ltgen_bench.evaluation.report.side_by_side import write_side_by_side
    from ltgen_bench.leaderboard.side_by_side import contenders

    samples = {id(record): file.parent / "samples" / "samples.npz" for record, file in zip(records, files, strict=True)}
    methods = {
        rival.name: [(record, samples[id(record)]) for record in rival.records.values()]
        for rival in contenders(records)
    }
    return write_side_by_side(folder, methods, class_name)


def record_files(path: Path) -> list[Path]:
    """The records that a path stands for: itself, or every `record.json` below it; raises RecordError without any."""
    if path.is_dir():
        files = sorted(path.rglob("record.json"))
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
