"""Some of a record's samples drawn again from the saved weights: evidence that this model made them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ltgen_bench.core.config import RunConfig
from ltgen_bench.core.devices import memory_errors
from ltgen_bench.core.plugins import author_code
from ltgen_bench.core.seeding import labels_by_policy, sample_seeds
from ltgen_bench.core.storage import sha256_file
from ltgen_bench.datasets import Dataset
from ltgen_bench.evaluation.record import Record
from ltgen_bench.evaluation.samples import Samples
from ltgen_bench.leaderboard.submission.untrusted import SubmissionError
from ltgen_bench.methods import METHODS, DataSpec

REDRAWN_ROWS = 64
# Root mean squares of a row's difference, of 255, up to which it is the same: float32 rounds elsewhere on another
# machine; bf16, fp16 and TF32 keep fewer digits. What pixels may be moved by so little buys is in
# `tests/statistics/redrawing.md`.
SAME_PIXELS, SAME_PIXELS_COARSE = 0.3, 1.0
MEDIAN_COARSE = 0.75  # of all rows: bf16 has .5, and pixels that were tuned by less do not change after rounding
SAME_SHARE = 0.95  # of the rows; a sampling near a fork may turn another way on another machine


@dataclass(frozen=True)
class Redrawn:
    """How many rows were drawn again and found equal, and from which weights."""

    rows: int
    equal: int  # of them to the last bit
    apart: float  # root mean square, of 255, of the row that differs most
    weights_sha256: str


def redraw_rows(
    record: Record,
    samples: Samples,
    weights: Path,
    dataset: Dataset,
    device: torch.device,
    rows: int = REDRAWN_ROWS,
    *,
    rounded: bool = False,
) -> Redrawn:
    """Draw some rows, which nobody can foresee, again; of `SAME_SHARE` of them every pixel has to be nearly the same.

    On the machine that drew them rows are equal to the last bit; elsewhere they differ by rounding, far less than the
    samples of any other model do. `rounded`: the weights have lost digits, and rows may differ by more. Raises
    SubmissionError for a record without a configuration, CheckpointError for weights of another model, and
    SubmissionError where too many rows are others.
    """
    own, sampler = record.method.config, record.samples.sampler
    if own is None or record.seed is None or (sampler is None and "sampling" in own):
        raise SubmissionError("samples that were made elsewhere cannot be drawn again here; leave --model out")
    values = {**own, "seed": record.seed} | ({} if sampler is None else {"sampling": sampler})
    config = RunConfig.as_written(values, "method.config")
    if config.uses("sampling") and config.sampling.classifier_sha256 is not None:
        raise SubmissionError(
            "these samples were guided by a classifier in a file of its own, which is no part of the model: their rows "
            "cannot be drawn again; leave --model out"
        )
    method_class = METHODS.get(str(config.method["name"]))
    spec = DataSpec(
        dataset.image_shape, tuple(dataset.class_names), tuple(dataset.class_counts), dataset.horizontal_flip
    )
    with author_code(method_class, "the constructor"):
        method = method_class(spec, config.for_method())
    with author_code(method_class, "load"):
        method.load(weights)
    method.to(device)
    count = len(samples)
    chosen = np.sort(np.random.default_rng(secrets.randbits(128)).permutation(count)[:rows])
    labels = labels_by_policy(record.protocol.label_policy, count, dataset.class_count, record.seed)[chosen]
    seeds = [seed for row in chosen for seed in sample_seeds(record.seed, range(int(row), int(row) + 1))]
    with torch.inference_mode(), memory_errors("use another --device"), author_code(method_class, "sample"):
        images = method.sample(torch.from_numpy(labels), seeds).cpu().numpy()
    given = samples.images[chosen]
    half = config.uses("sampling") and config.sampling.precision != "fp32"
    coarse = rounded or half or "TF32" in (record.environment.speed or "")
    apart = float(row_distances(images, given).max(initial=0.0))
    if differing := other_rows(images, given, coarse=coarse):
        raise SubmissionError(
            f"{differing} of {len(chosen)} rows that {weights} draws are not those of the samples: no verification"
        )
    return Redrawn(len(chosen), int((images == given).all(axis=(1, 2, 3)).sum()), apart, sha256_file(weights))


def row_distances(drawn: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Root mean square of each row's difference, of 255, float64 (N,)."""
    distances: np.ndarray = np.sqrt(np.square(drawn.astype(np.float64) - given).mean(axis=(1, 2, 3)))
    return distances


def other_rows(drawn: np.ndarray, given: np.ndarray, *, coarse: bool) -> int:
    """How many rows, uint8 (N, C, H, W) both, are others; 0 where no more of them are than rounding explains.

    `coarse`: bf16, fp16 or TF32 were used, which keep fewer digits.
    """
    apart = row_distances(drawn, given)
    differing = int((apart > (SAME_PIXELS_COARSE if coarse else SAME_PIXELS)).sum())
    if coarse and float(np.median(apart)) > MEDIAN_COARSE:
        return int((apart > MEDIAN_COARSE).sum())
    return differing if differing > (1 - SAME_SHARE) * len(apart) else 0
