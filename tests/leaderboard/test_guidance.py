"""The choice of guidance in tables and on the site, from made-up curves."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from leaderboard_records import make_record, write_submission

from ltgen_bench.evaluation.record import GuidancePoint
from ltgen_bench.leaderboard.collect import boards, read_entries
from ltgen_bench.leaderboard.guidance import CURVES, CurvePoint, curve, guidance_section
from ltgen_bench.leaderboard.how import in_words, row_made
from ltgen_bench.leaderboard.ranking import rows
from ltgen_bench.leaderboard.site.curve_charts import Curve, curve_chart, trade_off_chart
from ltgen_bench.leaderboard.site.curve_charts import Path as TradeOff


def points(best: float) -> list[GuidancePoint]:
    return [
        GuidancePoint(guidance_scale=s, fid=3 + abs(s - best), few_fid=9.0, precision=0.5 + s / 10, recall=0.9 - s / 4)
        for s in sorted({0.0, 0.5, 1.0, best})
    ]


@pytest.fixture
def entry(tmp_path: Path):
    """A submission of two seeds, as if its protocol had chosen the scale."""
    write_submission(tmp_path, "ddpm", [make_record(seed=seed) for seed in (0, 1)])
    (entry,) = read_entries(tmp_path)
    for record, best in zip(entry.records.values(), (0.2, 0.7), strict=True):
        part = {"guidance_scale": best, "curve": [p.model_dump() for p in points(best)], "samples": 10}
        made = {**json.loads(record.model_dump_json()), "guidance": {**part, "network_evaluations": 5}}
        made["samples"]["sampler"]["guidance_scale"] = best
        made["protocol"] |= {"guidance_grid": [0.0, 0.5, 1.0], "guidance_fine_step": 0.2, "guidance_samples": 10}
        entry.submission.records[record.seed] = type(record).model_validate_json(json.dumps(made))
    return entry


def test_a_curve_holds_the_scales_that_every_seed_tried(entry) -> None:
    found = curve(entry, CURVES["fid"][1])
    assert [point.scale for point in found] == [0.0, 0.5, 1.0]  # 0.2 and 0.7 are one seed's each
    assert found[1] == CurvePoint(0.5, pytest.approx(3.25), pytest.approx(3.2), pytest.approx(3.3))


def test_the_table_says_what_was_tried_and_what_was_chosen(entry) -> None:
    (board,) = boards([entry])
    text = "\n".join(guidance_section(board, rows(board)))
    assert "| w = 0 |" in text.replace("   ", " ").replace("  ", " ")
    assert "0.2, 0.7" in text
    assert "3.25" in text
    assert "`cfg_scale` is w + 1" in text
    made = row_made(entry)
    assert (made["guidance"], made["guidance_chosen_by"]) == ("0.2 / 0.7", "protocol")
    assert "guidance 0.2 / 0.7, chosen by the protocol" in in_words(made)


def test_a_board_without_a_choice_has_no_section(tmp_path: Path) -> None:
    write_submission(tmp_path, "ddpm", [make_record(seed=0)])
    (board,) = boards(read_entries(tmp_path))
    assert guidance_section(board, rows(board)) == []


def test_charts_are_well_formed_and_escape_names() -> None:
    hostile = '<script>alert("x")</script>'
    line = [CurvePoint(0.0, 3.0, 2.5, 3.5), CurvePoint(1.0, 2.0, 1.5, 2.5)]
    chart = curve_chart("Guidance", [Curve(hostile, line, [1.0]), Curve("empty", [], [])])
    trade = trade_off_chart("Trade", [TradeOff(hostile, [(0.9, 0.5), (0.5, 0.9)], [0.0, 1.0], [1.0, 1.0])])
    for svg in (chart, trade):
        ElementTree.fromstring(svg)
        assert "<script" not in svg
    assert chart.count("<polygon") == 1
    assert "chosen for 2 of 2 seeds" in trade
    assert trade.count('class="ring') == 1
    assert curve_chart("Nothing", []) == trade_off_chart("Nothing", []) == ""
