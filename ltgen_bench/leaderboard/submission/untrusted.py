"""What an untrusted folder may hold: plain files of known names and sizes, and text that cannot disguise itself.

Nothing is read before its kind and size are known, no link is followed, and every message spells out the control
characters of text from outside.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ltgen_bench.core.errors import RecordError
from ltgen_bench.core.plain_text import printable, shown, text_problem
from ltgen_bench.core.text_files import read_bounded
from ltgen_bench.evaluation.record_files import MAX_RECORD_BYTES
from ltgen_bench.leaderboard.submission.terms import MOST_SEEDS

MAX_FILES = 2 * MOST_SEEDS + 2  # a record and a picture each, and two more
MAX_KEY = 200
MAX_RECORD_DEPTH = 24
MAX_PICTURE_SIDE = 4096  # pixels

METADATA, CHECKSUMS = "submission.toml", "SHA256SUMS"
RECORD_NAME = re.compile(r"(0|[1-9][0-9]{0,11})\.json")
PICTURE_NAME = re.compile(r"(0|[1-9][0-9]{0,11})\.png")
FOLDER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class SubmissionError(RecordError):
    """A submission that cannot be accepted; one line says what is wrong and where."""


def check_json(data: bytes, source: str) -> None:
    """Refuse JSON with strings that are too long or hidden, numbers that are not finite, or too deep nesting.

    The schema bounds the fields it knows; this bounds the free ones (`method.config`, `memorisation`), and it comes
    first, so that nothing else meets a value of absurd depth. JSON that cannot be parsed is left to the schema.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    for place, item in _walk(value, source):
        if isinstance(item, str):
            problem = text_problem(item)
        else:
            problem = None if math.isfinite(item) else "is not finite; a number that was not computed is null"
        if problem:
            raise SubmissionError(f"{source}: {printable(place)[:200] or 'the record'} {problem}")


def _walk(value: Any, source: str) -> Iterator[tuple[str, str | float]]:
    """Every string and float with its place; without recursion, as the depth is not ours. Keys are checked here."""
    waiting: list[tuple[str, int, Any]] = [("", 0, value)]
    while waiting:
        place, depth, item = waiting.pop()
        if isinstance(item, (str, float)):
            yield place, item
        elif isinstance(item, (dict, list)):
            if depth >= MAX_RECORD_DEPTH:
                raise SubmissionError(f"{source}: is nested more than {MAX_RECORD_DEPTH} deep")
            if isinstance(item, dict):
                for key in item:
                    if problem := text_problem(key, limit=MAX_KEY):
                        raise SubmissionError(f"{source}: the key {shown(key)} {problem}")
            pairs = item.items() if isinstance(item, dict) else enumerate(item)
            waiting += [
                (f"{place}.{key}" if place else str(key), depth + 1, inner)
                for key, inner in pairs
                if isinstance(inner, (str, float, dict, list))
            ]


def scan_folder(folder: Path) -> dict[str, int]:
    """Names and sizes of a submission folder's files, nothing of them read.

    Raises SubmissionError for a link, a folder or a device inside, a name that does not belong, a file that is too
    large, or too many of them.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise SubmissionError(f"{folder} is not a folder (links are not followed)")
    sizes: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if len(sizes) >= MAX_FILES:
                raise SubmissionError(f"{folder} holds more than {MAX_FILES} files")
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                raise SubmissionError(
                    f"{folder}: {shown(entry.name)} is a symbolic link; a submission holds files only"
                )
            if not stat.S_ISREG(status.st_mode):
                raise SubmissionError(f"{folder}: {shown(entry.name)} is not a plain file")
            limit = size_limit(entry.name)
            if limit is None:
                raise SubmissionError(
                    f"{folder}: {shown(entry.name)} does not belong in a submission, which holds {METADATA}, "
                    f"{CHECKSUMS}, <seed>.json and <seed>.png"
                )
            if status.st_size > limit:
                raise SubmissionError(
                    f"{folder}: {shown(entry.name)} has {status.st_size:,} bytes; at most {limit:,} are allowed"
                )
            sizes[entry.name] = status.st_size
    return sizes


def size_limit(name: str) -> int | None:
    """The most bytes that a file of this name may have, None for a name that does not belong."""
    if name in (METADATA, CHECKSUMS):
        return 64 << 10
    if RECORD_NAME.fullmatch(name):
        return MAX_RECORD_BYTES
    return 2 << 20 if PICTURE_NAME.fullmatch(name) else None


def parse_sums(data: bytes, source: Path) -> dict[str, str]:
    """The sha256 of every file that a list as `sha256sum` writes it names, by name; SubmissionError for any other."""
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise SubmissionError(f"{source} is not ASCII text") from None
    stated: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"([0-9a-f]{64})  (\S{1,200})", line)
        if match is None:
            raise SubmissionError(f"{source}: line {number} is not '<sha256>  <name>'")
        if match[2] in stated:
            raise SubmissionError(f"{source} names {shown(match[2])} twice")
        stated[match[2]] = match[1]
    return stated


def read_bytes(path: Path, limit: int) -> bytes:
    """A plain file's bytes; a link, a pipe or a file above `limit` bytes is refused without being read."""
    return read_bounded(path, error=SubmissionError, limit=limit, follow_links=False)


def check_picture(data: bytes, source: str) -> None:
    """Refuse what is not a PNG of a reasonable size; the size is read from the header before anything is decoded."""
    from io import BytesIO

    from PIL import Image

    header = data[:24]
    if header[:8] != b"\x89PNG\r\n\x1a\n" or header[12:16] != b"IHDR":
        raise SubmissionError(f"{source} is not a PNG picture")
    width, height = int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")
    if not (0 < width <= MAX_PICTURE_SIDE and 0 < height <= MAX_PICTURE_SIDE):
        raise SubmissionError(f"{source} has {width:,} x {height:,} pixels; at most {MAX_PICTURE_SIDE:,} a side")
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as picture:
            picture.load()  # decodes: a picture with right checksums around damaged pixels is found here
    except Exception as error:  # Pillow raises SyntaxError, OSError, ValueError, struct.error ... for damaged files
        raise SubmissionError(f"{source} is a damaged PNG picture") from error
