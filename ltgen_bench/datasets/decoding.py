"""Image files to one uint8 array: checked headers, parallel decoding, and a cache.

The cache sees when a file was written again, even with the size and the modification time it had.

Memory stays small: images are decoded in blocks and written one after the other into an `.npy` file, which is then
mapped into memory.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar, cast

import numpy as np

from ltgen_bench.core.errors import DataError
from ltgen_bench.core.storage import atomic_path, sha256_file, sha256_json, write_json
from ltgen_bench.datasets.base import Images
from ltgen_bench.datasets.image_folders import plain

MAX_PIXELS = 1 << 26  # 8192 x 8192: a small file that claims more is refused before it is decoded
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_GREY_MODES, _WIDE_MODES = ("1", "L", "LA", "La"), ("I", "F")
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_BLOCK = 1024  # images decoded between two writes
_STALE_SECONDS = 5.0
_CACHE_VERSION = 1  # counts up when decoding gives other pixels

_T = TypeVar("_T")
R = TypeVar("R")


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    grey: bool


def load_images(files: Sequence[Path], image_size: int | None, cache: Path) -> Images:
    """Decode `files` into uint8 (N, C, S, S), in their order, as a private memory map of a file in `cache`.

    C is 1 when all images are grey, else 3; alpha is dropped, the orientation tag of a camera is followed. With
    `image_size` None all images must be square and of one size S. Otherwise each is cropped to its largest centred
    square (an odd surplus pixel goes on the right or at the bottom) and brought to S = `image_size` with Pillow's
    antialiased bicubic filter; a square of that size is left alone.

    A second call for the same files (paths, inodes, sizes, times), `image_size` and Pillow reads the cache after
    checking its sha256. Raises DataError naming the first file that cannot be used, StorageError when `cache` cannot
    be written.
    """
    _remove_stale(cache)
    key = _cache_key(files, image_size)
    cached, note = cache / f"{key}.npy", cache / f"{key}.json"
    images = _read_cache(cached, note)
    if images is None:
        _write_cache(files, image_size, cached, note)
        images = _read_cache(cached, note)
        if images is None:
            raise DataError(f"{cached} changed while it was read")
    return images


def _cache_key(files: Sequence[Path], image_size: int | None) -> str:
    import PIL

    folders = {folder: folder.resolve() for folder in {file.parent for file in files}}  # slow, so once for each
    entries = []
    for file in files:
        status = _status(file)
        # the change time as well: tools that copy or unpack set the modification time to whatever they like
        stamps = [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        entries.append([plain(folders[file.parent] / file.name), *stamps])
    key = {"files": entries, "image_size": image_size, "pillow": PIL.__version__, "version": _CACHE_VERSION}
    return sha256_json(key)[:32]


def _remove_stale(cache: Path) -> None:
    """Delete what a killed process left half-written; what another one is writing is locked, and stays."""
    for partial in cache.glob(".*.partial.npy"):
        try:
            # one that is being made is unlocked for an instant, and is young then
            if time.time() - partial.stat().st_mtime < _STALE_SECONDS:
                continue
            with partial.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                partial.unlink()
        except OSError:  # locked, gone already, or not ours: then it is not in the way either
            continue


def _status(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        raise DataError(f"cannot read image {plain(file)}: {error.strerror}") from error


def _read_cache(cached: Path, note: Path) -> Images | None:
    try:
        expected = json.loads(note.read_text(encoding="utf-8"))["sha256"]
        if sha256_file(cached) != expected:
            return None
        # copy-on-write, because torch warns about arrays that refuse to be written
        return cast(Images, np.load(cached, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_cache(files: Sequence[Path], image_size: int | None, cached: Path, note: Path) -> None:
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        # set here and not in the threads, which share one list of filters
        warnings.simplefilter("ignore")
        headers = [header for block in _in_blocks(pool, _read_header, files) for header in block]
        size = _common_size(files, headers) if image_size is None else image_size
        channels = 1 if all(header.grey for header in headers) else 3

        def decode(file: Path) -> Images:
            return _decode(file, size, channels)

        with atomic_path(cached) as temporary, temporary.open("wb") as out:
            fcntl.flock(out, fcntl.LOCK_EX)  # ends with the process, so that a leftover can be told from work
            write_npy_header(out, (len(files), channels, size, size))
            for block in _in_blocks(pool, decode, files):
                for image in block:  # plain writes: a full disk is an error here and a crash in a memory map
                    out.write(image.tobytes())
        digest = sha256_file(cached)
    write_json(note, {"sha256": digest, "images": len(files), "image_size": size, "channels": channels})


def write_npy_header(out: IO[bytes], shape: tuple[int, ...]) -> None:
    """The header of an `.npy` file of uint8 in C order; the values follow as plain bytes."""
    description = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, description)


def decode_checked(file: Path, image_size: int) -> Images:
    """One image as RGB (3, S, S), cropped and resized as `load_images` does with S = `image_size`.

    Its header is checked before it is decoded. Raises DataError with the file's name when it cannot be used.
    """
    _read_header(file)
    return _decode(file, image_size, 3)


def _in_blocks(pool: ThreadPoolExecutor, work: Callable[[_T], R], items: Sequence[_T]) -> Iterable[list[R]]:
    """Results in order, a block at a time; the first failing item's error is raised and the rest is dropped."""
    for start in range(0, len(items), _BLOCK):
        yield list(pool.map(work, items[start : start + _BLOCK]))


