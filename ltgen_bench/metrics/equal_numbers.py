"""Fréchet distances of groups at equal numbers, so that a gap between groups is not one of group sizes.

Every group is compared with m samples against m reference images, m being half of the smallest group's reference
images, and beside it stands the distance of m other reference images: the floor at the same numbers. Both are means
over random halves; what is left above the floor is the excess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ltgen_bench.metrics.frechet import fid
from ltgen_bench.metrics.inputs import FloatArray, IntArray
from ltgen_bench.metrics.numerics.content_order import content_order
from ltgen_bench.metrics.real_vs_real import random_halves
from ltgen_bench.metrics.uncertainty import StandardError

MOST_PARTS = 10
# Halvings of the reference; fewer where one distance takes seconds.
HALVINGS, FEW_HALVINGS, FEW_FROM = 8, 2, 600


@dataclass(frozen=True)
class GroupDistance:
    """A group's distance at `count` against `count`, its floor, and the error of the distance over new samples."""

    distance: float
    floor: float
    count: int
    error: StandardError | None


def equal_number(reference_rows: Sequence[Sequence[IntArray]], generated_counts: Sequence[int]) -> int:
    """m of some groups, each given by the reference rows of its classes and its number of samples."""
    halves = [sum(len(rows) // 2 for rows in classes) for classes in reference_rows]
    return min((*halves, *generated_counts), default=0)


def group_distance(
    generated: FloatArray,
    labels: IntArray,
    reference: FloatArray,
    reference_labels: IntArray,
    count: int,
    *,
    seed: int,
) -> GroupDistance | None:
    """The distance of a group's samples (n, D) to its reference images (m, D), `count` against `count` (2 or more).

    The samples are dealt into as many parts as have `count`, at most `MOST_PARTS`, each of which is compared with the
    same halves of the reference; the spread of the parts is the error. Parts and halves hold equally many of each
    class; None where a class has too few samples for that.
    """
    halves = random_halves(reference, reference_labels, seed)
    # of each class as many as an even choice from a half holds: the same on both sides, for they would differ otherwise
    classes = int(max(labels.max(), reference_labels.max())) + 1
    shares = np.bincount(reference_labels[_evenly(halves[0], count)], minlength=classes)
    available = np.bincount(labels, minlength=classes)
    parts = min(MOST_PARTS, *(int(n // share) for n, share in zip(available, shares, strict=True) if share))
    if parts == 0:
        return None
    order = content_order(generated)
    of_class = [order[labels[order] == c] for c in range(len(shares))]
    members = [
        np.concatenate([rows[part * share : (part + 1) * share] for rows, share in zip(of_class, shares, strict=True)])
        for part in range(parts)
    ]
    halvings = HALVINGS if count < FEW_FROM else FEW_HALVINGS
    distances, floors = np.zeros((halvings, parts)), np.zeros(halvings)
    for halving in range(halvings):
        halves = random_halves(reference, reference_labels, seed + halving)
        first, second = (reference[_evenly(rows, count)] for rows in halves)
        floors[halving] = fid(first, second)
        distances[halving] = [fid(generated[rows], first) for rows in members]
    of_part = distances.mean(axis=0)
    error = None
    if parts > 1:
        method = f"spread of {parts} parts of the samples"
        error = StandardError(float(of_part.std(ddof=1)) / math.sqrt(parts), method, parts - 1)
    return GroupDistance(float(of_part.mean()), float(floors.mean()), count, error)


def _evenly(rows: IntArray, count: int) -> IntArray:
    """`count` of the rows, which stand class by class, from all of them alike."""
    return rows[np.arange(count) * len(rows) // count]
