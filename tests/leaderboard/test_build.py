"""Building a leaderboard's files: staleness, byte stability, hostile folders, escaping."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from leaderboard_records import (
    METHODS,
    TABLE,
    change,
    command,
    make_record,
    refused,
    table,
    write_submission,
    write_sums,
)

from ltgen_bench.core.errors import StorageError
from ltgen_bench.leaderboard import text
from ltgen_bench.leaderboard.build import StaleTableError, build_tables, check_tables, render
from ltgen_bench.leaderboard.submission import SubmissionError

# --- staleness ----------------------------------------------------------------------------------------------------


def test_building_twice_changes_nothing(leaderboards: Path, monkeypatch, capsys) -> None:
    assert len(build_tables(leaderboards)) == 9
    before = {path: path.read_bytes() for path in (leaderboards / "tables").rglob("*") if path.is_file()}
    assert build_tables(leaderboards) == []
    assert check_tables(leaderboards) == 9
    # as bytes, from another folder and in another order of creation
    other = leaderboards.parent / "elsewhere"
    for name in ("t2h", "my-gan", "ddpm", "coral", "cbdm"):
        shutil.copytree(leaderboards / "records/digits-lt" / name, other / "records/digits-lt" / name)
    shutil.copytree(leaderboards / "verifications", other / "verifications")
    shutil.copytree(leaderboards / "published", other / "published")
    build_tables(other)
    assert {other / path.relative_to(leaderboards): data for path, data in before.items()} == {
        path: path.read_bytes() for path in (other / "tables").rglob("*") if path.is_file()
    }
    code, out, _ = command(monkeypatch, capsys, "leaderboard", "build", "--check", "--leaderboards", leaderboards)
    assert (code, out) == (0, "9 files are up to date\n")


def test_wcwidth_does_not_matter(leaderboards: Path, monkeypatch) -> None:
    """tabulate pads wide characters differently where an optional package is installed; we do not."""
    import tabulate

    write_submission(
        leaderboards, "wide", [make_record("wide", s, 6 + s / 9, foreign=True) for s in range(3)], method="生成モデル"
    )
    with_it = render(leaderboards)
    monkeypatch.setattr(tabulate, "WIDE_CHARS_MODE", not tabulate.WIDE_CHARS_MODE)
    assert render(leaderboards) == with_it


def test_a_changed_digit_makes_the_check_fail(leaderboards: Path, monkeypatch, capsys) -> None:
    arguments = ["leaderboard", "build", "--check", "--leaderboards", leaderboards]
    assert "is missing; run 'ltgen-bench leaderboard build'" in refused(monkeypatch, capsys, *arguments)
    build_tables(leaderboards)
    path = leaderboards / "records/digits-lt/coral/1.json"
    original = path.read_text()
    path.write_text(original.replace('"inception_score": 8.5', '"inception_score": 8.6', 1))
    assert path.read_text() != original
    assert "coral/1.json is not the file that SHA256SUMS names" in refused(monkeypatch, capsys, *arguments)
    write_sums(path.parent)  # and with the checksums made to fit
    assert f"{leaderboards / 'tables' / TABLE} is out of date" in refused(monkeypatch, capsys, *arguments)
    path.write_text(original)
    write_sums(path.parent)
    check_tables(leaderboards)


def test_a_table_edited_by_hand_is_stale(leaderboards: Path) -> None:
    build_tables(leaderboards)
    path = leaderboards / "tables" / TABLE
    path.write_text(path.read_text().replace("CORAL", "Coral"))
    with pytest.raises(StaleTableError, match=re.escape(f"{path} is out of date")):
        check_tables(leaderboards)
    assert build_tables(leaderboards) == [path]
    leftover = leaderboards / "tables" / "old--table.v1.md"
    leftover.write_text("x")
    with pytest.raises(StaleTableError, match=r"old--table\.v1\.md belongs to no record, and no build made it"):
        check_tables(leaderboards)
    build_tables(leaderboards)
    assert leftover.read_text() == "x"  # it may be somebody's
    leftover.unlink()
    shutil.rmtree(leaderboards / "records/digits-lt/coral")
    with pytest.raises(StaleTableError, match="out of date"):
        check_tables(leaderboards)
    assert leaderboards / "tables/recipes/digits-lt/coral.toml" in build_tables(leaderboards)
    assert not (leaderboards / "tables/recipes/digits-lt/coral.toml").exists()  # an earlier build's own
    check_tables(leaderboards)


# --- what does not enter ------------------------------------------------------------------------------------------


def test_an_invalid_submission_is_left_out_and_named(leaderboards: Path, monkeypatch, capsys) -> None:
    change(leaderboards / "records/digits-lt/cbdm", 2, lambda r: r["metrics"].update(recall=0.99))
    with pytest.raises(SubmissionError, match=r"cbdm/2\.json: metrics\.recall is not"):
        render(leaderboards)
    places = ["--leaderboards", leaderboards]
    for line in (["leaderboard", "build", *places], ["leaderboard", "site", leaderboards.parent / "site", *places]):
        code, _, err = command(monkeypatch, capsys, *line)
        assert code == 2
        assert "left out: " in err.splitlines()[0]
        assert "cbdm/2.json: metrics.recall is not" in err.splitlines()[0]
        assert err.splitlines()[-1] == "error: 1 submissions were left out; everything else was written"
    for page in (leaderboards / "tables" / TABLE, leaderboards.parent / "site/index.html"):
        assert "CORAL" in page.read_text()
        assert "CBDM" not in page.read_text().split("Reported by the authors")[0]


def test_build_and_site_speak_json(leaderboards: Path, monkeypatch, capsys) -> None:
    places = ["--leaderboards", leaderboards, "--json"]
    code, out, _ = command(monkeypatch, capsys, "leaderboard", "build", *places)
    assert code == 0
    assert str(leaderboards / "tables" / TABLE) in json.loads(out)["changed"]
    code, out, _ = command(monkeypatch, capsys, "leaderboard", "build", "--check", *places)
    assert (code, json.loads(out)["changed"]) == (0, [])
    code, out, _ = command(monkeypatch, capsys, "leaderboard", "site", leaderboards.parent / "site", *places)
    assert (code, json.loads(out)["left_out"]) == (0, [])
    assert Path(json.loads(out)["index"]).is_file()


def test_of_two_with_the_same_samples_the_checked_one_stays(leaderboards: Path) -> None:
    """Whoever hands in somebody's samples under another name does not stop the tables, nor take the place."""
    source = leaderboards / "records/digits-lt/coral"
    shutil.copytree(source, source.parent / "a-copy")  # before "coral" in the order of the names
    left_out: list[str] = []
    page = render(leaderboards, left_out=left_out)[TABLE]
    assert [line.replace(str(leaderboards), "") for line in left_out] == [
        "/records/digits-lt/a-copy and /records/digits-lt/coral measured the same samples"
    ]
    assert table(page)[0]["Method"] == "CORAL"


