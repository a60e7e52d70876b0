"""CIFAR's official files: where they are, how they are fetched, checked and read.

The Python version holds pickles, so nothing of it is opened before the MD5 of every file agrees with the official
list (torchvision checks again as it reads): no other pickle is ever loaded. The binary version is plain bytes; its
single files have no published checksums, so sizes, label ranges and class counts are checked instead. When both
are on disk the Python version is read.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ltgen_bench.core.digests import digest_note, known_digest
from ltgen_bench.core.errors import DataError, MissingFileError
from ltgen_bench.core.storage import MissingFile, atomic_path, storage_errors
from ltgen_bench.datasets.base import ImageSet, Tell, as_counts
from ltgen_bench.datasets.manifest import CifarFiles, Manifest

PROBE_SECONDS = 6.0  # a machine without a network gets its answer within this time
STALL_SECONDS = 30.0  # a download that stalls for this long is given up


def missing(manifest: Manifest, data_root: Path) -> list[MissingFile]:
    """The Python version's archive if neither version lies in `data_root`, packed or unpacked, or not as published.

    Contents are compared (`core.digests`): an error page that was saved under the archive's name is no archive.
    """
    files, note = _files(manifest), digest_note(data_root)
    if (folder := _unpacked(files, data_root)) is not None:
        if folder == data_root / files.folder:
            for name, md5 in (*files.train, *files.test, files.meta):
                if known_digest(folder / name, note, "md5") != md5:
                    reason = f"{folder / name} is not the official file; delete the folder {files.folder}"
                    return [_missing_archive(files, data_root, reason)]
        return []
    packed = _packed(files, data_root)
    if packed is None:
        return [_missing_archive(files, data_root, "missing")]
    archive, md5, _ = packed
    if known_digest(archive, note, "md5") == md5:
        return []
    return [_missing_archive(files, data_root, f"{archive.name} is {_what_it_is(archive)}; delete it")]


def _what_it_is(archive: Path) -> str:
    with archive.open("rb") as file:
        head = file.read(512).lstrip()
    if head[:1] == b"<":
        return "a web page, not the archive: an error page saved by a download"
    return f"not the official archive ({archive.stat().st_size:,} bytes)"


def fetch(manifest: Manifest, data_root: Path, progress: Tell | None = None) -> None:
    """Download the Python version unless files are there, unpack it, and check every file.

    Raises MissingFileError (one line: which file, from where, where to put it) when it cannot be downloaded,
    DataError when a file on disk is not the official one, StorageError when `data_root` cannot be written.
    """
    files = _files(manifest)
    tell = progress or (lambda line: None)
    if not (_unpacked(files, data_root) or _packed(files, data_root)):
        _download(manifest, data_root, tell)
    folder = _ensure_unpacked(manifest, data_root, tell)
    tell(f"checking {folder}")
    if folder == data_root / files.folder:
        _check_md5(files, data_root, fresh=True)
    else:
        for name in (*files.binary_train, *files.binary_test):
            _check_size(folder / name, manifest, files, name in files.binary_train)


def read(manifest: Manifest, data_root: Path, train: bool) -> ImageSet:
    """The official training or test set in its official order: uint8 (N, 3, 32, 32) and int64 (fine) labels.

    Unpacks an archive that lies in `data_root`, and never downloads. Raises MissingFileError when nothing is there,
    DataError when a file is not the official one.
    """
    files = _files(manifest)
    folder = _ensure_unpacked(manifest, data_root, lambda line: None)
    if folder == data_root / files.folder:
        _check_md5(files, data_root)
        images = _read_python(manifest, files, data_root, train)
    else:
        images = _read_binary(manifest, files, folder, train)
    expected = manifest.train_counts if train else manifest.test_counts
    counts = as_counts(images.counts(len(manifest.class_names)))
    if counts != expected:
        raise DataError(f"{folder} is not the official {manifest.name}: {counts} images by class, not {expected}")
    return images


def _files(manifest: Manifest) -> CifarFiles:
    assert manifest.files is not None
    return manifest.files


def _unpacked(files: CifarFiles, data_root: Path) -> Path | None:
    """The folder of a version that has all its image files."""
    versions = (
        (files.folder, [name for name, _ in (*files.train, *files.test, files.meta)]),
        (files.binary_folder, [*files.binary_train, *files.binary_test]),
    )
    for folder, names in versions:
        if all((data_root / folder / name).is_file() for name in names):
            return data_root / folder
    return None


def _packed(files: CifarFiles, data_root: Path) -> tuple[Path, str, str] | None:
    """An archive in the data root, its MD5, and the folder that it unpacks to."""
    for archive, md5, folder in (
        (files.archive, files.archive_md5, files.folder),
        (files.binary_archive, files.binary_archive_md5, files.binary_folder),
    ):
        if (data_root / archive).is_file():
            return data_root / archive, md5, folder
    return None


def _missing_archive(files: CifarFiles, data_root: Path, reason: str) -> MissingFile:
    source = f"{files.url}{files.archive} (md5 {files.archive_md5})"
    return MissingFile(data_root / files.archive, source, reason)


def _needs(manifest: Manifest, data_root: Path, reason: str) -> str:
    return f"data set {manifest.name} needs {_missing_archive(_files(manifest), data_root, reason)}"


def _ensure_unpacked(manifest: Manifest, data_root: Path, tell: Tell) -> Path:
    """The folder of the version to read; a checked archive is unpacked beside it first and then renamed."""
    files = _files(manifest)
    if folder := _unpacked(files, data_root):
        return folder
    packed = _packed(files, data_root)
    if packed is None:
        raise MissingFileError(_needs(manifest, data_root, "missing"))
    archive, md5, name = packed
    if (found := known_digest(archive, digest_note(data_root), "md5")) != md5:
        raise DataError(
            f"{archive} is not the official archive (md5 {found}, not {md5}); delete it and get it from "
            f"{files.url}{archive.name}"
        )
    target = data_root / name
    _refuse_partial(target, archive.name)
    tell(f"unpacking {archive}")
    from torchvision.datasets.utils import extract_archive

    with storage_errors(data_root), tempfile.TemporaryDirectory(dir=data_root, prefix=".unpacking-") as temporary:
        with warnings.catch_warnings():
            # torchvision names no extraction filter, which Python 3.12 warns about; the archive's MD5 was checked above
            warnings.simplefilter("ignore", DeprecationWarning)
            extract_archive(str(archive), temporary)
        try:
            (Path(temporary) / name).rename(target)
        except OSError:
            if not target.exists():  # otherwise another process was quicker
                raise
    folder = _unpacked(files, data_root)
    if folder is None:
        raise DataError(f"{archive} does not hold all files of {name}")
    return folder


def _refuse_partial(folder: Path, archive: str) -> None:
    """What somebody put there is neither mixed with the archive's files nor deleted."""
    if folder.exists():
        raise DataError(f"{folder} lacks some of its files; delete that folder, and {archive} is unpacked in its place")


