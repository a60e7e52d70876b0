"""What every ranked method's samples of digits are worth to a classifier of real ones.

    OMP_NUM_THREADS=1 python tests/statistics/recognition.py                      # the evidence's seed: 45 minutes
    OMP_NUM_THREADS=1 python tests/statistics/recognition.py METHOD=1=FILE ...    # samples of a further seed

The samples are the board's own (`leaderboards/evidence/`, one seed of each method), and those of further trainings by
the same recipe at the scale of guidance that the seed's record names. What is found is kept in `recognition.json`, so
that it grows over several machines and days; `recognition.md` is the table of all of it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.storage import read_json_object, write_text
from ltgen_bench.datasets import load_dataset
from ltgen_bench.evaluation.recognition import (
    RecognitionSettings,
    RecognitionTask,
    recognition_recipe,
    recognize,
    summarise,
)
from ltgen_bench.evaluation.record import Record
from ltgen_bench.evaluation.record_files import read_record
from ltgen_bench.evaluation.samples import Samples, read_samples

HERE = Path(__file__).parent
BOARD = HERE.parents[1] / "leaderboards"
CLASSIFIERS = 5
COPIES, LOST = "Copies of the training set", "Real images that the long tail left out"
PLACES = ("all", "many", "medium", "few")
INTRODUCTION = """# Recognition of digits

