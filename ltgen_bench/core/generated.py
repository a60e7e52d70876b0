"""Folders of generated files: what a build may write, and what of an earlier one it may remove.

A folder that a build writes to may have been made by somebody else. Links in it are refused, so that nothing is written
to or removed from where they point, and of the files in it only those are removed that an earlier build lists.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ltgen_bench.core.errors import StorageError
from ltgen_bench.core.storage import storage_errors

MOST_LIST_BYTES = 16 << 20


def check_real_folder(folder: Path, root: Path) -> None:
    """Refuse a link, a file or a device at `folder` (in `root`) or between the two; a folder that is not there is fine.

    `root` itself was chosen by whoever calls, and may be a link. Raises StorageError.
    """
    place = root
    for part in folder.relative_to(root).parts:
        place = place / part
        try:
            mode = place.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "no folder"
            raise StorageError(f"{place} is {kind}; files are written to real folders only: remove it")


def check_no_links(folder: Path) -> None:
    """Refuse a folder that holds a link or a device anywhere; raises StorageError with the first one."""
    for parent, folders, names in os.walk(folder):  # which follows no links
        for name in sorted([*folders, *names]):
            path = Path(parent) / name
            mode = path.lstat().st_mode
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "no plain file"
                raise StorageError(f"{path} is {kind}; a folder of generated files holds none: remove it")


def list_text(names: Iterable[str]) -> str:
    """The list of a build's own files, as its content."""
    return "".join(f"{name}\n" for name in sorted(names))


def listed_files(list_file: Path) -> list[str]:
    """The names that an earlier build wrote to its list; none where there is no list.

    Names that would leave the folder, and a list that is no plain file of some size, are refused with StorageError.
    """
    try:
        status = list_file.lstat()
    except FileNotFoundError:
        return []
    if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_LIST_BYTES:
        raise StorageError(f"{list_file} is no list of generated files: remove it")
    with storage_errors(list_file):
        names = list_file.read_text(encoding="utf-8", errors="replace").splitlines()
    for name in names:
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise StorageError(f"{list_file} names {ascii(name)[:80]}, which is outside of its folder: remove the list")
    return names


def remove_listed(folder: Path, list_file: Path, keep: Iterable[str]) -> list[Path]:
    """Remove the files that an earlier build lists and `keep` does not name, and folders that become empty.

    Returns what was removed. Whatever is not listed stays. Raises StorageError for a link on the way.
    """
    kept, removed = set(keep), []
    for name in listed_files(list_file):
        path = folder / name
        if name in kept:
            continue
        check_real_folder(path.parent, folder)
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise StorageError(f"{path} is no plain file any more; remove it")
        if not path.exists():
            continue
        with storage_errors(path):
            path.unlink()
            removed.append(path)
            for parent in path.relative_to(folder).parents:
                place = folder / parent
                if place == folder or any(place.iterdir()):
                    break
                place.rmdir()
    return removed