def _download(manifest: Manifest, data_root: Path, tell: Tell) -> None:
    """Put the official archive under its name, whole and checked, or raise MissingFileError."""
    files = _files(manifest)
    _refuse_partial(data_root / files.folder, files.archive)  # before the download, not after it
    url = files.url + files.archive
    if reason := _unreachable(url):
        raise MissingFileError(_needs(manifest, data_root, f"missing, and {reason}"))
    from torchvision.datasets.utils import download_url

    tell(f"downloading {url}")
    target = data_root / files.archive
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)  # torchvision sets none
    try:
        with atomic_path(target) as temporary:
            download_url(url, str(temporary.parent), temporary.name, files.archive_md5)
    except (RuntimeError, http.client.HTTPException, ssl.SSLError, urllib.error.URLError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, (urllib.error.URLError, TimeoutError, ConnectionError)):
            raise
        reason = f"missing, and its download failed: {_one_line(error)}"
        raise MissingFileError(_needs(manifest, data_root, reason)) from error
    finally:
        socket.setdefaulttimeout(before)


def _unreachable(url: str) -> str | None:
    """Why `url` does not answer, or None when it does.

    Asked in a thread of its own, because looking up a name without a network can take minutes and knows no timeout.
    """
    host = urllib.parse.urlsplit(url).hostname
    answer: list[str | None] = [f"{host} does not answer"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS - 1):
                answer[0] = None
        except urllib.error.HTTPError as error:
            answer[0] = f"{host} answers {error.code} ({error.reason})"
            error.close()
        except Exception as error:  # whatever it is, the archive cannot be had
            answer[0] = f"{host} cannot be reached: {_one_line(error)}"

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return answer[0]


