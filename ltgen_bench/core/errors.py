"""Errors that a user can act on.

Every error below carries one line that says what is wrong, where, and what would be right. The command line prints
that line and exits with code 2; anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """A mistake or a missing thing on the user's side; `str(error)` is one line."""


class ConfigError(UserError):
    """An unknown key, a value of the wrong type, or a run folder with another configuration."""


class UnknownNameError(UserError):
    """A method, data set, feature extractor or protocol that is not registered."""


class MissingFileError(UserError):
    """A data set or weights file that is not there; the message says where to get it and where to put it."""


class DataError(UserError):
    """Images, labels or folders that cannot be used."""


class SamplesError(UserError):
    """A samples or features file that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint that is truncated, not a checkpoint at all, or belongs to another method or class count."""


class RecordError(UserError):
    """A record that does not follow the schema or contradicts itself."""


class DeviceError(UserError):
    """A device that was asked for and is not there, or has too little memory."""


class TrainingError(UserError):
    """Training that cannot continue, such as a loss that is not finite."""


class PluginError(UserError):
    """A plug-in that cannot be imported, or whose own code fails; `__cause__` has the author's traceback."""


class StorageError(UserError):
    """A file system that refuses to be written: full, read-only, or used by another process."""


class MissingExtraError(UserError):
    """An optional dependency that is not installed; the message names the extra to install."""


class Mistake(NamedTuple):
    """The first thing that pydantic found wrong with a value."""

    place: str  # dotted, "" for the whole value
    message: str
    kind: str  # pydantic's name for it, such as "extra_forbidden"
    given: Any


def first_mistake(error: ValidationError) -> Mistake:
    """What one line can say of a validation error."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    place = ".".join(map(str, first["loc"]))
    return Mistake(place, message[:1].lower() + message[1:], first["type"], first["input"])


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, or its type where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def close_to(word: str, wanted: str) -> bool:
    """Whether `word` looks like a misspelt `wanted`."""
    return bool(difflib.get_close_matches(word, [wanted], n=1, cutoff=0.6))


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """The end of an error message: the closest of `choices` to `name`, or all of them when none is close."""
    known = sorted(choices)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}" if known else "none is known"
