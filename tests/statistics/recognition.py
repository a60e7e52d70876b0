"""What every ranked method's samples of digits are worth to a classifier of real ones.

    OMP_NUM_THREADS=1 python tests/statistics/recognition.py > tests/statistics/recognition.md     # about 45 minutes

The samples are the board's own (`leaderboards/evidence/`, one seed of each method), five classifiers for every training
set. Results are kept below `--data-root`; a second call only prints.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.datasets import load_dataset
from ltgen_bench.evaluation.recognition import (
    RecognitionSettings,
    RecognitionTask,
    recognition_recipe,
    recognize,
    summarise,
)
from ltgen_bench.evaluation.record_files import read_record
from ltgen_bench.evaluation.samples import read_samples

BOARD = Path(__file__).parents[2] / "leaderboards"
CLASSIFIERS = 5
INTRODUCTION = """# Recognition of digits

`tests/statistics/recognition.py`: top-1 on 597 real digits that nobody trained on, %, mean over classes, mean ±
standard deviation of {classifiers} classifiers ({recipe}, {epochs} epochs, the last one). Real: the 405 long-tailed
images. Generated: as many samples. Filled: real ones and samples, every class up to 120 (up to 106 in the tail, as
there are 100 samples a class). The interval of filled minus real is Student's over classifiers; the samples are those
of one trained model, so that it says nothing of other seeds.
"""
PLACES = ("all", "many", "medium", "few")


def cell(summary: dict[str, Any], arm: str, place: str) -> str:
    row = next(each for each in summary["accuracy"] if (each["arm"], each["group"]) == (arm, place))
    return f"{100 * row['mean']:.1f} ± {100 * row['std']:.1f}"


def gain(summary: dict[str, Any], place: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in summary["gain"] if each["group"] == place)
    return found


def interval(summary: dict[str, Any], place: str) -> str:
    found = gain(summary, place)
    return f"{100 * found['mean']:+.1f} ({100 * found['low']:+.1f} … {100 * found['high']:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_dataset(DatasetConfig(), options.data_root)
    name, recipe = recognition_recipe(None, dataset.image_shape[1])
    settings = RecognitionSettings(name, recipe, seeds=tuple(range(CLASSIFIERS)))
    task = RecognitionTask(dataset, settings, options.data_root / ".cache" / "recognition", torch.device("cpu"))
    rows = []
    for file in sorted((BOARD / "evidence" / dataset.name).glob("*/0.npz")):
        print(file.parent.name, file=sys.stderr)
        record = read_record(BOARD / "records" / dataset.name / file.parent.name / "0.json")
        samples = read_samples(file)
        assert samples.sha256() == record.samples.sha256
        summary = summarise([recognize(task, samples)])
        rows.append((record.method.title, record.metrics, summary))
    rows.sort(key=lambda row: -gain(row[2], "all")["mean"])
    print(INTRODUCTION.format(classifiers=CLASSIFIERS, recipe=name, epochs=recipe.epochs))
    first = rows[0][2]
    real = "; ".join(f"{place} {cell(first, 'real', place)}" for place in PLACES)
    print(f"Long-tailed real images only: {real}.\n")
    titles = ["method", "FD", "generated", "generated, tail", "balanced generated", "filled", "filled, tail"]
    titles += ["filled minus real", "many", "medium", "few"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for title, metrics, summary in rows:
        cells = [cell(summary, "generated", "all"), cell(summary, "generated", "few")]
        cells += [cell(summary, "generated-balanced", "all")]
        cells += [cell(summary, "filled", "all"), cell(summary, "filled", "few")]
        cells += [interval(summary, place) for place in PLACES]
        print(f"| {title} | {metrics.fid:.2f} | {' | '.join(cells)} |")
    print("\nSpearman's correlation over the methods, of filled minus real with")
    for words, key in (("the distance", "fid"), ("the tail's distance", "groups.few.fid"), ("coverage", "coverage")):
        found = spearmanr([row[1].number(key) for row in rows], [gain(row[2], "all")["mean"] for row in rows])
        print(f"* {words}: {found.statistic:+.2f} (p = {found.pvalue:.2f})")


if __name__ == "__main__":
    main()
