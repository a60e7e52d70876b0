"""Hashes that are known from an earlier look, and when they are looked at again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from ltgen_bench.core.digests import digest_note, known_digest


def test_a_file_is_read_again_when_size_or_time_changed(tmp_path: Path) -> None:
    file, note = tmp_path / "weights.bin", digest_note(tmp_path)
    file.write_bytes(b"one")
    stamp = file.stat().st_mtime_ns
    assert known_digest(file, note) == hashlib.sha256(b"one").hexdigest()
    assert known_digest(file, note, "md5") == hashlib.md5(b"one").hexdigest()
    assert known_digest(file, note) == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"two")  # the same size
    os.utime(file, ns=(stamp + 1, stamp + 1))
    assert known_digest(file, note) == hashlib.sha256(b"two").hexdigest()
    file.write_bytes(b"six")
    os.utime(file, ns=(stamp + 1, stamp + 1))
    assert known_digest(file, note) == hashlib.sha256(b"two").hexdigest()  # nothing says that it changed
    assert known_digest(file, note, fresh=True) == hashlib.sha256(b"six").hexdigest()


@pytest.mark.parametrize("known", ["", "[]", '{"f": 3}', '{"f": [1, 2, "sha256"]}'])
def test_a_broken_note_costs_time_only(known: str, tmp_path: Path) -> None:
    file, note = tmp_path / "f", digest_note(tmp_path)
    file.write_bytes(b"x")
    note.parent.mkdir()
    note.write_text(known)
    assert known_digest(file, note) == hashlib.sha256(b"x").hexdigest()
    assert json.loads(note.read_text())[str(file)][3] == hashlib.sha256(b"x").hexdigest()


def test_nothing_is_written_beside_a_file_and_no_data_root_is_made(tmp_path: Path) -> None:
    """The file may be part of an installed package, or lie in somebody's own folder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "f").write_bytes(b"x")
    known_digest(folder / "f", digest_note(tmp_path / "data"))
    assert [path.name for path in folder.iterdir()] == ["f"]
    assert not (tmp_path / "data").exists()


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        known_digest(tmp_path / "none", digest_note(tmp_path))
