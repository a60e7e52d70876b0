"""How much better a number looks because the guidance scale was chosen against the reference that it is reported on.

    OMP_NUM_THREADS=1 python tests/statistics/selection_gain.py RUN... > selection_gain.md

For every trained run under `digits-1k.v2`, samples of every scale of the rule are drawn once as the selection draws
them, and once as the report does. The unseen reference is cut into halves of equal classes, many times; the scale is
chosen on one half, and what the reported samples score on that half is compared with what they score on the other.
What is left of the difference, averaged over halves and runs, is the gain of choosing and reporting on the same images
(of half the reference; on all of it the choice is better founded, and the gain smaller).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from ltgen_bench.core.progress import Progress
from ltgen_bench.core.seeding import labels_by_policy, sample_seeds
from ltgen_bench.datasets.unseen import unseen_reference
from ltgen_bench.evaluation.feature_sets import FeatureSets
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.record_files import read_record
from ltgen_bench.metrics import fid
from ltgen_bench.metrics.real_vs_real import random_halves
from ltgen_bench.runs.folder import RunFolder, read_run_config
from ltgen_bench.runs.resolve import resolve
from ltgen_bench.runs.selection import selection_seed
from ltgen_bench.runs.trained_models import load_trained

HALVES = 20
NEAR = 1.3  # scales whose distance in the record's curve is within this factor of the best: no other could be chosen


def gains(path: Path) -> np.ndarray:
    """(HALVES, 3) of a run: the chosen scale's distance minus that of the other half's choice, on the half that chose
    and on the other, and whether the choices differ."""
    config, record = read_run_config(path / "config.toml"), read_record(path / "record.json")
    assert record.guidance is not None
    best = min(point.fid for point in record.guidance.curve)
    scales = [point.guidance_scale for point in record.guidance.curve if point.fid <= NEAR * best]
    resolved = resolve({**config.identity(), "seed": config.seed}, Path("data"))
    method = load_trained(resolved, RunFolder(path), torch.device("cpu"))
    protocol = config.protocol
    sets = FeatureSets.of(protocol, EvaluationPlaces(cache=False), torch.device("cpu"), 256, Progress())
    _, reference = unseen_reference(resolved.dataset)
    real = sets.of_images("reference", reference.images)

    def features(scale: float, count: int, seed: int) -> np.ndarray:
        method.run = method.run.model_copy(update={"sampling": config.sampling.at_scale(scale)})
        labels = torch.from_numpy(labels_by_policy("equal", count, resolved.dataset.class_count, seed))
        with torch.inference_mode():
            images = method.sample(labels, sample_seeds(seed, range(count))).numpy()
        return sets.of_images("samples", images)

    count, seed = protocol.guidance_samples or 0, selection_seed(config.seed)
    chosen_by = {scale: features(scale, count, seed) for scale in scales}
    reported = {scale: features(scale, protocol.samples, config.seed) for scale in scales}
    rows = []
    for split in range(HALVES):
        halves = [real[rows] for rows in random_halves(real, reference.labels, split)]
        choices = [min(scales, key=lambda s: (fid(chosen_by[s], half), s)) for half in halves]
        # against what the other half would have chosen: what the halves do not share cancels
        own, cross = (fid(reported[choices[0]], half) - fid(reported[choices[1]], half) for half in halves)
        rows.append((own, cross, choices[0] != choices[1]))
    return np.array(rows, dtype=np.float64)


def line(name: str, rows: np.ndarray) -> str:
    own, cross, differ = rows.mean(axis=0)
    return f"| {name} | {own:+.4f} | {cross:+.4f} | {(cross - own) / 2:.4f} | {differ:.0%} |"


def main() -> None:
    print("| run | chosen minus other half's choice, on the half that chose | on the other | gain | choices differ |")
    print("|---|---:|---:|---:|---:|")
    found = []
    for name in sys.argv[1:]:
        found.append(gains(Path(name)))
        print(line("/".join(Path(name).parts[-2:]), found[-1]), flush=True)
    print(line("all", np.concatenate(found)))


if __name__ == "__main__":
    main()
