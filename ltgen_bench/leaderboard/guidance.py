"""What the choice of guidance saw: the curves behind a board's rows, and the choices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import pandas as pd

from ltgen_bench.evaluation.record import GuidancePoint
from ltgen_bench.leaderboard import text
from ltgen_bench.leaderboard.collect import Board, Entry
from ltgen_bench.leaderboard.markdown import markdown_table
from ltgen_bench.leaderboard.ranking import Row

CURVES: dict[str, tuple[str, Callable[[GuidancePoint], float | None]]] = {
    "fid": ("{fid} ↓", lambda point: point.fid),
    "few_fid": ("tail {fid} ↓", lambda point: point.few_fid),
    "precision": ("precision ↑", lambda point: point.precision),
    "recall": ("recall ↑", lambda point: point.recall),
}


@dataclass(frozen=True)
class CurvePoint:
    """One scale of one method: mean, smallest and largest value over the seeds that tried it."""

    scale: float
    mean: float
    low: float
    high: float


def curve(entry: Entry, value: Callable[[GuidancePoint], float | None]) -> list[CurvePoint]:
    """An entry's curve over the scales that every seed tried, ascending; empty where nothing was chosen."""
    by_seed = [record.guidance.curve for record in entry.records.values() if record.guidance is not None]
    if not by_seed:
        return []
    found = []
    for scale in sorted({point.guidance_scale for point in by_seed[0]}):
        values = [value(p) for points in by_seed for p in points if p.guidance_scale == scale]
        present = [v for v in values if v is not None]
        if len(present) == len(by_seed):  # the fine steps differ from seed to seed
            found.append(CurvePoint(scale, fmean(present), min(present), max(present)))
    return found


def chosen_scales(entry: Entry) -> list[float]:
    """The scale that was chosen for every seed; empty where nothing was chosen."""
    return [r.guidance.guidance_scale for r in entry.records.values() if r.guidance is not None]


def guidance_section(board: Board, ordered: list[Row]) -> list[str]:
    """A page's section on the choice of guidance: distance and tail distance by scale; nothing where none was made."""
    rows = [row for row in ordered if chosen_scales(row.entry)]
    if not rows:
        return []
    scales = sorted({point.scale for row in rows for point in curve(row.entry, CURVES["fid"][1])})
    parts = ["## The choice of guidance"]
    for key, (title, value) in CURVES.items():
        decimals = 2 if key.endswith("fid") else 3
        cells = []
        for row in rows:
            means = {point.scale: point.mean for point in curve(row.entry, value)}
            shown = [f"{means[scale]:.{decimals}f}" if scale in means else "–" for scale in scales]
            cells.append((text.markdown(row.entry.method), *shown, _chosen(row.entry)))
        columns = ["Method", *(f"w = {scale:g}" for scale in scales), "Chosen, by seed"]
        table = markdown_table(pd.DataFrame(cells, columns=columns), left=("Method", "Chosen, by seed"))
        named = text.markdown(title.format(fid=board.fid_label))
        parts += [f"{named}, mean over seeds, of the selection samples:", table]
    protocol = board.record.protocol
    fine = "" if protocol.guidance_fine_step is None else f", then the best ± {protocol.guidance_fine_step:g}"
    parts.append(
        "w in eps_c + w (eps_c − eps_u); 0 is off, and what other tools call `cfg_scale` is w + 1. Every method's "
        f"scale is chosen by one rule: {protocol.guidance_samples:,} samples that nobody reports for each of the scales"
        f"{fine}; the smallest {text.markdown(board.fid_label)}, of equal ones the smaller scale. The reported samples "
        "are others."
    )
    return parts


def _chosen(entry: Entry) -> str:
    return ", ".join(f"{scale:g}" for scale in chosen_scales(entry))
