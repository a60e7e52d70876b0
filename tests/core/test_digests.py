"""Hashes that are known from an earlier look, and when they are looked at again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from ltgen_bench.core.digests import DIGESTS, known_digest


def test_a_file_is_read_again_when_size_or_time_changed(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"one")
    stamp = file.stat().st_mtime_ns
    assert known_digest(file) == hashlib.sha256(b"one").hexdigest()
    assert known_digest(file, "md5") == hashlib.md5(b"one").hexdigest()
    assert known_digest(file) == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"two")  # the same size
    os.utime(file, ns=(stamp + 1, stamp + 1))
    assert known_digest(file) == hashlib.sha256(b"two").hexdigest()
    file.write_bytes(b"six")
    os.utime(file, ns=(stamp + 1, stamp + 1))
    assert known_digest(file) == hashlib.sha256(b"two").hexdigest()  # nothing says that it changed
    assert known_digest(file, fresh=True) == hashlib.sha256(b"six").hexdigest()


@pytest.mark.parametrize("note", ["", "[]", '{"f": 3}', '{"f": [1, 2, "sha256"]}'])
def test_a_broken_note_costs_time_only(note: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / DIGESTS).write_text(note)
    assert known_digest(tmp_path / "f") == hashlib.sha256(b"x").hexdigest()
    assert json.loads((tmp_path / DIGESTS).read_text())["f"][3] == hashlib.sha256(b"x").hexdigest()


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        known_digest(tmp_path / "none")