@pytest.mark.parametrize("place", ["tables", "tables/recipes", "tables/recipes/digits-lt"])
def test_linked_tables_are_refused_and_nothing_outside_is_touched(
    leaderboards: Path, tmp_path: Path, place: str
) -> None:
    """A folder of tables that is a link: the build would write to, and remove from, where it points."""
    build_tables(leaderboards)
    outside = tmp_path / "outside"
    (leaderboards / place).rename(outside)
    (outside / "thesis.md").write_text("years of work")
    (leaderboards / place).symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    shutil.rmtree(leaderboards / "records/digits-lt/coral")
    for work in (build_tables, check_tables):
        with pytest.raises(StorageError, match="is a symbolic link"):
            work(leaderboards)
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["../../thesis.md", "/etc/hostname", "recipes/../../thesis.md", "a\\b"])
def test_a_list_of_generated_files_cannot_name_others(leaderboards: Path, name: str) -> None:
    build_tables(leaderboards)
    (leaderboards.parent / "thesis.md").write_text("years of work")
    (leaderboards / "tables/.generated").write_text(f"{name}\n")
    with pytest.raises(StorageError, match="outside of its folder"):
        build_tables(leaderboards)
    assert (leaderboards.parent / "thesis.md").exists()


@pytest.mark.parametrize("place", ["verifications", "verifications/digits-lt", "verifications/digits-lt/coral"])
def test_linked_verifications_do_not_count(leaderboards: Path, tmp_path: Path, place: str) -> None:
    (leaderboards / place).rename(tmp_path / "mine")
    (leaderboards / place).symlink_to(tmp_path / "mine")
    left_out: list[str] = []
    render(leaderboards, left_out=left_out)
    assert left_out
    assert all("is a symbolic link" in line for line in left_out)


def test_two_submissions_do_not_share_samples_or_names(leaderboards: Path) -> None:
    source = leaderboards / "records/digits-lt/my-gan"
    shutil.copytree(source, source.parent / "copy")
    with pytest.raises(SubmissionError, match="measured the same samples"):
        render(leaderboards)
    shutil.rmtree(source.parent / "copy")
    write_submission(leaderboards, "again", [make_record("x", 0, foreign=True)], method="CORAL")
    with pytest.raises(SubmissionError, match="are both called 'CORAL'"):
        render(leaderboards)


@pytest.mark.parametrize("name", ["stray.json", "Upper"])
def test_stray_things_among_the_records(leaderboards: Path, name: str) -> None:
    (leaderboards / "records" / "digits-lt" / name).touch()
    with pytest.raises(SubmissionError, match="is not a submission's folder"):
        render(leaderboards)


def test_a_folder_of_another_data_set(leaderboards: Path) -> None:
    write_submission(leaderboards, "x", [make_record("x", foreign=True)], dataset="cifar10lt")
    with pytest.raises(SubmissionError, match="its data set is digits-lt; move it there"):
        render(leaderboards)


