"""Attacks on `validate` and `verify`: each gets one plain line and exit code 2, and nothing else happens."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from leaderboard_records import change, make_record, picture, refused, set_value, write_submission, write_sums

from ltgen_bench.core.plain_text import printable, text_problem
from ltgen_bench.evaluation.samples import Samples, write_samples
from ltgen_bench.leaderboard.submission import validate_record, validate_submission


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_submission(tmp_path, "coral", [make_record("coral", seed, 5 + 0.1 * seed) for seed in range(3)])


TEXT_ATTACKS = {
    "script": ("<script>alert(1)</script>", "holds '<'"),
    "pipe": ("a | b", "holds '|'"),
    "newline": ("a\nb", "line feed|U\\+000A"),
    "right-to-left": ("good \u202edab", "right-to-left override"),
    "zero-width": ("CO\u200bRAL", "zero width space"),
    "escape": ("\x1b[2J", "U\\+001B"),
    "latex": ("\\input{/etc/passwd}", "holds"),
    "megabyte": ("x" * 1_000_000, "at most|too long|characters"),
}


@pytest.mark.parametrize("attack", TEXT_ATTACKS)
@pytest.mark.parametrize("field", ["name", "title", "paper"])
def test_text_in_a_record(folder: Path, attack: str, field: str, monkeypatch, capsys) -> None:
    import re

    text, message = TEXT_ATTACKS[attack]
    change(folder, 0, set_value("method", field, value=text))
    assert re.search(message, refused(monkeypatch, capsys, "validate", folder))


@pytest.mark.parametrize("attack", ["newline", "right-to-left", "escape", "megabyte"])
@pytest.mark.parametrize(
    "place", [("method", "facts", "x"), ("metrics", "memorisation", "x"), ("metrics", "notes", "x")], ids=lambda p: p[1]
)
def test_text_in_the_free_parts_of_a_record(folder: Path, attack: str, place, monkeypatch, capsys) -> None:
    change(folder, 0, set_value(*place, value=TEXT_ATTACKS[attack][0]))
    refused(monkeypatch, capsys, "validate", folder)
    change(folder, 0, lambda record: record[place[0]][place[1]].pop("x"))
    assert validate_submission(folder)
    change(folder, 0, set_value(*place[:-1], TEXT_ATTACKS[attack][0], value="x"))  # and as a key
    refused(monkeypatch, capsys, "validate", folder)


@pytest.mark.parametrize("attack", TEXT_ATTACKS)
@pytest.mark.parametrize("field", ["method", "paper", "submitter", "note", "code_url", "another"])
def test_text_in_the_metadata(folder: Path, attack: str, field: str, monkeypatch, capsys) -> None:
    import tomli_w

    path = folder / "submission.toml"
    metadata = {**__import__("tomllib").loads(path.read_text()), field: TEXT_ATTACKS[attack][0]}
    path.write_text(tomli_w.dumps(metadata))
    write_sums(folder)
    refused(monkeypatch, capsys, "validate", folder)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://x.org", "https://x.org/](y)", "https://x.org/\"onload='"]
)
def test_addresses_are_plain_https(folder: Path, url: str, monkeypatch, capsys) -> None:
    path = folder / "submission.toml"
    path.write_text(path.read_text() + f"paper_url = {json.dumps(url)}\n")
    write_sums(folder)
    assert "paper_url" in refused(monkeypatch, capsys, "validate", folder)


@pytest.mark.parametrize("line", ['status = "verified"', "verified = true", "[verification]\nx = 1"])
def test_there_is_no_field_for_a_status(folder: Path, line: str, monkeypatch, capsys) -> None:
    path = folder / "submission.toml"
    path.write_text(path.read_text() + line + "\n")
    write_sums(folder)
    assert "unknown key" in refused(monkeypatch, capsys, "validate", folder)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 5000])
@pytest.mark.parametrize("place", ["fid", "facts"])
def test_numbers_that_are_none(folder: Path, number: str, place: str, monkeypatch, capsys) -> None:
    path = folder / "0.json"
    record = json.loads(path.read_text())
    (record["metrics"] if place == "fid" else record["method"]["facts"])["fid"] = 123.456
    path.write_text(json.dumps(record).replace("123.456", number))
    write_sums(folder)
    refused(monkeypatch, capsys, "validate", folder)


def test_duplicate_keys(folder: Path, monkeypatch, capsys) -> None:
    path = folder / "0.json"
    path.write_text(path.read_text().replace('"seed": 0,', '"seed": 0, "seed": 0,'))
    write_sums(folder)
    assert "same key twice" in refused(monkeypatch, capsys, "validate", folder)


@pytest.mark.parametrize("depth", [30, 900, 100_000])
def test_deep_nesting(folder: Path, depth: int, monkeypatch, capsys) -> None:
    path = folder / "0.json"
    record = json.loads(path.read_text())
    record["method"]["facts"]["x"] = "HERE"
    path.write_text(json.dumps(record).replace('"HERE"', "[" * depth + "]" * depth))
    write_sums(folder)
    line = refused(monkeypatch, capsys, "validate", folder)
    assert "nested" in line or "recursion" in line
    (folder / "submission.toml").write_text("x = " + "[" * min(depth, 20_000) + "]" * min(depth, 20_000))
    write_sums(folder)
    refused(monkeypatch, capsys, "validate", folder)


def test_a_claim_of_a_billion_samples_allocates_nothing(folder: Path) -> None:
    from ltgen_bench.core.protocol import PROTOCOLS

    record = make_record("coral", 0)
    protocol = PROTOCOLS["digits-1k.v1"].customised(neighbours=5)
    config = {**record["method"]["config"], "protocol": protocol.model_dump(mode="json")}
    from ltgen_bench.core.storage import sha256_json

    record |= {"protocol": protocol.model_dump(mode="json"), "protocol_hash": protocol.hash()}
    record["method"] |= {"config": config, "config_hash": sha256_json(config)[:10]}
    counts = [10**9] * 10
    record["samples"] |= {"count": 10**10, "class_counts": counts}
    record["metrics"]["per_class"]["n_generated"] = counts
    record["metrics"] |= {"confusion": None, "groups": {}, "head_tail_gap": {}, "memorisation": None}
    assert validate_record(json.dumps(record).encode(), "x").samples.count == 10**10  # consistent, and measured cheaply


def test_a_file_that_is_too_large_is_not_read(folder: Path, monkeypatch, capsys) -> None:
    with (folder / "0.json").open("r+b") as file:
        file.truncate(1 << 40)  # a terabyte of nothing, on no disk
    line = refused(monkeypatch, capsys, "validate", folder)
    assert "at most 16,777,216 are allowed" in line
    refused(monkeypatch, capsys, "validate", folder / "0.json")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../elsewhere.json", "1.json"])
def test_links_are_not_followed(folder: Path, target: str, monkeypatch, capsys) -> None:
    (folder / "0.json").unlink()
    (folder / "0.json").symlink_to(target)
    assert "symbolic link" in refused(monkeypatch, capsys, "validate", folder)
    refused(monkeypatch, capsys, "validate", folder / "0.json")
    other = folder.parent / "linked"
    other.symlink_to(folder)
    assert "links are not followed" in refused(monkeypatch, capsys, "validate", other)


def test_pipes_do_not_block(folder: Path, monkeypatch, capsys) -> None:
    (folder / "0.json").unlink()
    os.mkfifo(folder / "0.json")
    assert "not a plain file" in refused(monkeypatch, capsys, "validate", folder)
    assert "not a plain file" in refused(monkeypatch, capsys, "validate", folder / "0.json")


@pytest.mark.parametrize("name", ["model.pkl", "00.json", "0.JSON", ".hidden", "a\nb.json", "\u202e.json", "0.svg"])
def test_files_that_do_not_belong(folder: Path, name: str, monkeypatch, capsys) -> None:
    (folder / name).write_text("x")
    assert "does not belong in a submission" in refused(monkeypatch, capsys, "validate", folder)


def test_folders_and_crowds_are_refused(folder: Path, monkeypatch, capsys) -> None:
    (folder / "inner").mkdir()
    assert "not a plain file" in refused(monkeypatch, capsys, "validate", folder)
    (folder / "inner").rmdir()
    for seed in range(3, 140):
        (folder / f"{seed}.json").touch()
    assert "more than 130 files" in refused(monkeypatch, capsys, "validate", folder)


@pytest.mark.parametrize(
    ("sums", "message"),
    [
        ("0" * 64 + "  ../../../etc/passwd\n", "named there and not in the folder"),
        ("", "is in the folder and not named there"),
        ("é", "not ASCII"),
    ],
)
def test_checksums_name_the_folders_files_only(folder: Path, sums: str, message: str, monkeypatch, capsys) -> None:
    path = folder / "SHA256SUMS"
    path.write_text(path.read_text() + sums if sums else "")
    assert message in refused(monkeypatch, capsys, "validate", folder)


def test_a_changed_digit_is_noticed(folder: Path, monkeypatch, capsys) -> None:
    path = folder / "2.json"
    path.write_text(path.read_text().replace('"fid": 5.2', '"fid": 5.1', 1))
    assert "its sha256 differs" in refused(monkeypatch, capsys, "validate", folder)
    doubled = (folder / "SHA256SUMS").read_text()
    (folder / "SHA256SUMS").write_text(doubled + doubled)
    assert "twice" in refused(monkeypatch, capsys, "validate", folder)


def _bomb_png(width: int, height: int) -> bytes:
    data = bytearray(picture())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(data)


def _damaged_png() -> bytes:
    """A PNG whose checksums are all right and whose pixels cannot be unpacked."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    whole = picture()
    return whole[:33] + chunk(b"IDAT", bytes(200)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [b"<svg onload=alert(1)>", _bomb_png(10**5, 10**5), picture()[:200], b"GIF89a" + bytes(40), _damaged_png()],
    ids=["svg", "bomb", "cut", "gif", "damaged"],
)
def test_pictures_that_are_none(folder: Path, data: bytes, monkeypatch, capsys) -> None:
    (folder / "0.png").write_bytes(data)
    write_sums(folder)
    assert "0.png" in refused(monkeypatch, capsys, "validate", folder)


