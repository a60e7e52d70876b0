"""`compare --csv` and `--latex`: the comparison's numbers, and names that must not do anything."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from conftest import Cli

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
