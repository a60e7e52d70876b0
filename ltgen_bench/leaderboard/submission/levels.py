"""The ladder: what has been checked of a number, from nothing to everything.

`reported` < `remeasured` (its samples measured again) < `resampled` (samples drawn again from the trained weights) <
`retrained` (trained again from the configuration). A row stands where its lowest seed stands, but for retraining, which
one seed is enough for.
"""

from __future__ import annotations

from collections.abc import Mapping

from ltgen_bench.core.choices import Level
from ltgen_bench.leaderboard.submission.verification import Verification

RANKED_FROM = Level.RESAMPLED


def level_of(verifications: Mapping[int, Verification], seeds: int) -> Level:
    """The level of a submission of `seeds` seeds whose verifications, by seed, hold."""
    if len(verifications) < seeds:
        return Level.REPORTED
    found = verifications.values()
    if not all(one.redrawn_rows for one in found):
        return Level.REMEASURED
    return Level.RETRAINED if any(one.retrained is not None for one in found) else Level.RESAMPLED