def _read_header(file: Path) -> _Header:
    from PIL import Image

    try:
        with Image.open(file, formats=_FORMATS) as image:
            header = _Header(*image.size, grey=image.mode in _GREY_MODES)
            mode = image.mode
    except Image.DecompressionBombError:
        raise DataError(f"image {plain(file)} claims more than {MAX_PIXELS:,} pixels; it is not decoded") from None
    except Exception as error:  # a decoder may raise anything on bytes from outside
        raise _unreadable(file, error) from error
    if header.width * header.height > MAX_PIXELS:
        raise DataError(f"image {plain(file)} claims more than {MAX_PIXELS:,} pixels; it is not decoded")
    if mode in _WIDE_MODES or mode.startswith("I;"):
        raise DataError(f"image {plain(file)} has more than 8 bits a channel (mode {mode}); convert it to 8 bits")
    return header


def _common_size(files: Sequence[Path], headers: Sequence[_Header]) -> int:
    for file, header in zip(files, headers, strict=True):
        if header.width != header.height:
            raise DataError(
                f"image {plain(file)} is {header.width}x{header.height} and not square; "
                f"give an image size to crop and resize"
            )
        if header.width != headers[0].width:
            raise DataError(
                f"image {plain(file)} is {header.width}x{header.height} where {plain(files[0])} is "
                f"{headers[0].width}x{headers[0].height}; give an image size to resize"
            )
    return headers[0].width


def _decode(file: Path, size: int, channels: int) -> Images:
    """One image as (channels, size, size)."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file, formats=_FORMATS) as opened:
            turned = opened.getexif().get(_ORIENTATION, 1) != 1
            upright = ImageOps.exif_transpose(opened) if turned else opened
            image = upright.convert("L" if channels == 1 else "RGB")
    except Exception as error:  # as above
        raise _unreadable(file, error) from error
    if image.size != (size, size):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        image = image.crop(box).resize((size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.uint8)
    return np.ascontiguousarray(pixels.reshape(size, size, channels).transpose(2, 0, 1))


def _unreadable(file: Path, error: Exception) -> DataError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    if "cannot identify image file" in reason:
        reason = "it is not a PNG, JPEG, WebP or BMP file"
    return DataError(f"cannot read image {plain(file)}: {reason or type(error).__name__}")
