"""Which classes are rare, and which of their images stay: the two choices behind every artificial tail.

Other images in the tail, and other rare classes, move the numbers of the tail more than new samples do. Both are
factors of an experiment therefore, with the papers' choice as the default: cut seed 0, classes by index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.datasets.base import Groups
from ltgen_bench.datasets.longtail import groups_by_thirds

if TYPE_CHECKING:
    from ltgen_bench.core.config import DatasetConfig

MAX_SEED = 2**32 - 1  # of numpy's legacy generator
_REVERSED = "reversed"


@dataclass(frozen=True)
class Cut:
    """How classes and images are chosen. The defaults are the papers' choice.

    Arguments:
        order: None: classes by index, from head to tail; "reversed"; or the seed of a permutation, which is
            `numpy.random.RandomState(seed).permutation(C)`.
        seed: of the index rule (`longtail.select_longtail_indices`).
    """

    order: int | str | None = None
    seed: int = 0

    @classmethod
    def of(cls, options: DatasetConfig) -> Cut:
        """The cut that `options` ask for."""
        return cls(options.class_order, options.cut_seed or 0)

    @property
    def suffix(self) -> str:
        """What it adds to a data set's name: nothing for the papers' choice, else as in `-reversed-cut2`."""
        word = f"-{_REVERSED}" if self.order == _REVERSED else f"-order{self.order}"
        return ("" if self.order is None else word) + (f"-cut{self.seed}" if self.seed else "")

    @property
    def words(self) -> str:
        """What it adds to a data set's title."""
        word = f", classes {_REVERSED}" if self.order == _REVERSED else f", class order {self.order}"
        return ("" if self.order is None else word) + (f", cut {self.seed}" if self.seed else "")

    def head_to_tail(self, class_count: int) -> tuple[int, ...]:
        """Class indices, the one with most images first."""
        if self.order is None:
            return tuple(range(class_count))
        if self.order == _REVERSED:
            return tuple(reversed(range(class_count)))
        return tuple(int(c) for c in np.random.RandomState(int(self.order)).permutation(class_count))

    def by_class(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Counts from head to tail as counts of the classes 0 ... C-1."""
        placed = [0] * len(counts)
        for c, count in zip(self.head_to_tail(len(counts)), counts, strict=True):
            placed[c] = int(count)
        return tuple(placed)

    def groups(self, class_count: int) -> Groups:
        """Head, medium and tail as thirds of the order."""
        return groups_by_thirds(class_count, self.head_to_tail(class_count))


def split_cut_name(name: str) -> tuple[str, dict[str, Any]]:
    """A canonical name without what a cut added to it, and the options that it stands for."""
    options: dict[str, Any] = {}
    base, _, last = name.rpartition("-")
    if base and last.startswith("cut") and last[3:].isascii() and last[3:].isdigit():
        name, options["cut_seed"] = base, int(last[3:])
        base, _, last = name.rpartition("-")
    if base and last == _REVERSED:
        return base, {**options, "class_order": _REVERSED}
    if base and last.startswith("order") and last[5:].isascii() and last[5:].isdigit():
        return base, {**options, "class_order": int(last[5:])}
    return name, options


def tail_size(class_counts: Sequence[int], few: Sequence[int]) -> int:
    """Images a class of the balanced set that is as poor as the tail: the floor of the mean over its classes `few`.

    Trained on so few images of every class, a model shows how much of a gap comes from which classes are rare.
    """
    tail = [class_counts[c] for c in few]
    return max(1, sum(tail) // len(tail)) if tail else min(class_counts)


def refuse_uncut(options: DatasetConfig, cut: bool) -> None:
    """Raise ConfigError where a cut seed is given and nothing is cut."""
    if options.cut_seed and not cut:
        raise ConfigError(f"data set {options.name!r} is whole: cut_seed has no meaning; leave it out, or give a cut")
