"""Choosing the scale of guidance for a trained model, on samples that nobody reports.

For every scale that the protocol's rule (`evaluation.guidance_rule`) asks for, the same selection samples are drawn,
with labels and noise of the stream `selection`, and measured as the report is. The model is trained once. Every scale
is kept as it comes, so that a start that was cut off continues.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltgen_bench.core.distributed import World
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.protocol import Protocol
from ltgen_bench.core.seeding import derive_seed
from ltgen_bench.core.storage import read_json_object, sha256_json, write_json
from ltgen_bench.evaluation.guidance_rule import next_scales
from ltgen_bench.evaluation.record import GuidancePoint
from ltgen_bench.evaluation.samples import Samples

Judge = Callable[[Samples], dict[str, float | None]]  # the numbers of a `GuidancePoint` without its scale


def selection_seed(seed: int) -> int:
    """The seed of a run's selection samples, which are never those that it reports."""
    return derive_seed(seed, "selection")


@dataclass(frozen=True)
class GuidanceFile:
    """What is known of a selection so far, in a file of the run's folder; of another model or rule it is nothing."""

    path: Path
    key: str

    @classmethod
    def of(cls, path: Path, **what_it_depends_on: Any) -> GuidanceFile:
        """The file of a selection that depends on these JSON values."""
        return cls(path, sha256_json(what_it_depends_on)[:16])

    def points(self) -> list[GuidancePoint]:
        """The scales that were measured, ascending."""
        note = read_json_object(self.path)
        if note is None or note.get("key") != self.key:
            return []
        return [GuidancePoint.model_validate(point) for point in note["curve"]]

    def seconds(self) -> float:
        """Seconds that they took, over all starts."""
        note = read_json_object(self.path)
        return 0.0 if note is None or note.get("key") != self.key else float(note["seconds"])

    def add(self, point: GuidancePoint, seconds: float) -> None:
        """Keep one more."""
        points = sorted([*self.points(), point], key=lambda one: one.guidance_scale)
        total = round(self.seconds() + seconds, 3)
        curve = [one.model_dump(mode="json") for one in points]
        write_json(self.path, {"key": self.key, "curve": curve, "seconds": total})


def choose_guidance(
    protocol: Protocol,
    file: GuidanceFile,
    *,
    draw: Callable[[float], Samples],
    make_judge: Callable[[], Judge],
    world: World,
    progress: Progress,
) -> None:
    """Measure the scales that the rule asks for and that are not in `file` yet; collective.

    `draw` gives the selection samples of a scale, on every process; the first process measures them with what
    `make_judge` gives, which is asked for only when there is something to measure.
    """
    judge: Judge | None = None
    while True:
        scales = next_scales(protocol, file.points())
        world.barrier()  # all have read the same points before the first process adds to them
        if not scales:
            return
        started = time.monotonic()
        progress.say(f"guidance {scales[0]:g}: {protocol.guidance_samples:,} samples to choose by")
        samples = draw(scales[0])
        if world.is_main:
            judge = judge or make_judge()
            point = GuidancePoint.model_validate({"guidance_scale": scales[0], **judge(samples)})
            file.add(point, time.monotonic() - started)
        world.barrier()
