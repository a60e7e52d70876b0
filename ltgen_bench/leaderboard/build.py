"""`leaderboard build`: every generated file as text, written to `leaderboards/tables/` or compared with it."""

from __future__ import annotations

import shlex
from pathlib import Path

import tomli_w

from ltgen_bench.core.errors import UserError
from ltgen_bench.core.generated import check_no_links, check_real_folder, list_text, remove_listed
from ltgen_bench.core.mappings import without_none
from ltgen_bench.core.storage import write_text
from ltgen_bench.evaluation.record import MethodPart
from ltgen_bench.leaderboard import text
from ltgen_bench.leaderboard.collect import Board, Entry, boards, read_entries
from ltgen_bench.leaderboard.published import published_rows, read_published
from ltgen_bench.leaderboard.reported import published_page, reported_section
from ltgen_bench.leaderboard.tables import GENERATED, board_files

LIST = ".generated"  # in tables/: what the last build wrote, and the next one may remove


class StaleTableError(UserError):
    """A committed table that is not what the records give."""


def render(leaderboards: Path, data_root: Path = Path("data"), left_out: list[str] | None = None) -> dict[Path, str]:
    """Every generated file by its path in `leaderboards/tables/`: a function of records and published numbers only.

    `left_out`: as `read_entries` has it.
    """
    publications = read_published(leaderboards / "published")
    published = published_rows(publications)
    all_boards = boards(read_entries(leaderboards, data_root, left_out), leaderboards)
    files: dict[Path, str] = {}
    for board in all_boards:
        own = [row for row in published if row.dataset == board.dataset]
        files |= board_files(board, reported_section(own))
        for entry in board.entries:
            if (recipe := recipe_toml(entry)) is not None:
                files[Path("recipes") / board.dataset / f"{entry.name}.toml"] = recipe
    if publications:
        files[Path("published.md")] = published_page(publications, published)
    files[Path("README.md")] = index_page(all_boards, has_published=bool(publications))
    return files


def index_page(all_boards: list[Board], *, has_published: bool) -> str:
    """The list of tables."""
    lines = ["# Tables", f"<!-- {GENERATED} -->"]
    items = []
    for board in all_boards:
        count = len(board.entries)
        title = f"{text.markdown(board.dataset)}, {text.markdown(board.protocol)}"
        items.append(f"* [{title}]({board.slug}.md): {count} {'method' if count == 1 else 'methods'}")
    if has_published:
        items.append("* [Numbers that papers report](published.md), not reproduced here and not ranked")
    lines.append("\n".join(items) or "There are no records yet.")
    lines.append("How to read and how to add to them: [leaderboards](../README.md).")
    return "\n\n".join(lines) + "\n"


def recipe_toml(entry: Entry) -> str | None:
    """The configuration as a file for `ltgen-bench run --config`; None for samples made elsewhere."""
    method = entry.submission.first.method
    config = method.config
    if config is None:
        return None
    command = f"ltgen-bench run --config <this file> --seed {min(entry.records)}"
    if method.code_sha256 is not None and not (method.plugin or "").startswith("package "):
        command += f" --plugin {shlex.quote(method.plugin or 'FILE')}"
    head = f"# made by ltgen-bench leaderboard build from the record; runs again with\n#   {command}\n"
    if method.code_sha256 is not None:
        head += f"# The method is no part of ltgen-bench: {_origin(method)}\n"
    head += "\n"
    if start := (config.get("training") or {}).get("init_sha256"):
        head += f"# It started from other weights: add --set training.init_from=FILE, with the sha256\n# {start}\n\n"
    return head + tomli_w.dumps(without_none(config))


def _origin(method: MethodPart) -> str:
    """Where a plug-in is to be had, and how to know that it is the same."""
    if (origin := method.plugin or "").startswith("package "):
        name, _, version = origin.removeprefix("package ").partition(" ")
        return f"pip install {name}=={version} (code sha256 {method.code_sha256})"
    return f"ask the submitter for {origin or 'its file'} (code sha256 {method.code_sha256})"


def build_tables(leaderboards: Path, data_root: Path = Path("data"), left_out: list[str] | None = None) -> list[Path]:
    """Write every file that differs and remove those of an earlier build that nothing gives any more.

    Returns what changed. `left_out` is filled as `read_entries` says, and the tables are made of the others. Raises
    StorageError for a link in or to `tables/`: nothing outside of it is touched.
    """
    files, tables = render(leaderboards, data_root, left_out), leaderboards / "tables"
    _check_real(leaderboards)
    names = [name.as_posix() for name in files]
    changed = []
    for name, content in files.items():
        if not (tables / name).is_file() or (tables / name).read_bytes() != content.encode():
            write_text(tables / name, content)
            changed.append(tables / name)
    changed += remove_listed(tables, tables / LIST, names)
    if not (tables / LIST).is_file() or (tables / LIST).read_text(encoding="utf-8") != list_text(names):
        write_text(tables / LIST, list_text(names))
    return changed


def check_tables(leaderboards: Path, data_root: Path = Path("data")) -> int:
    """The number of files, all of them up to date; raises StaleTableError that names the first one that is not."""
    files, tables = render(leaderboards, data_root), leaderboards / "tables"
    _check_real(leaderboards)
    again = "run 'ltgen-bench leaderboard build' and commit the result"
    wanted = {**files, Path(LIST): list_text(name.as_posix() for name in files)}
    for name, content in wanted.items():
        path = tables / name
        if not path.is_file():
            raise StaleTableError(f"{path} is missing; {again}")
        if path.read_bytes() != content.encode():
            raise StaleTableError(f"{path} is out of date; {again}")
    for path in sorted(path for path in tables.rglob("*") if path.is_file()):
        if path.relative_to(tables) not in wanted:
            raise StaleTableError(f"{path} belongs to no record, and no build made it; remove it")
    return len(files)


def _check_real(leaderboards: Path) -> None:
    tables = leaderboards / "tables"
    check_real_folder(tables, leaderboards)
    check_no_links(tables)