# --- untrusted samples --------------------------------------------------------------------------------------------


def _npz(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def _header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


SAMPLES_ATTACKS: dict[str, Callable[[Path], Path]] = {
    "a claim of 10^9 images": lambda p: _npz(p, {"arr_0.npy": _header((10**9, 8, 8, 1)), "labels.npy": b""}),
    "a zip bomb": lambda p: _npz(p, {"arr_0.npy": _header((1000, 8, 8, 1)) + bytes(64_000), "x.npy": bytes(1 << 26)}),
    "a header bomb": lambda p: _npz(p, {"arr_0.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\x03" + b" " * (1 << 26)}),
    "a header that is not a literal": lambda p: _npz(p, {"arr_0.npy": b"\x93NUMPY\x01\x00\x0c\x00{'descr': (\n"}),
    "a header of another kind": lambda p: _npz(p, {"arr_0.npy": b"\x93NUMPY\x01\x00\x0a\x00{[]: 1}   \n"}),
    "another shape": lambda p: _npz(p, {"arr_0.npy": _header((1000, 1, 8, 8)) + bytes(64_000)}),
    "pickles": lambda p: np.savez(p, arr_0=np.array([{}], dtype=object), labels=np.zeros(1)) or p,
    "no archive": lambda p: p.write_bytes(b"PK" + bytes(100)) and p,
    "nothing": lambda p: p,
    "a folder": lambda p: p.mkdir() or p,
}


@pytest.mark.parametrize("attack", SAMPLES_ATTACKS)
def test_samples_for_verify(folder: Path, tmp_path: Path, attack: str, monkeypatch, capsys) -> None:
    path = SAMPLES_ATTACKS[attack](tmp_path / "samples.npz")
    refused(monkeypatch, capsys, "verify", folder, "--samples", path, "--quiet")


def test_samples_of_nobody(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    write_samples(tmp_path / "s.npz", Samples(np.zeros((1000, 1, 8, 8), np.uint8), np.zeros(1000, np.int64)))
    line = refused(monkeypatch, capsys, "verify", folder, "--samples", tmp_path / "s.npz", "--quiet")
    assert "are not the samples of any record" in line


def test_text_rules() -> None:
    assert text_problem("Müller et al., λ = 0.01 (ours)", markup=False) is None
    assert text_problem("生成モデル", markup=False) is None
    assert text_problem("a\u2028b") is not None
    assert printable("a\x1b\u202eb") == "a\\x1b\\u202eb"
