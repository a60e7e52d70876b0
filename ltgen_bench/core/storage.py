"""Files that are either whole or absent, and hashes of what is in them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import lzma
import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltgen_bench.core.errors import StorageError

LOCK_NAME = ".lock"  # the file in a folder that a process holds while it works there
_LOCK_ATTEMPTS = 5
_HASH_BLOCK = 1 << 22  # bytes read at a time

# What reading an archive (`.npz`) raises that is damaged, encrypted or packed in a way that Python does not know.
ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True)
class MissingFile:
    """A file that a data set or an extractor needs and that is not there (or is not the right one)."""

    path: Path  # where it has to be
    source: str  # where to get it: an address, or an instruction in words
    reason: str = "missing"  # or "sha256 differs: ..." and the like

    def __str__(self) -> str:
        return f"{self.path} ({self.reason}): get it from {self.source} and put it there"


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it on success and vanishes on any error.

    The data is on disk before the name changes (fsync), so a reader, or a run killed with -9, sees the old file or
    the new one and never half of it. Raises StorageError, with `path` in its message, when the disk is full or
    read-only.
    """
    path = Path(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=f".partial{path.suffix}")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp makes files that only their owner can read; give the usual permissions instead
            temporary.chmod(0o666 & ~_umask())
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into a StorageError of one line."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "permission denied",
            errno.EPERM: "permission denied",
            errno.ENOTDIR: "a part of the path is not a folder",
            errno.EEXIST: "a file is in the way of a folder",
            errno.EISDIR: "a folder is in the way of a file",
        }
        if error.errno not in reasons:
            raise
        raise StorageError(
            f"cannot write {path}: {reasons[error.errno]}; free it or choose another place (--runs-dir, --data-root)"
        ) from error


@contextlib.contextmanager
def locked_folder(folder: Path, busy: str) -> Iterator[None]:
    """Hold a folder, which is made if need be, alone; the lock ends with the process, however that ends.

    Raises StorageError with the message `busy` when another process has it.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        for attempt in range(_LOCK_ATTEMPTS):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if attempt + 1 == _LOCK_ATTEMPTS:
                    raise StorageError(busy) from None
                time.sleep(0.05)  # `is_locked` holds it for an instant
        yield
    finally:
        os.close(handle)


def is_locked(folder: Path) -> bool:
    """Whether some process holds `folder` (`locked_folder`)."""
    try:
        handle = os.open(folder / LOCK_NAME, os.O_RDWR)
    except OSError:
        return False  # nobody ever held it
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file that this package wrote; None where it is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sha256_arrays(**arrays: np.ndarray) -> str:
    """SHA-256 over named arrays: their names, dtypes, shapes and values in C order, independent of memory layout."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        rows = max(1, _HASH_BLOCK // max(1, array.nbytes // max(1, len(array)))) if array.ndim else 1
        if array.ndim == 0:
            digest.update(array.tobytes())
        else:
            for start in range(0, len(array), rows):  # blockwise, so that a memory map never comes into memory whole
                digest.update(np.ascontiguousarray(array[start : start + rows]).tobytes())
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return sha256_bytes(canonical.encode())
