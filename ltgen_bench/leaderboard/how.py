"""How a row was made: the sampler, its cost, and the training, which no metric shows."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from ltgen_bench.evaluation.record import Record
from ltgen_bench.leaderboard.collect import Entry


def how_made(records: Sequence[Record], guidance_scale: float | None = None) -> dict[str, Any]:
    """Sampler, steps, network evaluations an image, guidance, images seen, parameters, training seconds and device.

    None for what a record does not say, as those of samples made elsewhere; training seconds are a mean over seeds.
    `guidance_scale` is what a submitter says of samples made elsewhere. Scales that differ by seed stand in its order.
    """
    first = records[0]
    sampler = first.samples.sampler or {}
    scales = [
        scale for r in records if (scale := (r.samples.sampler or {}).get("guidance_scale", guidance_scale)) is not None
    ]
    seconds = [s for record in records if (s := record.timing.training_seconds) is not None]
    return {
        "sampler": sampler.get("sampler"),
        "steps": sampler.get("steps"),
        "network_evaluations": first.samples.network_evaluations,
        "guidance": scales[0] if len(set(scales)) == 1 else " / ".join(f"{scale:g}" for scale in scales) or None,
        "guidance_chosen_by": _chosen_by(first, guidance_scale),
        "clip_x0": sampler.get("clip_x0"),
        "images_seen": None if first.training is None else first.training.images_seen,
        "parameters": first.method.facts.get("network_parameters"),
        "training_seconds": round(fmean(seconds)) if seconds else None,
        "device": first.environment.device if first.method.config is not None else None,
    }


def row_made(entry: Entry) -> dict[str, Any]:
    """The same of a board's row."""
    return how_made(list(entry.records.values()), entry.submission.metadata.guidance_scale)


def in_words(made: dict[str, Any]) -> str:
    """The same in one short line; "made elsewhere" where a record says nothing of it."""
    words = []
    if made["device"] is None:  # no configuration of this package made them
        words.append("made elsewhere")
    elif made["sampler"] is None:
        words.append("no diffusion: no sampler and no steps of this package")
    if made["sampler"] is not None:
        clip = ", clipped" if made["clip_x0"] else ""
        words.append(f"{made['sampler']} {made['steps']} steps ({made['network_evaluations']} evaluations{clip})")
    if made["guidance"] is not None:
        scale = made["guidance"] if isinstance(made["guidance"], str) else f"{made['guidance']:g}"
        words.append(f"guidance {scale}" + _BY.get(made["guidance_chosen_by"], ""))
    if made["images_seen"] is not None:
        words.append(f"{_short(made['images_seen'])} images seen")
    if isinstance(made["parameters"], int):
        words.append(f"{_short(made['parameters'])} parameters")
    if made["training_seconds"] is not None:
        words.append(f"{made['training_seconds']:,} s on {made['device']}")
    return "; ".join(words)


_BY = {"protocol": ", chosen by the protocol", "submitter": ", chosen by the submitter"}


def _chosen_by(record: Record, guidance_scale: float | None) -> str | None:
    if record.guidance is not None:
        return "protocol"
    if record.samples.sampler is not None:
        return "configuration"
    return None if guidance_scale is None else "submitter"


def _short(count: int) -> str:
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return str(count)
