"""The command `ltgen-bench`: parse, call, print. PyTorch is imported inside the commands that need it."""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import Annotated

import typer

from ltgen_bench.cli import (
    analyze,
    check_plugin,
    classifier,
    compare,
    crosscheck,
    data,
    evaluate,
    exchange,
    factors,
    inspect,
    leaderboard,
    metrics,
    recognize,
    run,
    submit,
    suite,
    sweep,
    verify,
)
from ltgen_bench.core.errors import UserError
from ltgen_bench.core.plain_text import printable
from ltgen_bench.core.version import __version__

INTERRUPTED = 130  # the shell's exit code for Ctrl-C

app = typer.Typer(
    name="ltgen-bench",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "The benchmark suite for long-tailed image generation.\n\n"
        "Train, sample and evaluate in one go, resumable:\n\n"
        "    ltgen-bench run                                   the embedded default, minutes on a laptop\n\n"
        "    ltgen-bench run --method ddpm --dataset cifar100lt   the real thing\n\n"
        "Only have samples? All numbers of the protocol from a file:\n\n"
        "    ltgen-bench evaluate samples.npz --dataset cifar10lt\n\n"
        "Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 2 something to fix on your side "
        "(one line says what), 130 interrupted (the same command resumes)."
    ),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ltgen-bench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


run.add_commands(app)
classifier.add_commands(app)
evaluate.add_commands(app)
metrics.add_commands(app)
compare.add_commands(app)
crosscheck.add_commands(app)
recognize.add_commands(app)
factors.add_commands(app)
inspect.add_commands(app)
check_plugin.add_commands(app)
data.add_commands(app)
submit.add_commands(app)
verify.add_commands(app)
leaderboard.add_commands(app)
exchange.add_commands(app)
suite.add_commands(app)
sweep.add_commands(app)
analyze.add_commands(app)


def main() -> None:
    """Entry point: turn errors that a user can act on into one line and an exit code."""
    with contextlib.suppress(ValueError):  # not in the main thread: nothing to prepare
        # what schedulers and torchrun send is treated as Ctrl-C: one line, and nothing lost
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # not standalone: usage errors become one line as well, instead of a framed box
        code = app(standalone_mode=False, prog_name="ltgen-bench")
    except UserError as error:
        code = _fail(str(error))
    except Exception as error:
        # click's own errors, wherever typer keeps its copy of click
        if type(error).__name__ == "NoArgsIsHelpError":  # a bare command wants to know what there is
            print(error.ctx.get_help())  # type: ignore[attr-defined]
            code = 0
        elif hasattr(error, "format_message") and hasattr(error, "exit_code"):
            code = _fail(error.format_message() or "no command given; see ltgen-bench --help")
        elif type(error).__name__ == "Abort":  # older versions' word for Ctrl-C
            code = INTERRUPTED
        else:
            raise
    if code == INTERRUPTED:
        print("interrupted; the same command resumes where this one stopped", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> int:
    line = printable(" ".join(message.split()))  # it may quote a file's name or content
    print(f"error: {line}", file=sys.stderr)
    return 2
