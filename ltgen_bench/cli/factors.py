"""`factors`: how far numbers move with the cut, the class order and the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ltgen_bench.cli.compare import record_files
from ltgen_bench.cli.options import Options, offers
from ltgen_bench.cli.output import print_json, print_tables


def add_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command("factors")(factors)


@offers("records as_json")
def factors(
    options: Options,
    records: Annotated[list[Path], typer.Argument(help="Records, runs, or folders of runs over cuts and orders.")],
) -> None:
    """How far a method's numbers move with other images in the tail, other rare classes, and other seeds.

    Give the runs of one data set under several --cut-seed and --class-order, and those of its control: the balanced
    set of the tail's size, which 'data show' names. A gap that the control has too comes from which classes are rare.

    Example: ltgen-bench factors runs/digits-lt*/ddpm runs/digits-8/ddpm
    """
    from ltgen_bench.evaluation.record_files import read_record
    from ltgen_bench.leaderboard.factors import factors as factors_of

    result = factors_of([read_record(file) for path in records for file in record_files(path)])
    if options.as_json:
        print_json(result)
        return
    from rich.table import Table
    from rich.text import Text

    from ltgen_bench.evaluation.report.tables import number

    titles = {
        "fid": result["label"],
        "groups.few.fid": f"tail {result['label']}",
        "groups.many.fid": f"head {result['label']}",
        "gap": "gap, tail minus head",
    }
    table = Table(title=Text(f"{result['dataset']}, protocol {result['protocol']}"), title_justify="left")
    for column in ("method", "number"):
        table.add_column(column)
    for column in ("mean", "± seeds", "± cuts", "± orders", "control"):
        table.add_column(column, justify="right")
    for method, spreads in result["methods"].items():
        for key, spread in spreads.items():
            if spread is not None:
                cells = [number(spread[part]) for part in ("mean", "seed", "cut", "order", "control")]
                table.add_row(Text(method), Text(titles[key]), *cells)
    words = (
        "±: standard deviation between seeds within a cut, between cuts, between class orders; control: the balanced "
        "set of the tail's size, in the same groups"
    )
    print_tables([table, Text(words)])
