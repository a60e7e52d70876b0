"""The terms of a submission: what a submitter declares, and how many seeds a rank takes."""

from __future__ import annotations

from typing import Literal, get_args

Declaration = Literal["every seed that was run is in this folder; none was left out and none was chosen by its result"]
DECLARATION: Declaration = get_args(Declaration)[0]

SEEDS_WANTED = 3  # fewer are shown with their number and are not ranked
MOST_SEEDS = 64
