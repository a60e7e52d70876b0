"""`sweep`: one trained model under several sampling settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ltgen_bench.cli.options import Options, offers
from ltgen_bench.cli.output import print_json, print_tables
from ltgen_bench.core.errors import ConfigError


def add_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command("sweep")(sweep)


@offers(
    "run_folder values count seed data_root weights plugins device as_json quiet debug",
)
def sweep(
    options: Options,
    run_folder: Annotated[Path, typer.Argument(help="The folder of a trained run.", metavar="RUN")],
    values: Annotated[
        list[str], typer.Option("--set", metavar="sampling.KEY=V1,V2", help="What to vary; several make a grid.")
    ],
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=2, help="Samples a point. Default: the protocol's.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", "-s", min=0, help="Default: the run's.")] = None,
) -> None:
    """Draw and measure a trained model under several sampling settings: a table and a figure, nothing trained again.

    The guidance scale is w in eps_c + w (eps_c - eps_u); what ADM, DiT and diffusers call cfg_scale is w + 1.

    Example: ltgen-bench sweep runs/digits-lt/ddpm/77c9727649-s0 --set sampling.guidance_scale=0,0.5,1
    """
    from ltgen_bench.cli.run import prepared
    from ltgen_bench.evaluation.report.curves import PANELS, curves_figure
    from ltgen_bench.evaluation.report.saving import save_figure
    from ltgen_bench.evaluation.report.tables import number
    from ltgen_bench.runs.folder import RunFolder
    from ltgen_bench.runs.sweep import parse_sweep
    from ltgen_bench.runs.sweep import sweep as sweep_run

    config = RunFolder(run_folder).config
    if not config.is_file():
        raise ConfigError(f"{run_folder} is not a run: it has no config.toml; give a folder that 'train' or 'run' made")
    varied = parse_sweep(values)
    work = prepared(replace(options, config=config, run_dir=run_folder))
    result = sweep_run(work, varied, count, seed)
    figure = None
    if len(result.keys) == 1:
        title = f"{work.config.method['name']} on {work.resolved.dataset.name}"
        drawn = curves_figure(result.rows, result.keys[0], title=title, label=result.label, x_title=result.keys[0])
        figure = result.file.with_suffix(".png")
        save_figure(drawn, figure)
    if options.as_json:
        print_json({"keys": list(result.keys), "label": result.label, "rows": result.rows, "file": str(result.file)})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{run_folder}: the trained model sampled again"), title_justify="left")
    shown = [(key, text.split(" (")[0].format(label=result.label)) for key, text in PANELS]
    for column in (*result.keys, *(text for _, text in shown)):
        table.add_column(Text(column), justify="right")
    for row in result.rows:
        table.add_row(*(str(row[key]) for key in result.keys), *(number(row[key]) for key, _ in shown))
    print_tables([table, f"numbers  {result.file}", *([f"figure   {figure}"] if figure else [])])
