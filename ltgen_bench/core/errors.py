"""Errors that a user can act on.

Every error below carries one line that says what is wrong, where, and what would be right. The command line prints
that line and exits with code 2; anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
    """A checkpoint that is truncated, foreign, or of another method or class count."""


class RecordError(UserError):
    """A record that does not follow the schema or contradicts itself."""


class DeviceError(UserError):
    """A device that was asked for and is not there, or has too little memory."""


class TrainingError(UserError):
    """Training that cannot continue, such as a loss that is not finite."""


class StorageError(UserError):
    """A file system that refuses to be written: full, read-only, or used by another process."""


class MissingExtraError(UserError):
    """An optional dependency that is not installed; the message names the extra to install."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """The end of an error message: the closest of `choices` to `name`, or all of them when none is close."""
    known = sorted(choices)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}" if known else "none is known"
