"""Tables from records: means, ranks, differences and recipes against plain arithmetic."""

from __future__ import annotations

import io
import json
import math
import re
import statistics
from pathlib import Path

import pandas as pd
import pytest
from leaderboard_records import (
    TABLE,
    change,
    make_record,
    table,
    verified,
    write_submission,
)

from ltgen_bench.core.mappings import read_toml
from ltgen_bench.core.storage import sha256_json
from ltgen_bench.evaluation.contradictions import contradictions
from ltgen_bench.evaluation.record_files import parse_record
from ltgen_bench.leaderboard.build import build_tables, render
from ltgen_bench.leaderboard.collect import boards, read_entries
from ltgen_bench.leaderboard.how import how_made, in_words
from ltgen_bench.leaderboard.ranking import rows


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
