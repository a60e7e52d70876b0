"""Many, medium and few: class groups by their number of training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ltgen_bench.core.choices import Group
from ltgen_bench.core.errors import SamplesError, did_you_mean

GROUP_NAMES = tuple(group.value for group in Group)


def check_groups(groups: Mapping[str, Sequence[int]], class_count: int) -> dict[str, list[int]]:
    """The groups in the order many, medium, few, with plain ascending class indices.

    Raises `SamplesError` for an unknown group, a class out of range, or a class in two groups.
    """
    seen: dict[int, str] = {}
    for name, classes in groups.items():
        if name not in GROUP_NAMES:
            raise SamplesError(f"groups: unknown group {name!r}; {did_you_mean(name, GROUP_NAMES)}")
        for c in classes:
            if not 0 <= c < class_count:
                raise SamplesError(f"groups: {name} holds class {c}, but classes run from 0 to {class_count - 1}")
            if c in seen:
                raise SamplesError(f"groups: class {c} is in both {seen[c]} and {name}; it may be in one only")
            seen[c] = name
    return {name: sorted(int(c) for c in groups[name]) for name in GROUP_NAMES if name in groups}


def mean_of(values: Sequence[float | None], classes: Sequence[int]) -> float | None:
    """The plain mean of the classes' values, which counts every class alike; None unless every class has one."""
    chosen = [values[c] for c in classes]
    present = [value for value in chosen if value is not None]
    return float(np.mean(present)) if present and len(present) == len(chosen) else None
