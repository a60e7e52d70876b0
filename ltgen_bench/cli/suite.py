"""`suite`: many runs as one."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltgen_bench.cli.options import Options, offers
from ltgen_bench.cli.output import print_json, print_tables
from ltgen_bench.core.errors import ConfigError, MissingFileError

if TYPE_CHECKING:
    from ltgen_bench.runs.suites.local import Launcher
    from ltgen_bench.runs.suites.plan import PlannedRun
    from ltgen_bench.runs.suites.spec import Suite
    from ltgen_bench.runs.suites.status import RunStatus

SuiteName = Annotated[str, typer.Argument(help="A suite; see 'suite list', or a .toml file.", metavar="SUITE")]
_PLACES = "overrides runs_dir data_root plugins as_json"


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Many runs as one: methods x data sets x seeds x settings.",
    )  # fmt: skip
    for command in (list_suites, show, run, status, collect, stop):
        group.command("list" if command is list_suites else command.__name__)(command)
    app.add_typer(group, name="suite")


@offers("as_json")
def list_suites(options: Options) -> None:
    """The suites that come with the package."""
    from ltgen_bench.runs.suites.spec import read_suite, suite_names

    suites = [read_suite(name) for name in suite_names()]
    if options.as_json:
        print_json([{"name": suite.name, "title": suite.title, "runs": len(suite.cells)} for suite in suites])
        return
    width = max(len(suite.name) for suite in suites)
    print("\n".join(f"{suite.name:<{width}}  {len(suite.cells):>4} runs  {suite.title}" for suite in suites))


@offers(f"suite_name {_PLACES}")
def show(options: Options, suite_name: SuiteName) -> None:
    """The runs of a suite, what is missing for them, and what they cost: hours here, operations, disk.

    Example: ltgen-bench suite show paper-table-1
    """
    suite, runs = _planned(options, suite_name)
    _print_plan(options, suite, runs)


@offers("suite_name workers slurm keep_going dry_run overrides runs_dir data_root plugins speed as_json quiet debug")
def run(
    options: Options,
    suite_name: SuiteName,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, max=1024, help="Runs at a time here.")] = 1,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            "--slurm", metavar="KEY=VALUE", help="On SLURM: partition, account, gpus, cpus, mem, time, constraint, ..."
        ),
    ] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave out runs whose data or weights are missing.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The same as 'suite show'.")] = False,
) -> None:
    """Start what is missing or failed; finished runs are left alone, and what was cut off resumes.

    Every cell is an ordinary run in its ordinary folder. One that fails does not stop the others; the exit code is 2
    then. Ctrl-C stops all and loses nothing.

    Examples:

        ltgen-bench suite run digits --workers 2

        ltgen-bench suite run my.toml --slurm partition=gpu --slurm gpus=1 --slurm time=12:00:00
    """
    suite, runs = _planned(options, suite_name, _gpus(slurm or []))
    if dry_run:
        _print_plan(options, suite, runs)
        return
    from ltgen_bench.runs.suites.plan import remember_speed

    runs = _with_data(options, runs, keep_going)
    launcher = _launcher(options, suite)
    remember_speed(launcher.folder, runs[0].resolved.config.execution.speed)
    if slurm:
        _submit(options, runs, launcher, slurm)
        return
    from ltgen_bench.runs.suites.local import SuiteFailedError, run_local
    from ltgen_bench.runs.suites.starters import starter

    with starter(launcher.folder):
        failed = run_local(runs, launcher, workers, options.progress())
    _print_statuses(options, suite, runs, launcher.folder)
    if failed:
        raise SuiteFailedError(f"{len(failed)} of {len(runs)} runs failed; the same command starts them again")


@offers(f"suite_name watch {_PLACES}")
def status(
    options: Options,
    suite_name: SuiteName,
    watch: Annotated[bool, typer.Option("--watch", help="Again every five seconds, until Ctrl-C.")] = False,
) -> None:
    """Which runs wait, run (with step and time left), are finished or failed, read from their folders and the queue."""
    suite, runs = _planned(options, suite_name)
    folder = _launcher(options, suite).folder
    while True:
        _print_statuses(options, suite, runs, folder)
        if not watch:
            return
        time.sleep(5)
        print()


_Published = Annotated[
    bool,
    typer.Option("--published", help="Beside them what papers print (LEADERBOARDS/published), and the difference."),
]


@offers(f"suite_name form out figures class_name published leaderboards {_PLACES}")
def collect(
    options: Options,
    suite_name: SuiteName,
    form: Annotated[str, typer.Option("--format", help="markdown, csv or latex.")] = "markdown",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A file instead of stdout.")] = None,
    figures: Annotated[
        Path | None,
        typer.Option(help="A folder for pictures, one folder a data set: distances by class, samples of one class."),
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="The class whose samples are shown. Default: the rarest.")
    ] = None,
    published: _Published = False,
) -> None:
    """One table over data sets and methods: mean and standard deviation over seeds, missing numbers as a dash.

    With --figures also a curve for every setting that the suite varies, its best value starred.

    Example: ltgen-bench suite collect paper-table-1 --published --format latex -o table-1.tex
    """
    from ltgen_bench.core.storage import write_text
    from ltgen_bench.runs.suites import collect as collection
    from ltgen_bench.runs.suites.curves import write_curves
    from ltgen_bench.runs.suites.published import published_markdown

    forms = {"markdown": collection.as_markdown, "csv": collection.as_csv, "latex": collection.as_latex}
    if form not in forms:
        raise ConfigError(f"--format is {', '.join(forms)}; got {form!r}")
    _, runs = _planned(options, suite_name)
    rows = collection.collect(runs)
    if figures is not None:
        for path in [*collection.write_pictures(figures, runs, class_name), *write_curves(figures, runs)]:
            print(path, file=sys.stderr)
    beside = _beside_published(options, rows) if published else []
    if options.as_json:
        print_json({"rows": rows, "published": beside} if published else rows)
        return
    if published:
        print(published_markdown(beside), file=sys.stderr if out is None and form != "markdown" else sys.stdout)
    text = forms[form](rows)
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        print(out)


def _beside_published(options: Options, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from ltgen_bench.leaderboard.published import published_rows, read_published
    from ltgen_bench.runs.suites.published import beside_published

    folder = options.leaderboards / "published"
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder of published numbers; give --leaderboards")
    printed = {(row.dataset, row.method): row.values for row in reversed(published_rows(read_published(folder)))}
    return beside_published(rows, printed)


@offers(f"suite_name {_PLACES}")
def stop(options: Options, suite_name: SuiteName) -> None:
    """Stop what runs of a suite, here and on SLURM. Nothing is lost: 'suite run' continues."""
    from ltgen_bench.runs.suites.slurm import cancel_suite
    from ltgen_bench.runs.suites.starters import stop_starters

    suite, _ = _planned(options, suite_name)
    folder = _launcher(options, suite).folder
    stopped, cancelled = stop_starters(folder), cancel_suite(folder)
    if options.as_json:
        print_json({"stopped": stopped, "cancelled": cancelled})
        return
    print(f"{len(stopped)} starters stopped here, {len(cancelled)} tasks taken from the queue")


def _planned(options: Options, name: str, on_gpus: bool = False) -> tuple[Suite, list[PlannedRun]]:
    """The suite's runs, at the speed that is asked for, or they were started at, or that suits where they will run."""
    options.load_plugins()
    from ltgen_bench.runs.suites.plan import plan, remembered_speed
    from ltgen_bench.runs.suites.spec import read_suite, with_overrides

    suite = with_overrides(read_suite(name), options.overrides)
    started = remembered_speed(_launcher(options, suite).folder)
    speed = options.speed or started or ("fast" if on_gpus else "auto")
    return suite, plan(suite, options.runs_dir, options.data_root, speed)


