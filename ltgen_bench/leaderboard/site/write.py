"""`leaderboard site`: a static site of plain files. It loads nothing from the network and works from a folder.

Text from outside reaches a page through jinja2's autoescape only. The pages forbid inline scripts and styles to the
browser, so that a hole in the escaping would still run nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ltgen_bench.core.choices import Level
from ltgen_bench.core.errors import StorageError
from ltgen_bench.core.generated import check_no_links, list_text, remove_listed
from ltgen_bench.core.storage import storage_errors, write_text
from ltgen_bench.core.version import __version__
from ltgen_bench.leaderboard.collect import Board, boards, read_entries
from ltgen_bench.leaderboard.published import Publication, published_rows, read_published
from ltgen_bench.leaderboard.ranking import rows
from ltgen_bench.leaderboard.site.pages import board_context, published_context, record_context
from ltgen_bench.leaderboard.tables import board_csv, board_latex

ASSETS = ("style.css", "site.js", "tablesort.min.js", "tablesort.number.min.js", "tablesort.LICENCE.txt")
MARKER = ".ltgen-bench-site"  # lists the site's files; a folder without it is somebody else's


def write_site(leaderboards: Path, out: Path, data_root: Path = Path("data"), left_out: list[str] | None = None) -> int:
    """Write the site of `leaderboards` to `out`, replacing an earlier one; returns the number of record pages.

    `left_out` is filled as `read_entries` says. Raises StorageError when `out` holds other things, and whatever reading
    the records raises.
    """
    all_boards = boards(read_entries(leaderboards, data_root, left_out), leaderboards)
    publications = read_published(leaderboards / "published")
    out = out.resolve()
    _check_replaceable(out)
    # elsewhere first: where something fails, the earlier site is still whole
    with storage_errors(out), tempfile.TemporaryDirectory() as draft:
        pages = _write(Path(draft) / "site", all_boards, publications)
        _replace(Path(draft) / "site", out)
    return pages


def _replace(made: Path, out: Path) -> None:
    """Put the files of a site in the place of an earlier one's; whatever else is there (a CNAME, say) stays."""
    names = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    out.mkdir(parents=True, exist_ok=True)
    remove_listed(out, out / MARKER, names)
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made / name, out / name)
    write_text(out / MARKER, list_text(names))


def _write(out: Path, all_boards: list[Board], publications: list[Publication]) -> int:
    (out / "assets").mkdir(parents=True)
    for name in ASSETS:
        (out / "assets" / name).write_bytes(files("ltgen_bench.leaderboard.site").joinpath("assets", name).read_bytes())
    contexts = sorted((board_context(board) for board in all_boards), key=_first)
    published = published_rows(publications)
    environment = _environment()
    index = environment.get_template("index.html.j2").render(
        root="",
        contexts=contexts,
        published=published_context(published),
        publications=publications,
        datasets=sorted({board.dataset for board in all_boards} | {row.dataset for row in published}),
        protocols=sorted({board.protocol for board in all_boards}),
        levels=[str(level) for level in reversed(Level)],
    )
    write_text(out / "index.html", index)
    return sum(_write_board(board, out, environment) for board in all_boards)


def _first(context: dict[str, Any]) -> tuple[str, bool, int, str]:
    """Of a data set's boards those with ranked rows come first, and of these the later version of a protocol."""
    board: Board = context["board"]
    version = board.protocol.rpartition(".v")[2]
    ranked = any(row.row.rank is not None for row in context["rows"])
    return board.dataset, not ranked, -int(version) if version.isdigit() else 0, board.slug


def _write_board(board: Board, out: Path, environment: Environment) -> int:
    ordered, pages = rows(board), 0
    write_text(out / "tables" / f"{board.slug}.csv", board_csv(board, ordered))
    write_text(out / "tables" / f"{board.slug}.tex", board_latex(board, ordered))
    template = environment.get_template("record.html.j2")
    for entry in board.entries:
        folder = out / "records" / board.dataset / entry.name
        folder.mkdir(parents=True)
        for seed in entry.records:
            context = record_context(board, entry, seed)
            size = None
            if seed in entry.submission.pictures:
                size = _copy_picture(entry.submission.path / f"{seed}.png", folder / f"{seed}.png")
            shutil.copyfile(entry.submission.path / f"{seed}.json", folder / f"{seed}.json")
            if context["recipe"] is not None:
                write_text(folder / "recipe.toml", context["recipe"])
            write_text(folder / f"{seed}.html", template.render(root="../../../", picture_size=size, **context))
            pages += 1
    return pages


def _copy_picture(source: Path, target: Path) -> tuple[int, int]:
    """Decode and encode a submitted picture, so that only pixels get through; returns its size."""
    from PIL import Image

    with Image.open(BytesIO(source.read_bytes()), formats=["PNG"]) as picture:
        keep = picture.convert("RGB").quantize(256)
        keep.save(target, "PNG", optimize=True)
        return keep.size


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ltgen_bench.leaderboard.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["version"] = __version__
    environment.filters["spaced"] = _spaced
    return environment


def _spaced(value: Any) -> str:
    """A key in words."""
    return str(value).replace("_", " ")


def _check_replaceable(out: Path) -> None:
    """Refuse a file, and a folder that holds anything but an earlier site."""
    with storage_errors(out):
        if out.exists() and not out.is_dir():
            raise StorageError(f"{out} is a file; give a folder for the site")
        if out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
            raise StorageError(f"{out} is not empty and holds no earlier site; give another folder")
        if out.is_dir():
            check_no_links(out)
