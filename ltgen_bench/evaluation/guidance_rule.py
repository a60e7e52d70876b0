"""The rule by which a protocol chooses the scale of guidance: which scales are tried, and which one is taken.

First those of the grid; then the best of them plus and minus the fine step, within the grid. The scale with the
smallest distance is taken, of equal ones the smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

from ltgen_bench.core.protocol import Protocol
from ltgen_bench.evaluation.record import GuidancePart, GuidancePoint


def best_scale(points: Sequence[GuidancePoint]) -> float:
    """The scale with the smallest distance, of equal ones the smaller."""
    return min(points, key=lambda point: (point.fid, point.guidance_scale)).guidance_scale


def rule_scales(protocol: Protocol, points: Sequence[GuidancePoint]) -> list[float]:
    """The scales that the rule asks for as far as `points` say, ascending: the fine ones follow from the grid's."""
    grid = list(protocol.guidance_grid or ())
    coarse = [point for point in points if point.guidance_scale in grid]
    if len(coarse) < len(grid) or protocol.guidance_fine_step is None or not grid:
        return grid
    best = best_scale(coarse)
    fine = [round(best + sign * protocol.guidance_fine_step, 6) for sign in (-1, 1)]
    return sorted({*grid, *(scale for scale in fine if grid[0] <= scale <= grid[-1])})


def next_scales(protocol: Protocol, points: Sequence[GuidancePoint]) -> list[float]:
    """The scales that the rule asks for and that `points` lack, ascending; none when the choice is made."""
    tried = {point.guidance_scale for point in points}
    return [scale for scale in rule_scales(protocol, points) if scale not in tried]


def selection_cost(protocol: Protocol, steps: int, points: Sequence[GuidancePoint]) -> int:
    """Network evaluations behind `points`, with a sampler of `steps`: two a step and image where the scale is not 0."""
    calls = sum(steps * (1 if point.guidance_scale == 0 else 2) for point in points)
    return (protocol.guidance_samples or 0) * calls


def most_selection_cost(protocol: Protocol, steps: int) -> int:
    """The same before anything is measured, at most."""
    grid = protocol.guidance_grid or ()
    fine = 2 if protocol.guidance_fine_step is not None else 0
    return (protocol.guidance_samples or 0) * steps * (2 * (len(grid) + fine) - (0.0 in grid))


def guidance_part(protocol: Protocol, steps: int, points: Sequence[GuidancePoint]) -> GuidancePart:
    """The whole curve, the choice, and what it cost."""
    return GuidancePart(
        guidance_scale=best_scale(points),
        curve=list(points),
        samples=protocol.guidance_samples or 0,
        network_evaluations=selection_cost(protocol, steps, points),
    )
