"""`leaderboard build` and `leaderboard site`: tables and a page from committed records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ltgen_bench.cli.options import Options, offers


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Tables and a site from committed records.",
    )  # fmt: skip
    group.command("build")(build)
    group.command("site")(site)
    app.add_typer(group, name="leaderboard")


@offers("check leaderboards data_root")
def build(
    options: Options,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 2 when a file is stale.")] = False,
) -> None:
    """Make one table per data set and protocol in leaderboards/tables: Markdown, CSV and LaTeX."""
    from ltgen_bench.leaderboard.build import build_tables, check_tables

    _there(options.leaderboards)
    if check:
        print(f"{check_tables(options.leaderboards, options.data_root)} files are up to date")
        return
    changed = build_tables(options.leaderboards, options.data_root)
    for path in changed:
        print(path)
    if not changed:
        print("everything is up to date")


@offers("out leaderboards data_root")
def site(
    options: Options,
    out: Annotated[Path, typer.Argument(help="Folder to write; a site of an earlier build in it is replaced.")],
) -> None:
    """Write the leaderboards as a static site that needs no network: open OUT/index.html."""
    from ltgen_bench.leaderboard.site.write import write_site

    _there(options.leaderboards)
    pages = write_site(options.leaderboards, out, options.data_root)
    print(f"{out / 'index.html'} and {pages} pages of records")


def _there(leaderboards: Path) -> None:
    from ltgen_bench.core.errors import MissingFileError

    if not leaderboards.is_dir():
        raise MissingFileError(f"there is no folder {leaderboards}; run this in a checkout, or give --leaderboards")
