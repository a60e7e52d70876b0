"""What every ranked method's samples of digits are worth to a classifier of real ones.

    OMP_NUM_THREADS=1 python tests/statistics/recognition.py                      # the evidence's seed: 45 minutes
    OMP_NUM_THREADS=1 python tests/statistics/recognition.py --retrain 1 2        # and those seeds, hours

The samples are the board's own (`leaderboards/evidence/`, one seed of each method); further seeds are trained again by
the row's recipe and sampled at the scale of guidance that the seed's record names. What is found is kept in
`recognition.json`, so that it grows over several machines and days, and nothing that stands there is measured again;
`recognition.md` is the table of all of it. Two processes may share the methods (`--methods`), with a `--kept` each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr, ttest_ind

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
models of a method whose samples were tried, five classifiers for each. Deviations are over the models, where n is 1
over the classifiers. Intervals of filled minus real (Student's, 95 %) are over the models from n = 3 on; below that
they are over the classifiers, and say little of other trainings. Below the methods: filled up with copies of training
images, which is what oversampling does, and with the real images that the long tail left out, as a perfect generator
would.
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


def trained_again(method: str, seed: int, root: Path, data_root: Path) -> Path:
    """Samples of a seed of a row, by its recipe and at its record's scale; what is there already is taken."""
    run, samples = root / f"{method}-s{seed}", root / f"{method}-s{seed}.npz"
    guidance = record_of(method, seed).guidance
    scale = [] if guidance is None else ["--set", f"sampling.guidance_scale={guidance.guidance_scale}"]
    command = [sys.executable, "-m", "ltgen_bench"]
    places = ["--data-root", str(data_root), "--set", "execution.threads=1", "--quiet"]
    recipe = BOARD / "tables" / "recipes" / "digits-lt" / f"{method}.toml"
    if not samples.is_file():
        train = ["train", "--config", str(recipe), "--seed", str(seed), "--run-dir", str(run)]
        subprocess.run([*command, *train, *scale, *places], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(
            [*command, "sample", str(run), "--out", str(samples), *places], check=True, stdout=subprocess.DEVNULL
        )
    return samples


def write(kept: Kept, path: Path) -> None:
    """A line for every trained model."""
    methods = []
    for method in sorted(kept):
        seeds = [f"  {json.dumps(seed)}: {json.dumps(own)}" for seed, own in sorted(kept[method].items())]
        methods.append(f"{json.dumps(method)}: {{\n" + ",\n".join(seeds) + "\n}")
    write_text(path, "{\n" + ",\n".join(methods) + "\n}\n")


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


def difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Of two methods' gains over all classes, each a model's, with its 95 % interval."""
    gains = [[gain(summarise([as_result(own)]), "all")["mean"] for own in each.values()] for each in (one, other)]
    found = ttest_ind(*gains, equal_var=False)
    low, high = found.confidence_interval(0.95)
    mean = fmean(gains[0]) - fmean(gains[1])
    return f"{100 * mean:.1f} ({100 * low:+.1f} … {100 * high:+.1f}; p = {found.pvalue:.3f})"


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
        rows.append((records[0].method.title, numbers, summary, seeds))
    rows.sort(key=lambda row: -gain(row[2], "all")["mean"])
    one_set = summarise([as_result(kept[COPIES]["0"])])  # the same five classifiers for every set of samples
    real = "; ".join(f"{place} {cell(one_set, 'real', place)}" for place in PLACES)
    titles = ["method", "n", "FD", "generated", "generated, tail", "balanced generated", "filled", "filled, tail"]
    titles += ["filled minus real", "many", "medium", "few"]
    lines = [INTRODUCTION, f"Long-tailed real images only: {real}.", ""]
    lines += [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for title, numbers, summary, _ in rows:
        cells = [cell(summary, *which) for which in (("generated", "all"), ("generated", "few"))]
        cells += [cell(summary, "generated-balanced", "all"), cell(summary, "filled", "all")]
        cells += [cell(summary, "filled", "few"), *(interval(summary, place) for place in PLACES)]
        lines.append(f"| {title} | {summary['sets']} | {numbers['fid']:.2f} | {' | '.join(cells)} |")
    for title in (COPIES, LOST):  # of the head there are none: only filling up makes sense
        summary = summarise([as_result(own) for own in kept[title].values()])
        cells = [cell(summary, "filled", "all"), cell(summary, "filled", "few")]
        cells += [interval(summary, place) for place in PLACES]
        lines.append(f"| {title} | – | – | – | – | – | {' | '.join(cells)} |")
    surely = {place: sum(gain(row[2], place)["low"] > 0 for row in rows) for place in ("all", "few")}
    lines += [
        "",
        f"Of {len(rows)} methods {surely['all']} help beyond the noise of training (an interval above 0), "
        f"{surely['few']} in the tail.",
        f"The first is better than the last by {difference(rows[0][3], rows[-1][3])} points (Welch's t),",
        f"and than the one in the middle by {difference(rows[0][3], rows[len(rows) // 2][3])}: flattering, as they",
        "were picked by these numbers.",
    ]
    lines += ["", "Spearman's correlation over the methods, of filled minus real with", ""]
    for words, key in (("the distance", "fid"), ("the tail's distance", "groups.few.fid"), ("coverage", "coverage")):
        found = spearmanr([row[1][key] for row in rows], [gain(row[2], "all")["mean"] for row in rows])
        lines.append(f"* {words}: {found.statistic:+.2f} (p = {found.pvalue:.3f})")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--retrain", nargs="*", type=int, default=[], metavar="SEED", help="beside the evidence's")
    parser.add_argument("--methods", nargs="*", help="default: all of the evidence")
    parser.add_argument("--work", type=Path, default=Path("recognition-runs"), help="for what is trained again")
    parser.add_argument("--kept", type=Path, default=HERE / "recognition.json")
    parser.add_argument("--merge", nargs="*", type=Path, default=[], metavar="FILE", help="others' kept results")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept: Kept = read_json_object(options.kept) or {}
    for path in options.merge:
        for method, seeds in (read_json_object(path) or {}).items():
            kept.setdefault(method, {}).update(seeds)
    dataset = load_dataset(DatasetConfig(), options.data_root)
    settings = RecognitionSettings(*recognition_recipe(None, 8), seeds=tuple(range(CLASSIFIERS)))
    task = RecognitionTask(dataset, settings, options.data_root / ".cache" / "recognition", torch.device("cpu"))
    for title, samples in controls(task, options.data_root).items():
        if title not in kept:
            measure(task, kept, title, 0, samples)
    evidence = {file.parent.name: file for file in sorted(BOARD.glob("evidence/digits-lt/*/0.npz"))}
    for seed in (0, *options.retrain):
        for method in options.methods or evidence:
            if str(seed) in kept.get(method, {}):
                continue
            file = trained_again(method, seed, options.work, options.data_root) if seed else evidence[method]
            measure(task, kept, method, seed, read_samples(file))
            write(kept, options.kept)
    write(kept, options.kept)
    if options.kept == HERE / "recognition.json":
        write_text(HERE / "recognition.md", table(kept))


if __name__ == "__main__":
    main()
