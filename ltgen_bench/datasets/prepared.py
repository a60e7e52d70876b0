"""Prepared images: one pass over a user's image files into one memory-mapped file, resumable after kill -9.

    images.npy    uint8 (N, 3, S, S)
    index.npz     labels int64 (N,) and indices int64 (N,): the position of each image in its source's list
    files.txt     where each image came from, one name a line
    images.json   the note that describes the others; written last, so a folder with a note is whole

While it is being made there are `images.partial.npy` and `progress.json`, which says how many blocks are written and
the sha256 of each. A second start hashes them again and continues after the last good one. Only one block of images is
ever in memory.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from ltgen_bench.core.digests import known_digest
from ltgen_bench.core.errors import DataError, MissingFileError
from ltgen_bench.core.storage import (
    ARCHIVE_ERRORS,
    atomic_path,
    locked_folder,
    read_json_object,
    sha256_arrays,
    sha256_file,
    sha256_json,
    storage_errors,
    write_json,
)
from ltgen_bench.datasets.base import Images, Indices, Labels, Tell, Tick
from ltgen_bench.datasets.decoding import decode_checked, write_npy_header
from ltgen_bench.datasets.image_folders import plain

IMAGES, INDEX, FILES, NOTE = "images.npy", "index.npz", "files.txt", "images.json"
_PARTIAL, _PROGRESS = "images.partial.npy", "progress.json"
_BLOCK = 1024  # images decoded, written and flushed to disk at a time: 12 MB at 64 px
_FORMAT = 1  # counts up when the files or the pixel rule change meaning
_MAX_THREADS = 16


@dataclass(frozen=True, eq=False)
class Plan:
    """Which files are to be read, in order, and which runs of them are the training and the reference images.

    `names` are the files as they stand in lists and notes, `files` where they are; `labels` and `indices` are int64
    (N,). `train` and `reference` are [first, end) in that order and may overlap. `facts` go into the note.
    """

    names: Sequence[str]
    files: Sequence[Path]
    labels: Labels
    indices: Indices
    train: tuple[int, int]
    reference: tuple[int, int]
    facts: dict[str, Any] = field(default_factory=dict)

    def counts(self, part: tuple[int, int], class_count: int) -> tuple[int, ...]:
        """Images of each class in `train` or `reference`."""
        return tuple(int(n) for n in np.bincount(self.labels[slice(*part)], minlength=class_count))

    def key(self, image_size: int) -> str:
        """Sha256 over what the pixels depend on besides the files' content; where it differs, nothing is resumed."""
        import PIL

        return sha256_json(
            {
                "names": hashlib.sha256("\n".join(self.names).encode()).hexdigest(),
                "arrays": sha256_arrays(labels=self.labels, indices=self.indices),
                "parts": [self.train, self.reference],
                "image_size": image_size,
                "pillow": PIL.__version__,
                "format": _FORMAT,
            }
        )


@dataclass(frozen=True, eq=False)
class Prepared:
    """A whole prepared folder: its note, and its arrays; `images` is a private memory map."""

    note: dict[str, Any]
    images: Images
    labels: Labels
    indices: Indices

    @property
    def train(self) -> slice:
        """Where the training images are."""
        return slice(*self.note["train"])

    @property
    def reference(self) -> slice:
        """Where the reference images are."""
        return slice(*self.note["reference"])


def is_prepared(folder: Path) -> bool:
    """Whether the folder's files are there; existence only."""
    return all((folder / name).is_file() for name in (NOTE, IMAGES, INDEX))


def what_has_changed(folder: Path, known: Path) -> str | None:
    """Why the images of a prepared folder are not those of its note; None where they are.

    `known` is the note of hashes that were computed before (`core.digests`).

    A note that cannot be read is no answer: opening the folder says what is wrong with it.
    """
    note = read_json_object(folder / NOTE)
    if note is None or "sha256" not in note or (found := known_digest(folder / IMAGES, known)) == note["sha256"]:
        return None
    return f"{IMAGES} has changed since it was prepared (sha256 {found}, not {note['sha256']}); delete {folder}"


