"""Samples as files: ADM-style `.npz` with `arr_0` uint8 (N, H, W, C) and `labels` (or `arr_1`) integers (N,).

A samples file comes from anywhere, so nothing in it is trusted: headers, sizes and dtypes are checked before any array
is read, and pickled objects are refused.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ltgen_bench.errors import SamplesError
from ltgen_bench.storage import ARCHIVE_ERRORS, atomic_path, sha256_arrays

MAX_SAMPLES = 10_000_000
MAX_BYTES = 16 << 30  # 50,000 images of 256 px are 10 GB
MAX_SIDE = 4096  # pixels


@dataclass(frozen=True)
class Samples:
    """Generated images uint8 (N, C, H, W) and their labels int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def sha256(self) -> str:
        """Hash of pixels and labels, independent of the file they came from."""
        return sha256_arrays(images=self.images, labels=self.labels)


def write_samples(path: Path, samples: Samples) -> None:
    """Write an ADM-style `.npz`, uncompressed, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, arr_0=samples.images.transpose(0, 2, 3, 1), labels=samples.labels)


def read_samples(path: Path) -> Samples:
    """Read an ADM-style `.npz`; raises SamplesError, one line, for anything that is not one."""
    path = Path(path)
    if not path.is_file():
        raise SamplesError(f"there is no samples file {path}")
    headers = npz_headers(path)
    if "arr_0" not in headers:
        raise SamplesError(f"{path} has no array 'arr_0' with the images; it has {sorted(headers) or 'none'}")
    label_key = next((key for key in ("labels", "arr_1") if key in headers), None)
    if label_key is None:
        raise SamplesError(f"{path} has no labels: an integer array 'labels' or 'arr_1' of shape (N,) is needed")
    check_image_header(path, "arr_0", *headers["arr_0"])
    count = headers["arr_0"][0][0]
    shape, dtype = headers[label_key]
    if shape != (count,):
        raise SamplesError(f"{path}: {label_key!r} has the shape {shape}; {count} images need ({count},)")
    if dtype.kind not in "iu":
        raise SamplesError(f"{path}: {label_key!r} has the dtype {dtype}; labels are integers")
    arrays = read_npz(path, ("arr_0", label_key))
    return make_samples(arrays["arr_0"], arrays[label_key], str(path))


def make_samples(images: np.ndarray, labels: np.ndarray, source: str) -> Samples:
    """Check images uint8 (N, H, W, C) and integer labels (N,) and put the channels first."""
    if labels.size and int(labels.min()) < 0:
        raise SamplesError(f"{source}: label {int(labels.min())} is negative; labels are class indices from 0")
    return Samples(np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels.astype(np.int64))


def check_image_header(path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an image array by its shape and dtype, before it is read."""
    if dtype != np.uint8:
        hint = "; scale to 0 ... 255 and convert to uint8" if dtype.kind == "f" else ""
        raise SamplesError(f"{path}: {key!r} has the dtype {dtype}; images are uint8{hint}")
    if len(shape) != 4 or shape[3] not in (1, 3):
        hint = "; the channels come last" if len(shape) == 4 and shape[1] in (1, 3) else ""
        raise SamplesError(f"{path}: {key!r} has the shape {shape}; images are (N, H, W, C) with C = 1 or 3{hint}")
    if shape[0] == 0:
        raise SamplesError(f"{path}: {key!r} is empty")
    if shape[0] > MAX_SAMPLES or max(shape[1:3]) > MAX_SIDE or min(shape[1:3]) == 0:
        raise SamplesError(f"{path}: {key!r} has the shape {shape}, which is beyond what is read here")


def npz_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of every array in an `.npz` without reading the data; raises SamplesError if it is none.

    Object arrays are refused, and so are arrays whose stored size is not what their header says.
    """
    headers = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.filename.endswith(".npy"):
                    continue
                with archive.open(entry) as file:
                    shape, dtype = _read_header(file)
                    header_bytes = file.tell()
                name = entry.filename.removesuffix(".npy")
                _check_stored(path, name, shape, dtype, entry.file_size - header_bytes)
                headers[name] = (shape, dtype)
    except ARCHIVE_ERRORS as error:
        raise SamplesError(f"{path} is not a readable .npz file ({_first_line(error)})") from error
    return headers


def npy_header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an `.npy` without reading the data; raises SamplesError as `npz_headers` does."""
    if not path.is_file():
        raise SamplesError(f"there is no samples file {path}")
    try:
        with path.open("rb") as file:
            shape, dtype = _read_header(file)
            stored = path.stat().st_size - file.tell()
    except (ValueError, OSError, EOFError) as error:
        raise SamplesError(f"{path} is not a readable .npy file ({_first_line(error)})") from error
    _check_stored(path, path.name, shape, dtype, stored)
    return shape, dtype


def read_npy(path: Path) -> np.ndarray:
    """Map an `.npy` whose header was checked into memory, read-only; raises SamplesError when it is damaged."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise SamplesError(f"{path} is damaged ({_first_line(error)})") from error
    return array


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read arrays whose headers were checked; raises SamplesError when the data is damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except ARCHIVE_ERRORS as error:
        raise SamplesError(f"{path} is damaged ({_first_line(error)})") from error


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # later versions exist for headers above 64 KiB and up to 4 GiB, which no plain array has
        raise ValueError(f"npy format {version[0]}.{version[1]}, only 1.0 is read")
    try:
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except (SyntaxError, tokenize.TokenError, TypeError, KeyError, RecursionError, MemoryError) as error:
        # the header is a Python literal, and a damaged one can raise all that parsing can
        raise ValueError(f"damaged npy header: {_first_line(error)}") from error
    return tuple(int(length) for length in shape), dtype


def _check_stored(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], stored: int) -> None:
    """Refuse objects, and headers that promise another size than what is there."""
    if dtype.hasobject:
        raise SamplesError(f"{path}: {name!r} holds pickled Python objects, which are never read")
    size = dtype.itemsize * math.prod(shape)
    if size > MAX_BYTES or size != stored:
        raise SamplesError(f"{path}: {name!r} says {size} bytes and stores {stored}")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
