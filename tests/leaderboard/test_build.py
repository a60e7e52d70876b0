"""Tables from records: means and ranks against plain arithmetic, escaping, staleness, byte stability."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import statistics
from pathlib import Path

import pandas as pd
import pytest
from leaderboard_records import (
    METHODS,
    change,
    command,
    make_record,
    refused,
    verified,
    write_leaderboard,
    write_submission,
    write_sums,
)

from ltgen_bench.core.errors import StorageError
from ltgen_bench.core.mappings import read_toml
from ltgen_bench.core.storage import sha256_json
from ltgen_bench.evaluation.contradictions import contradictions
from ltgen_bench.evaluation.record_files import parse_record
from ltgen_bench.leaderboard import text
from ltgen_bench.leaderboard.build import StaleTableError, build_tables, check_tables, render
from ltgen_bench.leaderboard.collect import boards, read_entries
from ltgen_bench.leaderboard.how import how_made, in_words
from ltgen_bench.leaderboard.ranking import rows
from ltgen_bench.leaderboard.submission import SubmissionError

TABLE = Path("digits-lt--digits-1k.v1.md")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_leaderboard(tmp_path_factory.mktemp("made") / "leaderboards")


@pytest.fixture
def leaderboards(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "leaderboards")
    return tmp_path / "leaderboards"


def table(markdown: str, number: int = 0) -> list[dict[str, str]]:
    """The rows of the n-th Markdown table, bold marks kept."""
    blocks = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in blocks[number].strip().splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_means_deviations_and_order(leaderboards: Path) -> None:
    found = table(render(leaderboards)[TABLE])
    assert [row["Method"] for row in found] == ["CORAL", "CBDM", "T2H", "DDPM", "My GAN"]
    assert [row["Rank"] for row in found] == ["1", "2", "3", "4", "–"]
    assert [row["n"] for row in found] == ["3", "3", "3", "3", "1"]
    for row, name in zip(found, ("coral", "cbdm", "t2h", "ddpm"), strict=False):
        records = [json.loads((leaderboards / f"records/digits-lt/{name}/{s}.json").read_text()) for s in range(3)]
        for title, values in {
            r"FD\[digits-cnn\] ↓": [r["metrics"]["fid"] for r in records],
            r"Tail FD\[digits-cnn\] ↓": [r["metrics"]["groups"]["few"]["fid"] for r in records],
        }.items():
            expected = f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
            assert row[title].strip("*") == expected
        recalls = [r["metrics"]["recall"] for r in records]
        assert row["Recall ↑"].strip("*") == f"{statistics.mean(recalls):.3f} ± {statistics.stdev(recalls):.3f}"
    assert found[-1][r"FD\[digits-cnn\] ↓"] == "4.10"  # one seed has no deviation


def test_bold_is_the_best_of_the_ranked_rows(leaderboards: Path) -> None:
    found = table(render(leaderboards)[TABLE])
    for title in found[0]:
        if title in ("Rank", "Method", "Status", "n", "How", "Records", "Recipe"):
            continue
        bold = [row[title].startswith("**") for row in found]
        if not any(name in title for name in ("FD", "Coverage", "abel accuracy")):
            assert not any(bold), title  # recall and its like also grow with scattered samples
            continue
        means = [float(row[title].strip("*").split()[0]) for row in found[:4]]
        winner = min(means) if title.endswith("↓") else max(means)
        assert bold == [mean == winner for mean in means] + [False]


def test_a_row_alone_is_not_bold(tmp_path: Path) -> None:
    verified(write_submission(tmp_path, "ddpm", [make_record(seed=s, fid=5 + s / 10) for s in range(3)]))
    assert "**" not in "".join(line for line in render(tmp_path)[TABLE].splitlines() if line.startswith("|"))


def test_differences_are_paired_over_seeds(leaderboards: Path) -> None:
    found = table(render(leaderboards)[TABLE], 1)
    assert [row["Method"] for row in found] == ["CBDM", "T2H", "DDPM", "My GAN"]
    (row,) = [row for row in rows(boards(read_entries(leaderboards))[0]) if row.entry.name == "cbdm"]
    gap = row.difference
    assert gap is not None
    assert gap.paired
    (first,) = [row for row in found if row["Method"] == "CBDM"]
    assert first["95 % interval, all pairs at once"] == f"{gap.low:+.2f} … {gap.high:+.2f}"
    assert first["Difference"] == "beyond noise"
    assert found[-1]["Difference"].endswith(", seeds do not pair")  # and an uncertainty all the same


def test_overlapping_seeds_are_within_noise(tmp_path: Path) -> None:
    for name, fids in (("a", (5.0, 5.3, 5.1)), ("b", (5.2, 5.15, 5.16))):
        verified(write_submission(tmp_path, name, [make_record(name, s, fid) for s, fid in enumerate(fids)]))
    page = render(tmp_path)[TABLE]
    assert [row["Difference"] for row in table(page, 1)] == ["within noise"]
    assert [row["Rank"] for row in table(page)] == ["1–2", "1–2"]
    assert int(table(page, 1)[0]["More seeds to tell them apart"].removeprefix("over ")) > 3


def test_equal_shown_means_share_a_rank(tmp_path: Path) -> None:
    for name, shift in (("a", 0.0), ("b", 0.001), ("c", 0.5)):
        verified(write_submission(tmp_path, name, [make_record(name, s, 5 + s / 10 + shift) for s in range(3)]))
    found = table(render(tmp_path)[TABLE])
    assert [row["Rank"] for row in found] == ["1–2", "1–2", "3"]
    assert [row[r"FD\[digits-cnn\] ↓"].startswith("**") for row in found] == [True, True, False]


def test_a_value_that_one_seed_lacks_has_no_mean(leaderboards: Path) -> None:
    def without(record: dict) -> None:
        record["metrics"]["f8"] = None
        record["metrics"]["notes"]["f8"] = "not computed"

    change(leaderboards / "records/digits-lt/coral", 1, without)
    verified(leaderboards / "records/digits-lt/coral")
    found = table(render(leaderboards)[TABLE])
    assert found[0]["F8 ↑"] == "–"
    assert found[1]["F8 ↑"] != "–"


def test_links_lead_somewhere(leaderboards: Path) -> None:
    (leaderboards / "README.md").touch()
    build_tables(leaderboards)
    for page in sorted((leaderboards / "tables").glob("*.md")):
        for link in re.findall(r"\]\((?!https)([^)]+)\)", page.read_text()):
            assert (page.parent / link).is_file(), (page, link)


def test_csv_and_latex_hold_the_same_numbers(leaderboards: Path) -> None:
    files = render(leaderboards)
    frame = pd.read_csv(io.StringIO(files[TABLE.with_suffix(".csv")]))
    found = table(files[TABLE])
    assert frame["method"].tolist() == [row["Method"] for row in found]
    for mean, std, row in zip(frame["fid.mean"], frame["fid.std"], found, strict=True):
        shown = row[r"FD\[digits-cnn\] ↓"].strip("*")
        assert shown == (f"{mean:.2f}" if math.isnan(std) else f"{mean:.2f} ± {std:.2f}")
    latex = files[TABLE.with_suffix(".tex")]
    assert r"\toprule" in latex
    assert r"\midrule" in latex
    assert r"\bottomrule" in latex
    body = latex.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    head = [
        cell.strip()
        for cell in latex.split(r"\toprule")[1].split(r"\midrule")[0].strip().removesuffix(r"\\").split("&")
    ]
    arrows = {r"$\uparrow$": "↑", r"$\downarrow$": "↓", "[": r"\[", "]": r"\]"}
    for sign, shown in arrows.items():
        head = [cell.replace(sign, shown) for cell in head]
    for line, row in zip(body, found, strict=True):
        cells = [re.sub(r"\\textbf\{(.*)\}", r"**\1**", c.strip()) for c in line.removesuffix(r"\\").split("&")]
        assert [c.replace(r"$\pm$", "±").replace("--", "–") for c in cells] == [row[name] for name in head]


def test_recipes_run_the_same_configuration(leaderboards: Path) -> None:
    """The recipe resolves to the record's own configuration, hash and all."""
    from ltgen_bench.runs.resolve import resolve

    build_tables(leaderboards)
    config = read_toml(leaderboards / "tables/recipes/digits-lt/ddpm.toml")
    record = json.loads((leaderboards / "records/digits-lt/ddpm/0.json").read_text())
    assert resolve(config, Path("/nonexistent")).config.hash() == record["method"]["config_hash"]


