"""Text from outside: one reader for files, one for JSON and one for TOML, that no content can hang, fill or break.

A file has to be a plain one of some size, which is known before it is read; nesting and the size of integers are
limited, so that nothing which is made of the values meets one it cannot handle. What is refused is one line.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from ltgen_bench.core.errors import UserError, first_line

MAX_DEPTH = 64
MAX_TEXT_BYTES = 16 << 20
_MAX_INTEGER = 1 << 64


def read_bounded(
    path: Path, *, error: type[UserError], limit: int = MAX_TEXT_BYTES, follow_links: bool = True
) -> bytes:
    """A plain file's bytes; raises `error` for a folder, pipe or device, which are not opened for reading, for a link
    unless `follow_links`, and for more than `limit` bytes."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY  # a pipe would otherwise block for ever
    try:
        handle = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW)
    except (OSError, ValueError) as problem:  # ValueError: a zero byte in the name
        words = getattr(problem, "strerror", None) or first_line(problem)
        raise error(f"{path} cannot be read: {words}") from problem
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise error(f"{path} is not a plain file")
    with os.fdopen(handle, "rb") as file:
        try:
            data = file.read(limit + 1)
        except OSError as problem:
            raise error(f"{path} cannot be read: {problem.strerror}") from problem
    if len(data) > limit:
        raise error(f"{path} has more than the {limit:,} bytes that are allowed")
    return data


def read_text_bounded(path: Path, *, error: type[UserError], limit: int = MAX_TEXT_BYTES) -> str:
    """A plain file's UTF-8 text, a byte order mark left out; raises as `read_bounded`."""
    try:
        return read_bounded(path, error=error, limit=limit).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise error(f"{path} is not UTF-8 text") from None


def parse_toml(text: str, source: str, *, error: type[UserError]) -> dict[str, Any]:
    """TOML as nested mappings; raises `error` with the place of a mistake, and for values beyond all use."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise error(f"{source}: {first_line(problem)[:300]}") from None
    except ValueError:  # thousands of digits, which Python refuses to read
        raise error(f"{source}: an integer has too many digits") from None
    except RecursionError:
        raise error(f"{source} is nested more than {MAX_DEPTH} deep") from None
    check_values(values, source, error=error)
    return values


def parse_json(text: str, source: str, *, error: type[UserError]) -> Any:
    """JSON, strictly: no NaN or infinity, no key twice; raises `error` of one line."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise error(f"{source} is not JSON: nested too deeply") from None
    except ValueError as problem:
        raise error(f"{source} is not JSON: {first_line(problem)[:300]}") from None
    check_values(value, source, error=error)
    return value


def check_values(value: Any, source: str, *, error: type[UserError]) -> None:
    """Refuse nesting deeper than `MAX_DEPTH` and integers that no field has a use for; without recursion."""
    waiting: list[tuple[int, Any]] = [(0, value)]
    while waiting:
        depth, item = waiting.pop()
        if isinstance(item, int) and not -_MAX_INTEGER < item < _MAX_INTEGER:
            raise error(f"{source}: an integer has too many digits")
        if isinstance(item, dict | list):
            if depth >= MAX_DEPTH:
                raise error(f"{source} is nested more than {MAX_DEPTH} deep")
            waiting += [(depth + 1, inner) for inner in (item.values() if isinstance(item, dict) else item)]


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON; a number that was not computed is null")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value