def test_published_numbers_are_never_ranked(leaderboards: Path) -> None:
    (leaderboards / "published" / "digits.toml").write_text(
        '[source]\nkey = "X"\ntitle = "A paper"\nsecond_hand = false\n[protocol]\nstated = []\nunstated = []\n'
        '[[table]]\nnumber = 1\ndataset = "digits-lt"\ntitle = "Digits"\ncolumns = ["fid"]\n'
        "[table.rows]\nPerfect = [0.01]\n"
    )
    page = render(leaderboards)[TABLE]
    own, reported = page.split("## Reported by the authors, not reproduced here")
    assert "Perfect" in reported
    assert "Perfect" not in own
    assert table(own)[0]["Method"] == "CORAL"


def test_conflicts_stand_side_by_side(leaderboards: Path) -> None:
    page = render(leaderboards)[Path("published.md")]
    (ddpm,) = [row for row in table(page) if row["Method"] == "DDPM"]
    assert (ddpm["FID (CORAL)"], ddpm["FID (CM)"]) == ("6.17", "10.70")
    assert "The sources disagree: FID of DDPM: 6.17 in CORAL, 10.70 in CM" in page
    assert "(quoted second hand)" in page


def test_an_empty_leaderboard_is_a_page_too(tmp_path: Path) -> None:
    assert "There are no records yet." in render(tmp_path)[Path("README.md")]


# --- escaping -----------------------------------------------------------------------------------------------------

HOSTILE = (
    "<script>alert(1)</script> | `x` **b** [l](javascript:1) \n# h \u202e $\\x$ @all ![i](x) {a} \\input{x} 50% & ~"
)


def test_markdown_stays_on_its_line_and_in_its_cell() -> None:
    """Parsed by a Markdown library: the text comes out as it went in, and as nothing but text."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    escaped = text.markdown(HOSTILE)
    assert "\n" not in escaped
    tokens = parser.parse(f"| a | b |\n|---|---|\n| {escaped} | x |\n")
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    kinds = {child.type for child in cells[2].children or []}
    assert kinds <= {"text", "text_special"}
    shown = "".join(child.content for child in cells[2].children or [])
    assert shown == HOSTILE.replace("\n", "\\n").replace("\u202e", "\\u202e")


def test_latex_has_no_live_commands() -> None:
    escaped = text.latex(HOSTILE)
    rest = re.sub(r"\\text[a-z]+\{\}|\\[{}$&#%_]|\$\\pm\$", "", escaped)
    assert not re.search(r"[\\{}$&#%_~^<>|\n]", rest)


def test_names_that_pass_the_validator_are_still_escaped(leaderboards: Path) -> None:
    write_submission(
        leaderboards,
        "odd",
        [make_record("odd", s, 6 + s / 9, foreign=True) for s in range(3)],
        method="*A_b* [#1] & =2",
    )
    files = render(leaderboards)
    assert r"\*A\_b\* \[\#1\] &amp; =2" in files[TABLE]
    assert r"*A\_b* [\#1] \& =2" in files[TABLE.with_suffix(".tex")]
    write_submission(
        leaderboards, "sheet", [make_record("s", s, 7 + s / 9, foreign=True) for s in range(3)], method="=1+1"
    )
    assert "'=1+1" in render(leaderboards)[TABLE.with_suffix(".csv")]


def test_the_committed_tables_are_up_to_date(monkeypatch, capsys) -> None:
    own = Path(__file__).resolve().parents[2] / "leaderboards"
    code, _, err = command(monkeypatch, capsys, "leaderboard", "build", "--check", "--leaderboards", own)
    assert (code, err) == (0, "")


def test_without_a_folder(tmp_path: Path, monkeypatch, capsys) -> None:
    line = refused(monkeypatch, capsys, "leaderboard", "build", "--leaderboards", tmp_path / "none")
    assert "there is no folder" in line


def test_methods_of_the_fixture() -> None:
    assert set(METHODS) == {"ddpm", "cbdm", "t2h", "coral"}


def test_a_verification_says_who(leaderboards: Path) -> None:
    found = table(render(leaderboards)[TABLE])
    assert found[0]["Status"] == "resampled by the submitter's own machine"
    files = sorted((leaderboards / "verifications/digits-lt/coral").glob("*.json"))
    for name, expected in (("The B lab", "resampled by The B lab"), (" ltgen-bench ", "own machine")):
        for file in files:
            file.write_text(json.dumps(json.loads(file.read_text()) | {"verifier": name}))
        metadata = leaderboards / "records/digits-lt/coral/submission.toml"
        if name.strip() == "ltgen-bench" and "submitter" not in metadata.read_text():
            metadata.write_text(metadata.read_text() + 'submitter = "ltgen-bench"\n')
            write_sums(metadata.parent)
        assert expected in table(render(leaderboards)[TABLE])[0]["Status"]
    files[0].write_text(json.dumps(json.loads(files[0].read_text()) | {"verifier": "two\nlines"}))
    with pytest.raises(SubmissionError, match="verifier"):
        render(leaderboards)
