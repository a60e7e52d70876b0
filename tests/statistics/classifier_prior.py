"""Classifier guidance with and without the classes' shares divided out, on the committed models of digits.

    OMP_NUM_THREADS=1 python tests/statistics/classifier_prior.py > tests/statistics/classifier_prior.md    # 10 minutes

A classifier of noisy images that was trained on the long tail knows that most images are of the head; its gradient at a
tail label also points away from what it takes for the head because there is so much of it. `classifier_prior=uniform`
divides the shares out (logits - log share); training on balanced batches never puts them in. Same U-Net, same noise,
same labels; distances to the unseen reference of `digits-1k.v2`, of the samples that no selection has seen.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from ltgen_bench.core.config import RunConfig
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.seeding import labels_by_policy, sample_seeds
from ltgen_bench.evaluation.evaluate import Evaluator
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.record_files import read_record
from ltgen_bench.evaluation.samples import Samples
from ltgen_bench.leaderboard.evidence import unpack_weights
from ltgen_bench.methods import METHODS
from ltgen_bench.runs.resolve import resolve

BOARD = Path(__file__).parents[2] / "leaderboards"
ROWS = (
    ("natural batches, as learned", "ddpm-cg-v2", "training"),
    ("natural batches, shares divided out", "ddpm-cg-v2", "uniform"),
    ("balanced batches", "ddpm-cg-balanced-v2", "training"),
)
SCALES = (0.3, 0.5, 1.0, 2.0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("# The prior of a classifier that guides\n")
    print("`tests/statistics/classifier_prior.py`: DDPM on digits-lt, seed 0.\n")
    print("| classifier trained on | s | FD | tail FD | precision | recall | label accuracy, probe |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for title, row, prior in ROWS:
        record = read_record(BOARD / "records" / "digits-lt" / row / "0.json")
        assert record.method.config is not None
        config = RunConfig.as_written({**record.method.config, "seed": 0})
        resolved = resolve({**record.method.config, "seed": 0}, options.data_root)
        dataset, protocol = resolved.dataset, record.protocol
        method = METHODS.get(record.method.name)(resolved.spec, config)
        with tempfile.TemporaryDirectory() as folder:
            unpack_weights(BOARD / "evidence" / "digits-lt" / row / "0.weights.npz", Path(folder) / "model.safetensors")
            method.load(Path(folder) / "model.safetensors")
        judge = Evaluator(EvaluationPlaces(options.data_root), torch.device("cpu"), progress=Progress()).judge(
            dataset, protocol
        )
        labels = labels_by_policy(protocol.label_policy, protocol.samples, dataset.class_count, 0)
        for scale in SCALES:
            sampling = config.sampling.at_scale(scale).model_copy(update={"classifier_prior": prior})
            method.run = method.run.model_copy(update={"sampling": sampling})
            images = []
            with torch.inference_mode():
                for start in range(0, len(labels), 250):
                    rows = range(start, min(len(labels), start + 250))
                    own = torch.from_numpy(labels[rows.start : rows.stop])
                    images.append(method.sample(own, sample_seeds(0, rows)))
            found = judge(Samples(torch.cat(images).numpy(), labels))
            keys = ("fid", "few_fid", "precision", "recall", "label_accuracy")
            cells = [f"{found[key]:.2f}" if key.endswith("fid") else f"{found[key]:.3f}" for key in keys]
            print(f"| {title} | {scale:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