def _gpus(slurm: list[str]) -> bool:
    """Whether SLURM is asked for GPUs, which the machine that asks may lack."""
    return any(pair.split("=")[0] in ("gpus", "gres") for pair in slurm)


def _launcher(options: Options, suite: Suite) -> Launcher:
    from ltgen_bench.runs.suites.local import Launcher

    further = [word for plugin in options.plugins for word in ("--plugin", str(plugin.resolve()))]
    runs_dir = options.runs_dir.resolve()
    return Launcher(runs_dir / "suites" / suite.name, runs_dir, options.data_root.resolve(), tuple(further))


def _with_data(options: Options, runs: list[PlannedRun], keep_going: bool) -> list[PlannedRun]:
    """The runs that can be made; the others are told before anything starts."""
    places = options.places()
    missing = {run.name: files for run in runs if not run.folder.record.is_file() and (files := run.missing(places))}
    if not missing:
        return runs
    files = sorted({file for found in missing.values() for file in found})
    line = f"{len(missing)} of {len(runs)} runs lack {'; '.join(files)}"
    if not keep_going:
        raise MissingFileError(f"{line}; --keep-going makes the others")
    options.progress().say(f"note: {line}; the others are made")
    return [run for run in runs if run.name not in missing]


def _submit(options: Options, runs: list[PlannedRun], launcher: Launcher, pairs: list[str]) -> None:
    from ltgen_bench.runs.suites.slurm import slurm_parameters, submit_suite

    ids = submit_suite(runs, launcher, slurm_parameters(pairs))
    if options.as_json:
        print_json({"jobs": ids})
        return
    print(f"{len(ids)} tasks handed to SLURM{': ' + ', '.join(ids) if ids else ''}; look at them with 'suite status'")