def _one_line(error: BaseException) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return " ".join(str(cause).split()) or type(error).__name__


def _check_md5(files: CifarFiles, data_root: Path, *, fresh: bool = False) -> None:
    """Every file of the Python version against the official list."""
    for name, md5 in (*files.train, *files.test, files.meta):
        path = data_root / files.folder / name
        if (found := known_digest(path, digest_note(data_root), "md5", fresh=fresh)) != md5:
            raise DataError(
                f"{path} is not the official file (md5 {found}, not {md5}); delete the folder {files.folder} and get "
                f"{files.url}{files.archive} again"
            )


def _read_python(manifest: Manifest, files: CifarFiles, data_root: Path, train: bool) -> ImageSet:
    """Read through torchvision, whose class is given the manifest's file list."""
    from torchvision import datasets

    base: Any = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[manifest.name]
    layout = {
        "base_folder": files.folder,
        "train_list": [list(pair) for pair in files.train],
        "test_list": [list(pair) for pair in files.test],
        "meta": {"filename": files.meta[0], "key": files.meta_key, "md5": files.meta[1]},
    }
    with warnings.catch_warnings():
        # the official pickles spell a dtype as early versions of numpy did, which some releases of numpy 2.4 warn about
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        source = type(base.__name__, (base,), layout)(str(data_root), train=train, download=False)
    images = np.ascontiguousarray(source.data.transpose(0, 3, 1, 2))
    if tuple(source.classes) != manifest.class_names:
        raise DataError(f"{data_root / files.folder / files.meta[0]} names other classes than {manifest.name} has")
    return ImageSet(images, np.asarray(source.targets, dtype=np.int64))


def _check_size(path: Path, manifest: Manifest, files: CifarFiles, train: bool) -> int:
    """Records in a binary file; raises DataError when its size is not the official one."""
    record = files.label_bytes + int(np.prod(manifest.image_shape))
    if train:
        expected = sum(manifest.train_counts) // len(files.binary_train)
    else:
        expected = sum(manifest.test_counts) // len(files.binary_test)
    if (size := path.stat().st_size) != record * expected:
        raise DataError(
            f"{path} has {size} bytes, not {record * expected} ({expected} records of {record}); get "
            f"{files.url}{files.binary_archive} again"
        )
    return expected


def _read_binary(manifest: Manifest, files: CifarFiles, folder: Path, train: bool) -> ImageSet:
    """Read records of label bytes followed by an image, channel by channel and row by row."""
    images, labels = [], []
    for name in files.binary_train if train else files.binary_test:
        count = _check_size(folder / name, manifest, files, train)
        records = np.fromfile(folder / name, dtype=np.uint8).reshape(count, -1)
        label = records[:, files.label_bytes - 1]
        if (wrong := label >= len(manifest.class_names)).any():
            at = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{folder / name}: record {at} has label {label[at]}, not 0 to {len(manifest.class_names) - 1}"
            )
        images.append(records[:, files.label_bytes :].reshape(count, *manifest.image_shape))
        labels.append(label.astype(np.int64))
    return ImageSet(np.concatenate(images), np.concatenate(labels))
