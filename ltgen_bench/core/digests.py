"""Hashes of files that are asked for often: computed once, and again when a file's size or time has changed.

What is known lies in a note in the data root's cache, never beside the files, which may be somebody else's or part of
a checkout. A note that cannot be written or read costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from ltgen_bench.core.errors import StorageError
from ltgen_bench.core.storage import read_json_object, write_json


def digest_note(data_root: Path) -> Path:
    """Where the hashes of the files that belong to a data root are kept."""
    return data_root / ".cache" / "digests.json"


def known_digest(path: Path, note: Path, algorithm: str = "sha256", *, fresh: bool = False) -> str:
    """The hexadecimal digest of a file, read again if `fresh`; raises OSError when it cannot be read.

    `note` is written only where its data root is there already: asking makes no folders.
    """
    state = path.stat()
    stamp = [state.st_size, state.st_mtime_ns, algorithm]
    key = str(path.resolve())
    known = read_json_object(note) or {}
    entry = known.get(key)
    if not fresh and isinstance(entry, list) and entry[:3] == stamp and len(entry) == 4:
        return str(entry[3])
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if note.parent.parent.is_dir():
        with contextlib.suppress(StorageError, OSError):
            write_json(note, {**known, key: [*stamp, found]})
    return found