@pytest.mark.parametrize(
    ("origin", "option", "words"),
    [
        ("my method.py", " --plugin 'my method.py'", f"ask the submitter for my method.py (code sha256 {'5' * 64})"),
        ("package my-gan 1.2", "", f"pip install my-gan==1.2 (code sha256 {'5' * 64})"),
        (None, " --plugin FILE", "ask the submitter for its file"),
    ],
)
def test_the_recipe_of_a_plug_in_says_where_the_plug_in_is_from(
    leaderboards: Path, origin: str | None, option: str, words: str
) -> None:
    records = [make_record("mine", seed, 3.0 + seed / 10) for seed in range(3)]
    for record in records:
        record["method"] |= {"code_sha256": "5" * 64, "plugin": origin}
    write_submission(leaderboards, "mine", records)
    build_tables(leaderboards)
    head = (leaderboards / "tables/recipes/digits-lt/mine.toml").read_text()
    assert f"--seed 0{option}\n" in head
    assert words in head
    assert "made elsewhere" not in in_words(how_made([parse_record(json.dumps(records[0]), "a record")]))


def test_a_model_that_is_no_diffusion_was_not_made_elsewhere() -> None:
    record = make_record("mine", 0, 3.0)
    for section in ("network", "diffusion", "training", "sampling"):
        record["method"]["config"].pop(section, None)
    record["training"] = record["samples"]["sampler"] = record["samples"]["network_evaluations"] = None
    record["method"]["config_hash"] = sha256_json(record["method"]["config"])[:10]
    gaussian = parse_record(json.dumps(record), "a record")
    assert in_words(how_made([gaussian])).startswith("no diffusion: no sampler and no steps of this package")
    assert not [line for line in contradictions(gaussian) if "guidance" in line or "method.config" in line]