def read_note(folder: Path) -> dict[str, Any]:
    """The note of a prepared folder; raises DataError when it is not one."""
    path = folder / NOTE
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        if note["format"] != _FORMAT:
            raise DataError(f"{path} is of format {note['format']}, not {_FORMAT}; delete {folder} and prepare again")
        return cast(dict[str, Any], note)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read {path}: {error}; delete {folder} and prepare again") from error


def open_prepared(folder: Path) -> Prepared:
    """Map a prepared folder. Sizes and the index's sha256 are checked; `check_prepared` checks the pixels too."""
    note = read_note(folder)
    try:
        # copy-on-write, because torch warns about arrays that refuse to be written
        images = cast(Images, np.load(folder / IMAGES, mmap_mode="c", allow_pickle=False))
        with (folder / INDEX).open("rb") as file, np.load(file, allow_pickle=False) as index:
            labels, indices = index["labels"], index["indices"]
    except (*ARCHIVE_ERRORS, KeyError) as error:
        raise DataError(f"cannot read {folder}: {error}; delete it and prepare again") from error
    if list(images.shape) != note["shape"] or sha256_arrays(labels=labels, indices=indices) != note["index_sha256"]:
        raise DataError(f"{folder} is damaged: its files are not those of its note; delete it and prepare again")
    return Prepared(note, images, labels, indices)


def check_prepared(folder: Path) -> list[tuple[str, str]]:
    """Hash a prepared folder's files again: (name, sha256) of each. Raises DataError for one that has changed."""
    note = read_note(folder)
    open_prepared(folder)
    checked = []
    for name, key in ((IMAGES, "sha256"), (FILES, "files_sha256")):
        path = folder / name
        try:
            found = sha256_file(path)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}; delete {folder} and prepare again") from error
        if found != note[key]:
            raise DataError(
                f"{path} has changed since it was prepared (sha256 {found}, not {note[key]}); delete {folder} and "
                f"prepare again"
            )
        checked.append((name, found))
    return [*checked, (INDEX, note["index_sha256"])]


def prepare(plan: Plan, folder: Path, image_size: int, tell: Tell, tick: Tick | None = None) -> None:
    """Decode, crop and resize the plan's files into `folder`, resuming where an earlier start was cut off.

    `tell` takes a line for the user, `tick` the numbers (done, total). Raises MissingFileError for the first file
    that is not there, before anything is decoded; DataError for the first one that cannot be used, by name, and what
    was done until then is kept; StorageError when `folder` cannot be written or another process prepares it.
    """
    key = plan.key(image_size)
    with locked_folder(folder, f"another process is preparing {folder}; wait for it"):
        if is_prepared(folder) and read_note(folder)["key"] == key:
            tell(f"{folder} is prepared already")
            return
        _require(plan.files)
        hashes = _resume(folder, key, image_size, len(plan.files), tell)
        _write(plan, folder, image_size, key, hashes, tick or (lambda done, total: None))
        _finish(plan, folder, image_size, key)


def _require(files: Sequence[Path]) -> None:
    """Raise for files that are not there now, and not after an hour of decoding."""
    with ThreadPoolExecutor(_threads()) as pool:  # a network disk answers many questions at a time
        missing = [file for file, there in zip(files, pool.map(os.path.isfile, files), strict=True) if not there]
    if missing:
        raise MissingFileError(
            f"image {plain(missing[0])} is missing ({len(missing):,} of {len(files):,} are); complete the download, or "
            f"name the right folder with --path"
        )


