"""Small sets of one's own: the networks of the papers would take weeks on the laptop that they lie on."""

from __future__ import annotations

SMALL_RECIPE = "small"  # its file among the recipes
_SMALL = 10_000  # training images; those of the papers that are smaller state their own settings


def is_small(total: int) -> bool:
    """Whether so many training images are few."""
    return total < _SMALL
