"""Where the rows and the progress of a training go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ltgen_bench.core.distributed import World
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.tracking import Tracking
from ltgen_bench.methods import FitContext
from ltgen_bench.runs.folder import RunFolder
from ltgen_bench.runs.resolve import ResolvedRun


@contextlib.contextmanager
def logged(
    context: FitContext, resolved: ResolvedRun, folder: RunFolder, progress: Progress, world: World
) -> Iterator[None]:
    """In the first process: to the terminal, to `stats.jsonl`, and to the trackers of `execution.track`."""
    if not world.is_main:
        yield
        return
    config = resolved.config
    name = f"{config.method['name']} {resolved.dataset.name} s{config.seed}"
    values = {**config.identity(), "seed": config.seed}
    tracking = Tracking(list(config.execution.track), folder.path, name, values)

    def log(row: dict[str, Any]) -> None:
        folder.append_stats(row)
        tracking.log(row)

    context.progress, context.log = progress, log
    try:
        yield
    finally:
        tracking.close()
