"""Suspected copies by thresholds of their own for every class.

One threshold for all classes is too high for a head, whose honest samples have many training images around them, and
too low for a tail: of CIFAR-10's test images 3.2 % of the head and 0.2 % of the tail lie below it, where 1 % should.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ltgen_bench.metrics.inputs import BoolArray, Float64Array, IntArray
from ltgen_bench.metrics.memorisation import fewest_held_out, low_quantile

ALL_CLASSES = "all"


@dataclass(frozen=True, eq=False)
class ClassThresholds:
    """The threshold of every class, None where there is none, and which held-out images it is a quantile of.

    `places[c]` is "class", the name of the class's group, or "all".
    """

    values: list[float | None]
    places: list[str]

    def copied(self, scores: Float64Array, labels: IntArray) -> BoolArray | None:
        """(N,) bool, whether a sample's score lies below its class's threshold; None where a class has none."""
        if any(self.values[c] is None for c in np.unique(labels)):
            return None
        limits = np.array([np.nan if value is None else value for value in self.values])
        return np.asarray(scores < limits[labels])


def class_thresholds(
    held_out: Float64Array,
    labels: IntArray,
    class_count: int,
    groups: Mapping[str, Sequence[int]],
    quantile: float,
) -> ClassThresholds:
    """The `quantile` of the scores (H,) of held-out images of each class, `labels` (H,) being theirs.

    A class with fewer than 1 / quantile - 1 of them takes its group's, a group with fewer takes those of all classes:
    of fewer numbers there is no such quantile (see `memorisation_scores`). None where it would be 0.
    """
    needed = fewest_held_out(quantile)
    group_of = {c: group for group, classes in groups.items() for c in classes}
    values: list[float | None] = []
    places: list[str] = []
    for c in range(class_count):
        group = group_of.get(c, ALL_CLASSES)
        candidates = [
            ("class", labels == c),
            (group, np.isin(labels, groups.get(group, []))),
            (ALL_CLASSES, labels >= 0),
        ]
        place, chosen = next(
            ((place, rows) for place, rows in candidates if rows.sum() >= needed), (ALL_CLASSES, labels < 0)
        )
        value = low_quantile(held_out[chosen], quantile) if chosen.any() else 0.0
        values.append(value or None)
        places.append(place)
    return ClassThresholds(values, places)
