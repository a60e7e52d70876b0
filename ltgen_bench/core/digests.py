"""Hashes of files that are asked for often: computed once, and again when a file's size or time has changed.

What is known lies in a note beside the files; one that cannot be written or read costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from ltgen_bench.core.errors import StorageError
from ltgen_bench.core.storage import read_json_object, write_json

DIGESTS = ".digests.json"


def known_digest(path: Path, algorithm: str = "sha256", *, fresh: bool = False) -> str:
    """The hexadecimal digest of a file, read again if `fresh`; raises OSError when it cannot be read."""
    state = path.stat()
    stamp = [state.st_size, state.st_mtime_ns, algorithm]
    note = path.parent / DIGESTS
    known = read_json_object(note) or {}
    entry = known.get(path.name)
    if not fresh and isinstance(entry, list) and entry[:3] == stamp and len(entry) == 4:
        return str(entry[3])
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    found = digest.hexdigest()
    with contextlib.suppress(StorageError, OSError):
        write_json(note, {**known, path.name: [*stamp, found]})
    return found
