"""`compare --csv` and `--latex`: the comparison's numbers, and names that must not do anything."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from conftest import Cli, refused
from leaderboard_records import make_record, write_submission

from ltgen_bench.leaderboard.comparison_files import comparison_csv, comparison_latex
from ltgen_bench.leaderboard.side_by_side import compare
from ltgen_bench.leaderboard.submission import validate_record

OWN = Path(__file__).parents[2] / "leaderboards" / "records" / "digits-lt"


def test_the_files_have_the_numbers_of_the_comparison(cli: Cli, tmp_path: Path) -> None:
    files = [OWN / f"{method}-v2" / f"{seed}.json" for method in ("coral", "t2h") for seed in range(5)]
    code, out, err = cli("compare", *files, "--csv", "c.csv", "--latex", "c.tex")
    assert code == 0, err
    assert "csv     c.csv" in out
    result = compare([validate_record(file.read_bytes(), str(file)) for file in files])
    rows = list(csv.DictReader(io.StringIO((tmp_path / "c.csv").read_text())))
    assert len(rows) > 20
    (fid,) = [row for row in rows if row["method"] == "T2H" and row["metric"] == "fid"]
    wanted = result["methods"][1]["metrics"]["fid"]
    assert float(fid["mean"]) == pytest.approx(wanted["mean"], rel=1e-6)
    assert float(fid["low"]) == pytest.approx(wanted["difference"]["low"], rel=1e-6)
    assert fid["beyond_noise"] == str(wanted["difference"]["beyond_noise"])
    table = (tmp_path / "c.tex").read_text()
    assert table.count(r"\\") == 3  # the head and two methods
    assert rf"CORAL & {result['methods'][0]['metrics']['fid']['mean']:.2f}" in table


def test_names_do_nothing() -> None:
    file = OWN / "coral-v2" / "0.json"
    result = compare([validate_record(file.read_bytes(), "x")] * 1)
    for name in ("=1+1", " =cmd()", "@x", "-2", "\uff1d1+1"):
        result["methods"][0]["method"] = name
        row = next(csv.DictReader(io.StringIO(comparison_csv(result))))
        assert row["method"] == f"'{name}"
    result["methods"][0]["method"] = r"\input{/etc/passwd} & 5 %"
    assert r"\input" not in comparison_latex(result)
    assert r"\&" in comparison_latex(result)


def test_rows_of_a_leaderboard_submissions_and_records_together(cli: Cli, tmp_path: Path) -> None:
    boards = tmp_path / "boards"
    for name, fid in (("mine", 5.0), ("theirs", 4.0)):
        records = [make_record("coral" if name == "mine" else "ddpm", seed, fid + seed / 10) for seed in range(3)]
        write_submission(boards, name, records)
    own = tmp_path / "own.json"
    own.write_text(json.dumps(make_record("cbdm", 0, 4.5)))
    arguments = ["mine", "digits-lt/theirs", own, "--leaderboards", boards, "--metrics", "fid,few.fid"]
    code, out, err = cli("compare", *arguments, "--baseline", "ddpm", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["baseline"] == "DDPM"
    assert [(row["method"], len(row["seeds"])) for row in found["methods"]] == [("DDPM", 3), ("CORAL", 3), ("CBDM", 1)]
    assert set(found["methods"][0]["metrics"]) == {"fid", "few.fid"}
    code, out, _ = cli("compare", *arguments, "--csv", "c.csv", "--latex", "c.tex")
    assert code == 0
    assert "lower" in out
    assert "recall" not in Path("c.tex").read_text()
    code, out, _ = cli("compare", boards / "records/digits-lt/mine", boards / "records/digits-lt/theirs")
    assert code == 0


def test_two_settings_of_one_method_say_what_differs(cli: Cli, tmp_path: Path) -> None:
    from ltgen_bench.core.storage import sha256_json

    for name, steps in (("a", 1000), ("b", 2000)):
        record = make_record("coral", 0, 4.0 + steps / 1000)
        record["method"]["config"]["training"]["steps"] = steps
        record["method"]["config_hash"] = sha256_json(record["method"]["config"])[:10]
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    code, out, _ = cli("compare", "a.json", "b.json")
    assert code == 0
    assert "training.steps: 1000 -> 2000" in out


def test_what_does_not_fit_is_named_and_left_out(cli: Cli, tmp_path: Path) -> None:
    for seed in range(2):
        (tmp_path / f"{seed}.json").write_text(json.dumps(make_record("coral", seed)))
    other = make_record("ddpm", 0)
    other["extractors"]["features"]["weights_sha256"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(other))
    code, out, err = cli("compare", "0.json", "other.json", "1.json")
    assert code == 0
    assert err.startswith("left out: other.json: records of another set of feature weights")
    assert "CORAL (n = 2)" in out
    for arguments, words in (
        (["0.json", "nowhere"], "no row of that name in leaderboards"),
        (["0.json", "1.json", "--metrics", "fidd"], "did you mean 'fid'"),
        (["0.json", "1.json", "--baseline", "GAN"], "--baseline 'GAN': known: CORAL"),
    ):
        assert words in refused(cli("compare", *arguments))
