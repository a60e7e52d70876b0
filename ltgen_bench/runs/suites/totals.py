"""What a suite costs in all: trainings that are shared count once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ltgen_bench.runs.cost import Trials, estimate_cost
from ltgen_bench.runs.suites.plan import PlannedRun, by_training

# Sustained operations a second of the shared trunk on one data-centre GPU, from far below to near what they reach.
_GPU_PETAFLOPS = (0.02, 0.15)


def suite_cost(runs: Sequence[PlannedRun]) -> dict[str, Any]:
    """Runs, trainings, operations, hours on this machine and on a GPU as ranges, and bytes on disk, as JSON values.

    The hours here are timed, once for each network; those on a GPU follow from the operations, and are a guess.
    """
    trials: Trials = {}
    training, sampling, here, disk = 0.0, 0.0, [0.0, 0.0], 0
    groups = by_training(runs)
    for group in groups:
        for number, run in enumerate(group):
            cost = estimate_cost(run.resolved, trials)
            disk += cost["samples_bytes"]
            if "parameters" not in cost:
                continue  # not a diffusion method: its hours are its own business
            sampling += cost["sampling_petaflops"]
            hours = [cost["sampling_hours_here"], cost["guidance_selection_hours_here"]]
            disk += 4 * cost["parameters"]
            if number == 0:
                training += cost["training_petaflops"]
                hours.append(cost["training_hours_here"])
                disk += cost["checkpoint_bytes"]
            here = [total + sum(ends) for total, ends in zip(here, zip(*hours, strict=True), strict=True)]
    total = training + sampling
    return {
        "runs": len(runs),
        "trainings": len(groups),
        "training_petaflops": round(training, 1),
        "sampling_petaflops": round(sampling, 1),
        "gpu_hours_guess": [round(total / rate / 3600, 2) for rate in reversed(_GPU_PETAFLOPS)],
        "hours_here": [round(hours, 2) for hours in here],
        "disk_bytes": disk,
    }
