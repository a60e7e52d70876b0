"""How far the short samplers are from 1,000 ancestral steps of the same model: a Markdown table.

    OMP_NUM_THREADS=1 python tests/statistics/sampler_steps.py RUN --scale 0.7 >> tests/statistics/sampler_steps.md

Every sampler starts from the same noise and the same labels, under the run's own protocol (reference, feature network,
equal numbers of every class). The last column is the distance to the ancestral samples themselves, whose noise on the
way is another: how much of a difference there is that no reference sees. The short samplers are drawn with several
seeds, which is the noise that a difference has to be above.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch

from ltgen_bench.core.choices import ModelWeights, SamplerName
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.protocol import get_protocol
from ltgen_bench.core.seeding import labels_by_policy, sample_seeds
from ltgen_bench.evaluation.compared import reference_of
from ltgen_bench.evaluation.feature_sets import FeatureSets
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.metrics import fid
from ltgen_bench.metrics.kid import kid
from ltgen_bench.runs.folder import RunFolder, read_run_config
from ltgen_bench.runs.resolve import resolve
from ltgen_bench.runs.trained_models import load_trained

FULL = (SamplerName.DDPM, 1000)
SHORT = ((SamplerName.DDIM, 25), (SamplerName.DDIM, 50), (SamplerName.DDIM, 100), (SamplerName.DPM_SOLVER, 20))
BATCH = 100


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--protocol", help="whose reference and feature network; default: the run's")
    parser.add_argument("--samples", type=int, help="default: the protocol's")
    parser.add_argument("--scale", type=float, default=0.0, help="of guidance")
    parser.add_argument("--seeds", type=int, default=3, help="of the short samplers; the long one is drawn once")
    parser.add_argument("--only", nargs="+", type=int, metavar="STEPS", help="short samplers of so many steps, alone")
    parser.add_argument("--weights", choices=["ema", "raw"], default="ema")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of the network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = read_run_config(options.run / "config.toml")
    # before the model is read: weights are chosen then
    sampling = config.sampling.model_copy(update={"weights": ModelWeights(options.weights)})
    config = config.model_copy(update={"sampling": sampling})
    resolved = resolve({**config.identity(), "seed": config.seed}, options.data_root)
    method = load_trained(resolved, RunFolder(options.run), torch.device("cpu"))
    protocol = get_protocol(options.protocol) if options.protocol else config.protocol
    sets = FeatureSets.of(protocol, EvaluationPlaces(options.data_root), torch.device("cpu"), 128, Progress())
    info, reference = reference_of(resolved.dataset, protocol)
    real = sets.of_images("reference", reference.images)
    count = options.samples or protocol.samples

    def features(sampler: SamplerName, steps: int, seed: int) -> np.ndarray:
        chosen = {"sampler": sampler, "steps": steps, "precision": options.precision}
        sampling = config.sampling.at_scale(options.scale).model_copy(update=chosen)
        method.run = method.run.model_copy(update={"sampling": sampling})
        labels = labels_by_policy("equal", count, resolved.dataset.class_count, seed)
        images = []
        with torch.inference_mode():
            for start in range(0, count, BATCH):
                rows = range(start, min(count, start + BATCH))
                images.append(method.sample(torch.from_numpy(labels[rows.start : rows.stop]), sample_seeds(seed, rows)))
        return sets.of_images("samples", torch.cat(images).numpy())

    def squared_mmd(x: np.ndarray) -> float:
        size = min(protocol.kid_subset_size, len(x) // 2)
        return 1e3 * kid(x, real, subset_size=size, subsets=protocol.kid_subsets, seed=0)[0]

    name = "/".join(options.run.parts[-3:])
    print(f"\n{name}: {count:,} samples, guidance {options.scale:g}, {options.weights} weights, against {len(real):,}")
    print(f"images of {info.name} in {sets.main.name}\n")
    print("| sampler | network evaluations | CPU s | distance | minus the first | KID x 1,000 | to the first |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    began = time.process_time()
    evaluations = 1 + (options.scale != 0)
    full = None if options.only else features(*FULL, 0)
    if full is not None:
        cost = f"{1000 * evaluations:,} | {time.process_time() - began:,.0f}"
        print(f"| ancestral, 1,000 | {cost} | {fid(full, real):.2f} | | {squared_mmd(full):.2f} | |", flush=True)
    for sampler, steps in SHORT:
        if options.only and steps not in options.only:
            continue
        began = time.process_time()
        drawn = [features(sampler, steps, seed) for seed in range(options.seeds)]
        seconds = (time.process_time() - began) / options.seeds
        scores = [fid(one, real) for one in drawn]
        spread = f" ± {stdev(scores):.2f}" if len(scores) > 1 else ""
        print(
            f"| {sampler}, {steps} | {steps * evaluations} | {seconds:,.0f} | {fmean(scores):.2f}{spread} | "
            + (f"{fmean(scores) - fid(full, real):+.2f} | " if full is not None else "– | ")
            + f"{fmean(map(squared_mmd, drawn)):.2f} | "
            + (f"{fid(drawn[0], full):.2f} |" if full is not None else "– |"),
            flush=True,
        )


if __name__ == "__main__":
    main()