def test_boards_do_not_mix(leaderboards: Path) -> None:
    """Another fingerprint under the same name makes a table of its own, and cannot take the name of the verified."""
    for letter in "0f":  # sorted before and after the right one
        records = [make_record(f"other{letter}", s, 3.0 + s / 10, foreign=True) for s in range(3)]
        for record in records:
            record["dataset"]["fingerprint"] = letter * 64
        write_submission(leaderboards, f"other{letter}", records)
    found = boards(read_entries(leaderboards))
    assert [len(board.entries) for board in found] == [5, 1, 1]
    slugs = [board.slug for board in found]
    assert slugs[0] == "digits-lt--digits-1k.v1"
    assert len(set(slugs)) == 3
    assert all(re.fullmatch(r"digits-lt--digits-1k\.v1--[0-9a-f]{12}", slug) for slug in slugs[1:])
    assert rows(found[0])[0].entry.name == "coral"


def test_only_what_is_verified_is_ranked(leaderboards: Path) -> None:
    """Numbers that nobody measured again take no rank, are never bold, and take no row's difference away."""
    before = table(render(leaderboards)[TABLE], 1)
    write_submission(leaderboards, "evil", [make_record("evil", s, 0.5 + s / 10, foreign=True) for s in range(3)])
    page = render(leaderboards)[TABLE]
    (evil,) = [row for row in table(page) if row["Method"] == "evil"]
    assert evil["Rank"] == "–"
    assert not any(cell.startswith("**") for cell in evil.values())
    assert [row for row in table(page, 1) if row["Method"] != "evil"] == before
    # once it is verified it leads, and the differences are to it
    verified(leaderboards / "records/digits-lt/evil")
    page = render(leaderboards)[TABLE]
    assert [row["Method"] for row in table(page)][:2] == ["evil", "CORAL"]
    assert "FD\\[digits-cnn\\] minus evil's" in table(page, 1)[0]
    assert all(row["Difference"].endswith(", seeds do not pair") for row in table(page, 1))


def test_many_suspected_copies_are_said(leaderboards: Path) -> None:
    assert "suspected copies" not in render(leaderboards)[TABLE]
    for seed in range(3):
        change(
            leaderboards / "records/digits-lt/coral",
            seed,
            lambda r: r["metrics"]["memorisation"]["pixels"].update(fraction=0.25, per_class=[0.25] * 10),
        )
    assert "**25% of the samples are suspected copies of training images**" in render(leaderboards)[TABLE]


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
