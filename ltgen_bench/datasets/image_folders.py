"""Folders of class folders: which images they hold, without opening one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ltgen_bench.core.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
ORDER_FILE = "classes.txt"
# What archivers, desktops and notebooks leave behind; names with a dot in front are skipped anyway.
_LEFT_BEHIND = frozenset(
    {"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
    | {"Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r"}
)

ClassFiles = dict[str, tuple[Path, ...]]  # class name: its image files, both sorted by name


def scan(root: Path) -> ClassFiles:
    """The image files of `root`/<class name>/, class by class.

    Names that start with a dot, what archivers and desktops leave behind, and files that are not images are skipped
    (`unused` counts the latter). Raises DataError, naming the file or
    folder, for a missing or empty folder, a class folder without images or with folders inside, and links that
    leave `root`.
    """
    if not root.is_dir():
        raise DataError(f"image folder {plain(root)} is not there, or is not a folder")
    inside = root.resolve()
    classes: ClassFiles = {}
    for entry in _entries(root):
        folder = root / entry.name
        if entry.is_symlink():
            _refuse_leaving(folder, inside)
        if not entry.is_dir():
            continue
        if not entry.name.isprintable():
            raise DataError(f"class folder {plain(folder)} has a name that cannot be printed; rename it")
        files = []
        for inner in _entries(folder):
            file = folder / inner.name
            if inner.is_symlink():
                _refuse_leaving(file, inside)
            if inner.is_dir():
                raise DataError(f"{plain(file)} is a folder inside a class folder; images lie directly in theirs")
            if file.suffix.lower() in SUFFIXES:
                if not inner.is_file():
                    raise DataError(f"cannot read image {plain(file)}: it is not a regular file")
                files.append(file)
        if not files:
            raise DataError(f"class folder {plain(folder)} holds no images ({', '.join(SUFFIXES)})")
        classes[folder.name] = tuple(files)
    if not classes:
        raise DataError(f"image folder {plain(root)} holds no class folders; images lie in {plain(root)}/<class name>/")
    return classes


def unused(root: Path) -> list[str]:
    """What lies in an image folder and is not used, in words: other kinds of files, and images outside of classes."""
    outside, others = 0, Counter[str]()
    for entry in _entries(root):
        if entry.is_dir():
            suffixes = [Path(inner.name).suffix.lower() for inner in _entries(root / entry.name)]
            others.update(suffix or "no suffix" for suffix in suffixes if suffix not in SUFFIXES)
        elif Path(entry.name).suffix.lower() in SUFFIXES:
            outside += 1
    found = [f"{count:,} {'file' if count == 1 else 'files'} ({kind})" for kind, count in sorted(others.items())]
    if outside:
        found.append(f"{outside:,} {'image' if outside == 1 else 'images'} outside of class folders")
    return found


def class_order(root: Path, classes: ClassFiles, by_name: bool = False) -> tuple[str, ...]:
    """Class names from head to tail: as in `root`/classes.txt, else by falling image count (ties by name) or `by_name`.

    The file holds one class a line. Raises DataError when it does not name every class folder exactly once.
    """
    order_file = root / ORDER_FILE
    if not order_file.is_file():
        return tuple(sorted(classes, key=lambda name: (0 if by_name else -len(classes[name]), name)))
    if order_file.is_symlink():
        _refuse_leaving(order_file, root.resolve())
    try:
        names = [line.strip() for line in order_file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {plain(order_file)}: {error}") from error
    names = [name for name in names if name]
    if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise DataError(f"{plain(order_file)} names the class {twice!r} twice")
    refuse_other_classes(names, tuple(classes), plain(order_file), plain(root))
    return tuple(names)


def refuse_other_classes(names: Sequence[str], expected: Sequence[str], where: str, expected_where: str) -> None:
    """Raise DataError unless both name the same classes; the message has the first difference."""
    for missing in sorted(set(expected) - set(names)):
        raise DataError(f"{where} lacks the class {missing!r} that {expected_where} has")
    for surplus in sorted(set(names) - set(expected)):
        raise DataError(f"{where} has the class {surplus!r} that {expected_where} lacks")


def plain(path: Path) -> str:
    """A path for a message of one line, with escapes where it holds what cannot be printed."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted by name, without hidden names."""
    try:
        with os.scandir(folder) as entries:  # knows what an entry is without another look at the disk
            kept = (e for e in entries if not e.name.startswith(".") and e.name not in _LEFT_BEHIND)
            return sorted(kept, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"cannot read the folder {plain(folder)}: {error.strerror}") from error


def _refuse_leaving(path: Path, inside: Path) -> None:
    """Links are followed only to what lies in the image folder: a shared data set must not pull in other files."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # a link to nothing, or in a circle
        raise DataError(f"{plain(path)} is a broken link") from error
    if not target.is_relative_to(inside):
        raise DataError(f"{plain(path)} is a link that leaves the image folder; copy the file instead")
