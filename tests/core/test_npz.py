"""Archives of arrays from outside: exact names, each once, nothing that was not checked is read."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.core.npz import npz_headers, read_npz

SMALL = np.arange(6, dtype=np.uint8)


def bytes_of(array: np.ndarray, *, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=pickled)
    return buffer.getvalue()


def huge() -> bytes:
    """A header that promises 38 GiB, and no data."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (50_000, 100_000)})
    return buffer.getvalue()


def archive(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members:
            with pytest.warns(UserWarning, match="Duplicate") if name in file.namelist() else contextlib.nullcontext():
                file.writestr(name, data)
    return path


GOOD = ("arr_0.npy", bytes_of(SMALL))


@pytest.mark.parametrize(
    "members",
    [
        (GOOD, ("arr_0", huge())),  # NumPy would read this one in the place of the other
        (("arr_0", huge()), GOOD),
        (GOOD, ("labels", b"text")),
        (GOOD, ("arr_0.npy", huge())),  # and of two the last one
        (GOOD, ("readme.txt", b"hello")),
        (GOOD, ("folder/", b"")),
        (("arr_0.npy", huge()),),
        (("arr_0.npy", bytes_of(SMALL)[:-1]),),
        (("arr_0.npy", bytes_of(SMALL) + b"x"),),
        (("arr_0.npy", b"text"),),
        (("arr_0.npy", b""),),
        (("arr_0.npy", bytes_of(np.array([{}], dtype=object), pickled=True)),),
        tuple((f"a{i}.npy", bytes_of(SMALL)) for i in range(65)),
        ((f"{'a' * 300}.npy", bytes_of(SMALL)),),
    ],
)
def test_other_archives_are_refused_before_anything_is_read(tmp_path: Path, members) -> None:
    path = archive(tmp_path / "x.npz", *members)
    with pytest.raises(SamplesError) as refused:
        npz_headers(path)
    assert "\n" not in str(refused.value)
    if members[0] != GOOD or len(members) > 1:
        with pytest.raises(SamplesError):
            read_npz(path, ("arr_0",))


def test_good_ones_are_read_packed_or_not(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", arr_0=SMALL, labels=np.arange(3))
        assert npz_headers(tmp_path / "x.npz") == {"arr_0": ((6,), np.dtype("u1")), "labels": ((3,), np.dtype("i8"))}
        np.testing.assert_array_equal(read_npz(tmp_path / "x.npz", ("arr_0",))["arr_0"], SMALL)
    with pytest.raises(SamplesError, match="is damaged"):
        read_npz(tmp_path / "x.npz", ("absent",))


@pytest.mark.timeout(10)
def test_pipes_folders_and_devices_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", tmp_path, Path("/dev/zero"), tmp_path / "nothing"):
        for read in (npz_headers, lambda path: read_npz(path, ("arr_0",))):
            with pytest.raises(SamplesError):
                read(path)
