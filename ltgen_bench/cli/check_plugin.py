"""`check-plugin`: what a plug-in promises, tried out."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ltgen_bench.cli.layers import configuration_layers
from ltgen_bench.cli.options import DATASET_DETAILS, Options, offers
from ltgen_bench.cli.output import print_json, print_tables


def add_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command("check-plugin")(check_plugin)


@offers(
    f"file overrides dataset {DATASET_DETAILS} data_root weights plugins as_json quiet debug",
    dataset=Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="The data set that methods are tried on. Default: digits-lt, embedded."),
    ],
    debug=Annotated[bool, typer.Option("--debug", help="Show the tracebacks of failed checks as well.")],
    plugins=Annotated[
        list[Path],
        typer.Option("--plugin", metavar="FILE.py", help="A file that this one needs, loaded first; repeatable."),
    ],
)
def check_plugin(
    options: Options,
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="The Python file that registers something.")],
) -> None:
    """Check the methods, data sets and feature extractors that a file registers, one line for each check.

    Methods are trained for four steps with a tiny network: losses, gradients, the order of images in a batch, two
    processes, resuming, saving and loading, samples. Takes some ten seconds a method on a laptop. The exit code is 2
    when a check failed.

    Examples:

        ltgen-bench check-plugin my_method.py

        ltgen-bench check-plugin my_gan.py --set method.epochs=1
    """
    from ltgen_bench.testing import Outcome
    from ltgen_bench.testing import check_plugin as check

    options.load_plugins()
    places = options.places()
    results = check(file, configuration_layers(options), places.weights, options.data_root, options.progress().say)
    counts = {outcome.value: sum(result.outcome is outcome for result in results) for outcome in Outcome}
    if options.as_json:
        print_json({**counts, "checks": [dataclasses.asdict(result) for result in results]})
    else:
        _print(results, counts)
        if options.debug:
            print(*(result.traceback for result in results if result.traceback), sep="\n", file=sys.stderr)
    if counts[Outcome.FAILED]:
        raise typer.Exit(2)


def _print(results: list[Any], counts: dict[str, int]) -> None:
    """One line a check, and indented below it why it failed or was skipped."""
    from rich.padding import Padding
    from rich.text import Text

    parts: list[Any] = []
    styles = {"passed": "green", "failed": "bold red", "skipped": "yellow"}
    subject = why = ""
    for result in results:
        if result.subject != subject:
            parts += [*([""] if parts else []), Text(result.subject, style="bold")]
        parts.append(Text.assemble((f"{result.outcome:8}", styles[result.outcome]), result.check))
        if result.why and result.why != why:
            parts.append(Padding(Text(result.why), (0, 0, 0, 8), expand=False))
        subject, why = result.subject, result.why
    print_tables([*parts, "", ", ".join(f"{count} {outcome}" for outcome, count in counts.items())])