def _resume(folder: Path, key: str, image_size: int, total: int, tell: Tell) -> list[str]:
    """Sha256 of the blocks that an earlier start has written and that are still good; the rest is cut off."""
    partial, progress = folder / _PARTIAL, folder / _PROGRESS
    for stale in folder.glob(
        ".*.partial.*"
    ):  # left behind by a process that was killed while renaming; the lock says that it is gone
        stale.unlink(missing_ok=True)
    for old in (NOTE, INDEX, FILES):  # of another plan, or of a start that was cut off at its end
        (folder / old).unlink(missing_ok=True)
    if (folder / IMAGES).exists():
        (folder / IMAGES).replace(partial)
    try:
        state = json.loads(progress.read_text(encoding="utf-8"))
        hashes = list(state["blocks"]) if state["key"] == key else []
    except (OSError, ValueError, KeyError, TypeError):
        hashes = []
    header = _header(total, image_size)
    size = _image_bytes(image_size)
    good: list[str] = []
    if hashes and partial.is_file():
        with partial.open("rb") as file:
            if file.read(len(header)) == header:
                for number, expected in enumerate(hashes):
                    block = file.read(size * _in_block(number, total))
                    if hashlib.sha256(block).hexdigest() != expected:
                        break
                    good.append(expected)
    if good:
        tell(f"resuming after {min(len(good) * _BLOCK, total):,} of {total:,} images")
    else:
        with storage_errors(partial):
            partial.write_bytes(header)
    return good


def _write(plan: Plan, folder: Path, image_size: int, key: str, hashes: list[str], tick: Tick) -> None:
    partial, total = folder / _PARTIAL, len(plan.files)
    start = len(hashes) * _BLOCK

    def decode(file: Path) -> Images:
        return decode_checked(file, image_size)

    with (
        storage_errors(partial),
        warnings.catch_warnings(),
        ThreadPoolExecutor(_threads()) as pool,
        partial.open("r+b") as out,
    ):
        warnings.simplefilter("ignore")  # set here and not in the threads, which share one list of filters
        out.truncate(len(_header(total, image_size)) + min(start, total) * _image_bytes(image_size))
        out.seek(0, os.SEEK_END)
        tick(min(start, total), total)
        for first in range(start, total, _BLOCK):
            digest = hashlib.sha256()
            for image in pool.map(decode, plan.files[first : first + _BLOCK]):
                data = image.tobytes()
                digest.update(data)
                out.write(data)  # plain writes: a full disk is an error here and a crash in a memory map
            out.flush()
            os.fsync(out.fileno())
            hashes.append(digest.hexdigest())
            write_json(folder / _PROGRESS, {"key": key, "blocks": hashes})
            tick(min(first + _BLOCK, total), total)


def _finish(plan: Plan, folder: Path, image_size: int, key: str) -> None:
    import PIL

    (folder / _PARTIAL).replace(folder / IMAGES)
    with atomic_path(folder / INDEX) as temporary, temporary.open("wb") as out:
        np.savez(out, labels=plan.labels, indices=plan.indices)
    with atomic_path(folder / FILES) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in plan.names), encoding="utf-8")
    write_json(
        folder / NOTE,
        {
            "format": _FORMAT,
            "shape": [len(plan.files), 3, image_size, image_size],
            "train": list(plan.train),
            "reference": list(plan.reference),
            "sha256": sha256_file(folder / IMAGES),
            "index_sha256": sha256_arrays(labels=plan.labels, indices=plan.indices),
            "files_sha256": sha256_file(folder / FILES),
            "pillow": PIL.__version__,
            "key": key,
            "facts": plan.facts,
        },
    )
    (folder / _PROGRESS).unlink(missing_ok=True)


def _threads() -> int:
    return min(_MAX_THREADS, os.cpu_count() or 1)


def _header(total: int, image_size: int) -> bytes:
    buffer = io.BytesIO()
    write_npy_header(buffer, (total, 3, image_size, image_size))
    return buffer.getvalue()


def _image_bytes(image_size: int) -> int:
    return 3 * image_size * image_size


def _in_block(number: int, total: int) -> int:
    return min(_BLOCK, total - number * _BLOCK)
