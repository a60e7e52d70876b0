"""Figures show every class once and say what was not computed, for any number of classes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from leaderboard_records import make_record

from ltgen_bench.evaluation.record_files import parse_record
from ltgen_bench.evaluation.report.closest_pairs import closest_pairs_figure
from ltgen_bench.evaluation.report.figures import per_class_bars


def test_classes_without_a_value_are_marked_and_counted() -> None:
    raw = make_record()
    raw["metrics"]["per_class"]["recall"] = [0.5, None, 0.0, None] + [0.25] * 6
    figure = per_class_bars(parse_record(json.dumps(raw), "here"))
    by_title = {axes.get_title(loc="left"): axes for axes in figure.axes}
    title = "recall per class (higher is better); x: not computed, 2 of 10 classes"
    assert title in by_title
    (marks,) = by_title[title].lines
    assert list(marks.get_xdata()) == [1, 3]
    assert by_title[title].get_ylim() == (0, 1)
    assert any("not computed" not in other and "lower is better" in other for other in by_title)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 5), (3, 100, 80)])
def test_each_pair_stands_in_a_column_the_generated_image_framed(shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(0)
    generated, training = (random.integers(0, 256, (20, *shape), dtype=np.uint8) for _ in range(2))
    labels = np.arange(20) % 3
    pairs = [[index, 19 - index] for index in range(14)]
    found = {
        "features": {"closest_pairs": pairs, "fraction": 0.125},
        "pixels": {"closest_pairs": pairs[:3], "fraction": None},
    }
    figure = closest_pairs_figure(generated, training, labels, found, ["cat", "dog", "a name beyond ten letters"])
    (axes,) = figure.axes
    canvas = np.asarray(axes.images[0].get_array())
    zoom = max(1, round(72 / shape[1]))
    height, width = zoom * shape[1], zoom * shape[2]

    def shown(image: np.ndarray, row: int, column: int) -> bool:
        at = canvas[row : row + height : zoom, column : column + width : zoom]
        return bool((at == np.broadcast_to(image, (3, *shape[1:])).transpose(1, 2, 0)).all())

    block = 22 + 2 * height + 6
    for start, count in ((22, 12), (block + 22, 3)):  # a row has room for twelve
        for place, (ours, theirs) in enumerate(pairs[:count]):
            left = place * (width + 8) + 2
            assert shown(training[theirs], start, left)
            assert shown(generated[ours], start + height + 4, left)
            assert canvas[start + height + 3, left - 1].tolist() == [194, 24, 91]
    assert (canvas[block + 22 :, 3 * (width + 8) :] == 255).all()
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == ["cat", "dog", "a name bey"][labels[19]]
    assert "by pixels:\ntraining" in texts
    (words,) = [text.get_text() for text in figure.texts]
    assert words.endswith("share of samples that are suspiciously near: 12.5 % by features")
