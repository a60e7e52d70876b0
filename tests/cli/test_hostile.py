"""Files of strangers against every command that takes one: one line, exit code 2, no hang, nothing written."""

from __future__ import annotations

import io
import json
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli

SMALL = np.zeros((2, 8, 8, 1), np.uint8)


def npy(array: np.ndarray, *, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=pickled)
    return buffer.getvalue()


def promise(*shape: int) -> bytes:
    """The header of an array that is not there."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def packed(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


class Evil:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch pickle-was-run",)


GOOD = ("arr_0.npy", npy(SMALL))
DEEP = 50_000
CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello\n",
    "junk": bytes(range(256)) * 8,
    "utf-16": "seed = 1".encode("utf-16"),
    "escape": b"\x1b]0;owned\x07\x1b[2J",
    "zeros": bytes(4096),
    "page": b"<!DOCTYPE html><html><title>Not found</title></html>",
    "archive of nothing": packed(),
    "archive of text": packed(("readme.txt", b"x")),
    "archive that climbs": packed(("../../climbed.npy", npy(SMALL)), GOOD),
    "archive with a shadow": packed(GOOD, ("arr_0", promise(50_000, 100_000))),
    "archive twice": packed(GOOD, ("arr_0.npy", promise(50_000, 100_000))),
    "archive that promises": packed(("arr_0.npy", promise(1 << 40, 8)), ("features.npy", promise(1 << 40, 8))),
    "archive with a pickle": packed(("arr_0.npy", npy(np.array([Evil()], dtype=object), pickled=True))),
    "half an archive": packed(GOOD, ("labels.npy", npy(np.arange(2))))[:-30],
    "pickle": b"cos\nsystem\n(S'touch pickle-was-run'\ntR.",
    "deep json": b"[" * DEEP + b"]" * DEEP,
    "many digits in json": b'{"seed": ' + b"9" * 5000 + b"}",
    "not a number": b'{"metrics": {"fid": NaN}}',
    "json twice": b'{"seed": 1, "seed": 2}',
    "json list": b"[]",
    "json null": b"null",
    "deep toml": b"a = " + b"[" * DEEP + b"]" * DEEP,
    "many digits in toml": b"seed = " + b"9" * 5000,
    "large integer": b"seed = " + b"9" * 400,
    "dotted": b".".join([b"a"] * 500) + b" = 1",
    "safetensors that promise": struct.pack("<Q", 1 << 60) + b"{}",
    "safetensors outside": struct.pack("<Q", 64)
    + json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1 << 40]}}).encode().ljust(64),
}


def write(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None  # type: ignore[func-returns-value]


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


THINGS: dict[str, Callable[[Path], None]] = {
    **{name: write(content) for name, content in CONTENTS.items()},
    "nothing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
    "endless device": link_to("/dev/zero"),
    "link to nowhere": link_to("nowhere"),
    "link to itself": link_to("file"),
}

# {} is the hostile file; its ending is what the command expects
COMMANDS: dict[str, tuple[str, list[str]]] = {
    "evaluate": (".npz", ["evaluate", "{}", "--dataset", "digits-lt"]),
    "evaluate a pair": (".npy", ["evaluate", "{}", "labels.npy", "--dataset", "digits-lt"]),
    "metrics": (".npz", ["metrics", "{}", "good.npz"]),
    "metrics, reference": (".npz", ["metrics", "good.npz", "{}"]),
    "validate": (".json", ["validate", "{}"]),
    "compare": (".json", ["compare", "{}", "{}"]),
    "configuration": (".toml", ["run", "--config", "{}", "--dry-run"]),
    "suite": (".toml", ["suite", "show", "{}"]),
    "submit": (
        ".npz",
        ["submit", "{}", "--dataset", "digits-lt", "--seeds-run", "0", "--method-name", "x"],
    ),
    "crosscheck": (".npz", ["crosscheck", "{}", "--dataset", "digits-lt"]),
    "import": ("", ["import", "{}"]),
    "sample": ("", ["sample", "{}"]),
    "export": ("", ["export", "{}", "out"]),
    "verify": ("", ["verify", "{}"]),
    "plugin": (".py", ["list", "methods", "--plugin", "{}"]),
    "weights": (
        ".safetensors",
        ["run", "--set=training.steps=1", "--weights", "digits-cnn-unseen={}"],
    ),
}
# what is fine there: no settings at all, and Python's own literals
FINE = {("configuration", "empty"), ("suite", "empty"), ("plugin", "empty"), ("plugin", "json twice"),
        ("plugin", "json list"), ("plugin", "large integer")}  # fmt: skip


@pytest.mark.timeout(30)
@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_hostile_file_is_one_line(tmp_path: Path, cli: Cli, command: str, thing: str) -> None:
    if (command, thing) in FINE:
        pytest.skip("nothing is wrong with it there")
    ending, line = COMMANDS[command]
    np.savez("good.npz", features=np.random.default_rng(0).standard_normal((30, 4)))
    np.save("labels.npy", np.arange(2))
    name = f"file{ending}"
    if thing == "link to itself":
        Path(name).symlink_to(name)
    else:
        THINGS[thing](Path(name))
    before = {path: path.lstat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))}
    code, out, err = cli(*[part.format(name) for part in line])
    assert code == 2, (out[-500:], err[-500:])
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("error: "), err
    assert len(last) < 1500
    assert not any(character < " " or character == "\x7f" for character in last)
    assert not Path("pickle-was-run").exists()
    assert not Path("../../climbed.npy").exists()
    after = {path: path.lstat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))}
    created = {path.relative_to(tmp_path).parts[0] for path in after.keys() - before.keys()}
    assert created <= {"data", "runs"}  # caches, and the folder of a run that was begun
    assert all(after.get(path) == time for path, time in before.items() if path.is_file() and path.name != "file.py")