`tests/statistics/recognition.py`: top-1 on 597 real digits that nobody trained on, %, mean over classes, of classifiers
by the recipe cnn-8px, last epoch. Real: the 405 long-tailed images. Generated: as many samples. Filled: real ones and
samples, every class up to 120 (up to 106 in the tail, as there are 100 samples a class). n is the number of trained
models of a method whose samples were tried, five classifiers for each; where n is 1, deviations and the interval of
filled minus real are over the classifiers and say nothing of other trainings; from 3 on they are over the models
(Student's, 95 %). Below the methods: filled up with copies of training images, which is what oversampling does, and
with the real images that the long tail left out, as a perfect generator would.
"""
Kept = dict[str, dict[str, dict[str, list[list[float]]]]]  # method -> seed -> arm -> of each classifier, by place


def record_of(method: str, seed: int) -> Record:
    return read_record(BOARD / "records" / "digits-lt" / method / f"{seed}.json")


def controls(task: RecognitionTask, data_root: Path) -> dict[str, Samples]:
    """What real images are worth in place of samples: copies of the training set, and those that the tail lost."""
    train, known = task.train, set(task.train.hashes())
    draw = np.random.default_rng(0)
    rows = np.concatenate([draw.choice(np.flatnonzero(train.labels == label), 120) for label in range(10)])
    balanced = load_dataset(DatasetConfig(name="digits"), data_root).train()
    lost = np.array([own not in known for own in balanced.hashes()])
    assert not set(balanced.hashes()) & set(task.test.hashes())
    return {
        COPIES: Samples(train.images[rows], train.labels[rows]),
        LOST: Samples(balanced.images[lost], balanced.labels[lost]),
    }


def measure(task: RecognitionTask, kept: Kept, method: str, seed: int, samples: Samples) -> None:
    print(f"{method}, seed {seed}", file=sys.stderr, flush=True)
    found = recognize(task, samples)["rows"]
    own: dict[str, list[list[float]]] = {}
    for row in found:
        own.setdefault(row["arm"], []).append([round(row[place], 5) for place in PLACES])
    kept.setdefault(method, {})[str(seed)] = own


def write(kept: Kept) -> None:
    """A line for every trained model."""
    methods = []
    for method in sorted(kept):
        seeds = [f"  {json.dumps(seed)}: {json.dumps(own)}" for seed, own in sorted(kept[method].items())]
        methods.append(f"{json.dumps(method)}: {{\n" + ",\n".join(seeds) + "\n}")
    write_text(HERE / "recognition.json", "{\n" + ",\n".join(methods) + "\n}\n")


def as_result(own: dict[str, list[list[float]]]) -> dict[str, Any]:
    """What `summarise` takes."""
    rows = [
        {"arm": arm, "seed": seed, **dict(zip(PLACES, values, strict=True))}
        for arm, classifiers in own.items()
        for seed, values in enumerate(classifiers)
    ]
    return {"rows": rows}


def cell(summary: dict[str, Any], arm: str, place: str) -> str:
    row = next(each for each in summary["accuracy"] if (each["arm"], each["group"]) == (arm, place))
    return f"{100 * row['mean']:.1f} ± {100 * row['std']:.1f}"


def gain(summary: dict[str, Any], place: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in summary["gain"] if each["group"] == place)
    return found


def interval(summary: dict[str, Any], place: str) -> str:
    found = gain(summary, place)
    return f"{100 * found['mean']:+.1f} ({100 * found['low']:+.1f} … {100 * found['high']:+.1f})"


def table(kept: Kept) -> str:
    rows = []
    for method, seeds in kept.items():
        if method in (COPIES, LOST):
            continue
        summary = summarise([as_result(own) for _, own in sorted(seeds.items())])
        records = [record_of(method, int(seed)) for seed in seeds]
        numbers = {
            key: sum(record.metrics.number(key) or 0.0 for record in records) / len(records)
            for key in ("fid", "groups.few.fid", "coverage")
        }
        rows.append((records[0].method.title, numbers, summary))
    rows.sort(key=lambda row: -gain(row[2], "all")["mean"])
    real = "; ".join(f"{place} {cell(rows[0][2], 'real', place)}" for place in PLACES)
    titles = ["method", "n", "FD", "generated", "generated, tail", "balanced generated", "filled", "filled, tail"]
    titles += ["filled minus real", "many", "medium", "few"]
    lines = [INTRODUCTION, f"Long-tailed real images only: {real}.", ""]
    lines += [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for title, numbers, summary in rows:
        cells = [cell(summary, *which) for which in (("generated", "all"), ("generated", "few"))]
        cells += [cell(summary, "generated-balanced", "all"), cell(summary, "filled", "all")]
        cells += [cell(summary, "filled", "few"), *(interval(summary, place) for place in PLACES)]
        lines.append(f"| {title} | {summary['sets']} | {numbers['fid']:.2f} | {' | '.join(cells)} |")
    for title in (COPIES, LOST):  # of the head there are none: only filling up makes sense
        summary = summarise([as_result(own) for own in kept[title].values()])
        cells = [cell(summary, "filled", "all"), cell(summary, "filled", "few")]
        cells += [interval(summary, place) for place in PLACES]
        lines.append(f"| {title} | – | – | – | – | – | {' | '.join(cells)} |")
    lines += ["", "Spearman's correlation over the methods, of filled minus real with", ""]
    for words, key in (("the distance", "fid"), ("the tail's distance", "groups.few.fid"), ("coverage", "coverage")):
        found = spearmanr([row[1][key] for row in rows], [gain(row[2], "all")["mean"] for row in rows])
        lines.append(f"* {words}: {found.statistic:+.2f} (p = {found.pvalue:.2f})")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("further", nargs="*", metavar="METHOD=SEED=FILE")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept: Kept = read_json_object(HERE / "recognition.json") or {}
    dataset = load_dataset(DatasetConfig(), options.data_root)
    settings = RecognitionSettings(*recognition_recipe(None, 8), seeds=tuple(range(CLASSIFIERS)))
    task = RecognitionTask(dataset, settings, options.data_root / ".cache" / "recognition", torch.device("cpu"))
    given = [entry.split("=", 2) for entry in options.further]
    if not given:
        given = [[file.parent.name, "0", str(file)] for file in sorted(BOARD.glob("evidence/digits-lt/*/0.npz"))]
    for title, samples in controls(task, options.data_root).items():
        if title not in kept:
            measure(task, kept, title, 0, samples)
    for method, seed, file in given:
        measure(task, kept, method, int(seed), read_samples(Path(file)))
        write(kept)
    write_text(HERE / "recognition.md", table(kept))


if __name__ == "__main__":
    main()
