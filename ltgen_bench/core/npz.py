"""Arrays from `.npz` and `.npy` files of strangers: headers, sizes and dtypes first, no pickled objects."""

from __future__ import annotations

import math
import stat
import tokenize
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from ltgen_bench.core.errors import SamplesError, first_line
from ltgen_bench.core.storage import ARCHIVE_ERRORS

_SUFFIX = ".npy"
_MOST_ARRAYS = 64
_MOST_NAME = 200
MAX_ARRAY_BYTES = 16 << 30  # 50,000 images of 256 px are 10 GB


def npz_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of every array in an `.npz` without reading the data; raises SamplesError for any other file.

    An archive holds arrays only, each once: a member without the suffix `.npy` would be read in the place of the array
    whose header was checked, and of two with one name another one. Refused are also object arrays, and arrays whose
    stored size is not what their header says.
    """
    headers = {}
    try:
        _refuse_other_files(path)
        with zipfile.ZipFile(path) as archive:
            for entry in _members(archive):
                with archive.open(entry) as file:
                    shape, dtype = _read_header(file)
                    header_bytes = file.tell()
                name = entry.filename.removesuffix(_SUFFIX)
                _check_stored(path, name, shape, dtype, entry.file_size - header_bytes)
                headers[name] = (shape, dtype)
    except ARCHIVE_ERRORS as error:
        raise SamplesError(f"{path} is not a readable .npz file ({first_line(error)})") from error
    return headers


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > _MOST_ARRAYS:
        raise ValueError(f"{len(entries)} members; at most {_MOST_ARRAYS} are read")
    seen = set()
    for entry in entries:
        if not entry.filename.endswith(_SUFFIX) or len(entry.filename) > _MOST_NAME:
            raise ValueError(f"it holds {ascii(entry.filename)[:60]}, which is no array")
        if entry.filename in seen:
            raise ValueError(f"it holds the array {ascii(entry.filename)[:60]} twice")
        seen.add(entry.filename)
    return entries


def _refuse_other_files(path: Path) -> None:
    """A pipe or a device would hang or never end."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise ValueError("no plain file")


def npy_header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an `.npy` without reading the data; raises SamplesError as `npz_headers` does."""
    if not path.is_file():
        raise SamplesError(f"there is no samples file {path}")
    try:
        with path.open("rb") as file:
            shape, dtype = _read_header(file)
            stored = path.stat().st_size - file.tell()
    except (ValueError, OSError, EOFError) as error:
        raise SamplesError(f"{path} is not a readable .npy file ({first_line(error)})") from error
    _check_stored(path, path.name, shape, dtype, stored)
    return shape, dtype


def read_npy(path: Path) -> np.ndarray:
    """Map an `.npy` whose header was checked into memory, read-only; raises SamplesError when it is damaged."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise SamplesError(f"{path} is damaged ({first_line(error)})") from error
    return array


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read arrays whose headers were checked; raises SamplesError when the data is damaged, or changed since."""
    found = {}
    try:
        _refuse_other_files(path)
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in _members(archive)}
            for name in names:
                entry = entries[f"{name}{_SUFFIX}"]
                with archive.open(entry) as file:
                    shape, dtype = _read_header(file)
                    _check_stored(path, name, shape, dtype, entry.file_size - file.tell())
                with archive.open(entry) as file:
                    found[name] = np.lib.format.read_array(file, allow_pickle=False)
    except (KeyError, *ARCHIVE_ERRORS) as error:
        raise SamplesError(f"{path} is damaged ({first_line(error)})") from error
    return found


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # later versions exist for headers above 64 KiB and up to 4 GiB, which no plain array has
        raise ValueError(f"npy format {version[0]}.{version[1]}, only 1.0 is read")
    try:
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except (SyntaxError, tokenize.TokenError, TypeError, KeyError, RecursionError, MemoryError) as error:
        # the header is a Python literal, and a damaged one can raise all that parsing can
        raise ValueError(f"damaged npy header: {first_line(error)}") from error
    return tuple(int(length) for length in shape), dtype


def _check_stored(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], stored: int) -> None:
    """Refuse objects, and headers that promise another size than what is there."""
    if dtype.hasobject:
        raise SamplesError(f"{path}: {name!r} holds pickled Python objects, which are never read")
    size = dtype.itemsize * math.prod(shape)
    if size > MAX_ARRAY_BYTES or size != stored:
        raise SamplesError(f"{path}: {name!r} says {size} bytes and stores {stored}")
