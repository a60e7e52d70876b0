"""List files of public data sets: `<path> <label>` a line. Every line has to match a pattern."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ltgen_bench.core.errors import DataError, MissingFileError
from ltgen_bench.datasets.base import Tell
from ltgen_bench.datasets.image_folders import plain
from ltgen_bench.datasets.source_manifest import SourceFile

_MAX_BYTES = 1 << 28  # the largest official list, CelebA's attributes, has 26 MB
_SHOWN = 80  # characters of a bad line in a message

ListEntry = tuple[re.Match[str], int]


def find(source: Path, places: tuple[str, ...], name: str, needed_for: str, origin: str) -> Path:
    """The first of `source`/`places`/`name` that exists; raises MissingFileError that says where it belongs."""
    for place in places:
        if (source / place / name).exists():
            return source / place / name
    raise MissingFileError(
        f"data set {needed_for} needs {plain(source / name)} (missing): get it from {origin} and put it there"
    )


def read_text(path: Path, official: SourceFile, tell: Tell) -> str:
    """The text of an official file; raises DataError when its md5 is known and another one, or it is not text.

    Where no md5 is known, `tell` says which one the file has.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{plain(path)} is not the official {official.name}: it is larger than any list")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {plain(path)}: {error.strerror}") from error
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if official.md5 and found != official.md5:
        raise DataError(
            f"{plain(path)} is not the official file (md5 {found}, not {official.md5}); get it from {official.source}"
        )
    if not official.md5:
        tell(f"{official.name} has md5 {found}; its official one is not known here, so its content is checked")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise DataError(f"{plain(path)} is not the official {official.name}: it is not plain text") from None


def parse(path: Path, text: str, pattern: re.Pattern[str], class_count: int, lines: int) -> list[ListEntry]:
    """The lines `<path> <label>` of a list as (match of `pattern` with the whole path, label).

    Nothing but what `pattern` allows is ever used as a path. Raises DataError, with the line's number, for a line
    that does not fit, and for another number of lines than `lines` (0: any).
    """
    entries: list[ListEntry] = []
    for number, line in enumerate(text.splitlines(), start=1):
        name, _, label = line.rstrip().rpartition(" ")
        match = pattern.fullmatch(name)
        if match is None or ".." in name or not re.fullmatch(r"\d{1,5}", label) or int(label) >= class_count:
            raise DataError(
                f"{plain(path)}, line {number}: {line[:_SHOWN]!r} is not '<image> <label>' with an official image name "
                f"and a label below {class_count}"
            )
        entries.append((match, int(label)))
    if lines and len(entries) != lines:
        raise DataError(f"{plain(path)} has {len(entries):,} lines, not {lines:,}: it is not the official list")
    return entries
