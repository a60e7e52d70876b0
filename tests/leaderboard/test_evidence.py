"""Committed weights draw the committed samples; packing loses nothing; whatever does not belong there is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaderboard_records import command
from safetensors import safe_open
from safetensors.numpy import save_file

from ltgen_bench.core.errors import DataError, SamplesError
from ltgen_bench.core.storage import sha256_file
from ltgen_bench.evaluation.samples import read_samples, write_samples
from ltgen_bench.leaderboard.collect import Entry, read_entries
from ltgen_bench.leaderboard.evidence import (
    MOST_WEIGHTS,
    Drawn,
    draw_again,
    evidence_path,
    keep_evidence,
    pack_weights,
    unpack_weights,
)
from ltgen_bench.leaderboard.submission import SubmissionError, validate_submission
from ltgen_bench.leaderboard.submission.rounded_weights import round_weights, rounded_sha256

COMMITTED = Path(__file__).parents[2] / "leaderboards"
NAME = "ddpm-v2"


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """One of the committed submissions with its evidence."""
    for part in ("records", "verifications", "evidence"):
        shutil.copytree(COMMITTED / part / "digits-lt" / NAME, tmp_path / "boards" / part / "digits-lt" / NAME)
    return tmp_path / "boards"


def drawn(boards: Path, rows: int = 20) -> list[Drawn]:
    return list(draw_again(boards, read_entries(boards), rows=rows, data_root=boards, device="cpu"))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, max_value=2.0**120, min_value=-(2.0**120)))
def test_rounding_is_to_the_nearest_of_nine_digits(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    folder = tmp_path_factory.mktemp("rounded")
    save_file({"w": np.array([value], np.float32), "n": np.array([3])}, folder / "a", {"ltgen_bench": "kept"})
    round_weights(folder / "a", folder / "b")
    with safe_open(str(folder / "b"), framework="np") as file:
        rounded, count, header = file.get_tensor("w"), file.get_tensor("n"), file.metadata()
    assert (count.tolist(), header) == ([3], {"ltgen_bench": "kept"})
    assert rounded_sha256(folder / "a") == rounded_sha256(folder / "b")  # the tie between both
    mantissa, exponent = np.frexp(np.float64(value))
    if abs(value) >= 2.0**-126:  # below, float32 itself has fewer digits
        nearest = np.ldexp(np.round(mantissa * 512), exponent - 9)
        assert abs(float(rounded[0]) - value) <= abs(nearest - value)  # a tie may go either way
        assert np.frexp(np.float64(rounded[0]))[0] * 512 % 1 == 0


def test_the_committed_weights_draw_the_committed_samples(boards: Path, monkeypatch, capsys) -> None:
    code, _, err = command(monkeypatch, capsys, "leaderboard", "build", "--leaderboards", boards)
    assert code == 0, err
    code, out, err = command(
        monkeypatch, capsys, "leaderboard", "check", "--draw", 20, "--leaderboards", boards, "--device", "cpu"
    )
    assert code == 0, err
    assert f"{NAME} seed 0: 20 rows drawn again, 0." in out
    (boards / "evidence/digits-lt" / NAME / "0.weights.npz").unlink()
    code, out, err = command(monkeypatch, capsys, "leaderboard", "check", "--draw", 20, "--leaderboards", boards)
    assert code == 2
    assert "is no file of packed weights" in out
    assert err.strip() == "error: 1 of 1 kept seeds do not hold"


def test_every_ranked_method_has_evidence_and_all_of_it_is_small() -> None:
    entries = [entry for entry in read_entries(COMMITTED) if entry.comparable]
    assert len(entries) >= 8
    for entry in entries:
        for path in evidence_path(COMMITTED, entry, 0):
            assert path.is_file()
    assert sum(path.stat().st_size for path in (COMMITTED / "evidence").rglob("*.weights.npz")) <= MOST_WEIGHTS


@given(st.binary(min_size=0, max_size=3000))
def test_packing_loses_nothing(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("packed")
    (folder / "weights").write_bytes(data)
    pack_weights(folder / "weights", folder / "packed")
    unpack_weights(folder / "packed", folder / "again")
    assert (folder / "again").read_bytes() == data


@pytest.mark.parametrize(
    "arrays",
    [
        {"planes": np.zeros((4, 2), np.uint8)},
        {"planes": np.zeros((3, 2), np.uint8), "rest": np.zeros(0, np.uint8)},
        {"planes": np.zeros((4, 2), np.float32), "rest": np.zeros(0, np.uint8)},
        {"planes": np.zeros(8, np.uint8), "rest": np.zeros(0, np.uint8)},
    ],
)
def test_other_files_are_no_packed_weights(tmp_path: Path, arrays: dict) -> None:
    np.savez(tmp_path / "packed.npz", **arrays)
    with pytest.raises(DataError, match="holds no packed weights"):
        unpack_weights(tmp_path / "packed.npz", tmp_path / "weights")


def test_broken_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(b"no archive")
    with pytest.raises(SamplesError, match=r"not a readable \.npz"):
        unpack_weights(tmp_path / "packed", tmp_path / "weights")
    with pytest.raises(DataError, match="is no file of packed weights"):
        unpack_weights(tmp_path / "nothing", tmp_path / "weights")


def test_other_samples_and_other_weights_do_not_hold(boards: Path, tmp_path: Path) -> None:
    samples, weights = evidence_path(boards, read_entries(boards)[0], 0)
    other = evidence_path(COMMITTED, Entry(validate_submission(COMMITTED / "records/digits-lt/cbdm-v2"), {}), 0)
    original = weights.read_bytes()
    shutil.copyfile(other[1], weights)
    assert drawn(boards)[0].problem == "its weights are not those that were verified"
    weights.write_bytes(original)
    unpack_weights(weights, tmp_path / "own")
    with safe_open(str(tmp_path / "own"), framework="np") as file:
        arrays, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    arrays["head.weight"] = arrays["head.weight"] * np.float32(1.05)
    save_file(arrays, tmp_path / "own", header)
    pack_weights(tmp_path / "own", weights)
    assert drawn(boards)[0].problem == "its weights are not those that were verified"
    weights.write_bytes(original)
    kept = read_samples(samples)
    kept.images[0] ^= 1
    write_samples(samples, kept)
    assert "are not the samples of any record" in drawn(boards)[0].problem


def test_what_belongs_to_nothing_is_named(boards: Path) -> None:
    stray = boards / "evidence" / "digits-lt" / "somebody" / "0.npz"
    stray.parent.mkdir()
    stray.write_bytes(b"")
    found = drawn(boards)
    assert [one.problem for one in found] == ["", "it belongs to no submission"]
    assert found[1].submission == stray


def test_only_verified_weights_are_kept_and_not_too_many(boards: Path, tmp_path: Path, monkeypatch) -> None:
    entry = read_entries(boards)[0]
    samples, packed = evidence_path(boards, entry, 0)
    unpack_weights(packed, tmp_path / "model.safetensors")
    verified = entry.verifications[0].model_copy(update={"weights_sha256": sha256_file(tmp_path / "model.safetensors")})
    entry = Entry(entry.submission, {**entry.verifications, 0: verified})
    shutil.copyfile(samples, tmp_path / "samples.npz")
    before = packed.read_bytes()
    assert keep_evidence(boards, entry, tmp_path / "samples.npz", tmp_path / "model.safetensors") == (samples, packed)
    assert packed.stat().st_size == len(before)
    monkeypatch.setattr("ltgen_bench.leaderboard.evidence.MOST_WEIGHTS", 1000)
    with pytest.raises(SubmissionError, match="at most 1,000 are kept"):
        keep_evidence(boards, entry, tmp_path / "samples.npz", tmp_path / "model.safetensors")
    (tmp_path / "other").write_bytes(b"1234")
    with pytest.raises(SubmissionError, match="are not the weights that verify drew seed 0"):
        keep_evidence(boards, entry, tmp_path / "samples.npz", tmp_path / "other")