def _print_plan(options: Options, suite: Suite, runs: list[PlannedRun]) -> None:
    from ltgen_bench.runs.suites.totals import suite_cost

    places = options.places()
    cost = suite_cost(runs)
    missing = sorted({file for run in runs for file in run.missing(places)})
    if options.as_json:
        print_json(
            {
                "name": suite.name,
                "title": suite.title,
                "runs": [
                    {"label": run.cell.label, "run": str(run.folder.path), "hash": run.resolved.config.hash()}
                    for run in runs
                ],
                "cost": cost,
                "missing": missing,
            }
        )
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{suite.name}: {suite.title}"), title_justify="left", box=None, pad_edge=False)
    for column in ("data set", "method", "seed", "guidance", "settings", "run"):
        table.add_column(column, overflow="fold")
    for run in runs:
        cell, scale = run.cell, run.resolved.config.sampling.guidance_scale
        chosen = "chosen" if scale is None else f"{scale:g}"
        table.add_row(
            *map(Text, (cell.dataset, cell.method, str(cell.seed), chosen, run.settings, run.folder.path.name))
        )
    lines = [f"{key.replace('_', ' '):<28} {_readable(value)}" for key, value in cost.items()]
    lines += [f"missing                      {file}" for file in missing] or ["everything they need is there"]
    print_tables([table, "", *map(Text, lines)])


def _readable(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(f"{number:,.3g}" for number in value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _print_statuses(options: Options, suite: Suite, runs: list[PlannedRun], folder: Path) -> None:
    from ltgen_bench.runs.suites.slurm import queued_runs
    from ltgen_bench.runs.suites.status import RunState, statuses

    found = statuses(runs, sorted(queued_runs(folder)))
    counts = {str(state): sum(one.state is state for one in found) for state in RunState}
    if options.as_json:
        print_json({"name": suite.name, "counts": counts, "runs": [one.to_dict() for one in found]})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(suite.name), title_justify="left", box=None, pad_edge=False)
    for column in ("state", "data set", "method", "seed", "settings", ""):
        table.add_column(column, overflow="fold")
    for one in found:
        cell = one.run.cell
        cells = (str(one.state), cell.dataset, cell.method, str(cell.seed), one.run.settings, _how_far(one))
        table.add_row(*map(Text, cells))
    print_tables([table, Text(", ".join(f"{count} {state}" for state, count in counts.items() if count))])


def _how_far(one: RunStatus) -> str:
    if one.line:
        return one.line
    if one.state == "finished":
        return str(one.run.folder.record)
    if one.step is None:
        return ""
    left = "" if not one.training_seconds_left else f", {one.training_seconds_left:,.0f} s of training left"
    return f"step {one.step:,} of {one.steps:,}{left}"
