"""Small sets of one's own: the networks of the papers would take weeks on the laptop that they lie on."""

from __future__ import annotations

_SMALL = 10_000  # training images; those of the papers that are smaller state their own settings


def own_recipe(total: int) -> str:
    """The recipe of a set of one's own with so many training images: that of small ones, or none."""
    return "small" if total < _SMALL else ""
