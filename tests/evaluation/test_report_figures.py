"""Figures show every class once and say what was not computed, for any number of classes."""

from __future__ import annotations

import json

from leaderboard_records import make_record

from ltgen_bench.evaluation.record_files import parse_record
from ltgen_bench.evaluation.report.figures import per_class_bars


def test_classes_without_a_value_are_marked_and_counted() -> None:
    import matplotlib.pyplot as plt

    raw = make_record()
    raw["metrics"]["per_class"]["recall"] = [0.5, None, 0.0, None] + [0.25] * 6
    figure = per_class_bars(parse_record(json.dumps(raw), "here"))
    try:
        by_title = {axes.get_title(loc="left"): axes for axes in figure.axes}
        title = "recall per class (higher is better); x: not computed, 2 of 10 classes"
        assert title in by_title
        (marks,) = by_title[title].lines
        assert list(marks.get_xdata()) == [1, 3]
        assert by_title[title].get_ylim() == (0, 1)
        assert any("not computed" not in other and "lower is better" in other for other in by_title)
    finally:
        plt.close(figure)
