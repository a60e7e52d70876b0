"""False alarms and power of the comparison with private real images (`verify --private-reference`).

    python tests/statistics/private_half.py runs/digits-lt > tests/statistics/private_half.md

The unseen digits are split at random by class: one half is public, the other one private. Honest: the samples of the
runs in the folder, and synthetic sets made of training images. Attacks: images made of the public half, and pixels
tuned to its statistics in the protocol's network.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from authenticity import Judge, honest, leaks, tuned

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import RecordError
from ltgen_bench.datasets import ImageSet, load_dataset
from ltgen_bench.datasets.base import take
from ltgen_bench.datasets.unseen import unseen_images
from ltgen_bench.evaluation.private_reference import MOST_PRIVATE_Z
from ltgen_bench.evaluation.record_files import read_record
from ltgen_bench.evaluation.samples import read_samples
from ltgen_bench.metrics.private_half import HalfTest, private_half_test

SPLITS = 10  # of the unseen images, for every honest set


def halves(unseen: ImageSet, seed: int) -> tuple[ImageSet, ImageSet]:
    draw = np.random.default_rng(seed)
    first = []
    for c in range(10):
        rows = draw.permutation(np.flatnonzero(unseen.labels == c))
        first.append(rows[: len(rows) // 2])
    rows = np.sort(np.concatenate(first))
    rest = np.setdiff1d(np.arange(len(unseen)), rows)
    return take(unseen.images, unseen.labels, rows), take(unseen.images, unseen.labels, rest)


class Halves:
    """Asks `private_half_test` about samples, for a split of the unseen images."""

    def __init__(self) -> None:
        self.dataset = load_dataset(DatasetConfig(name="digits-lt"), Path("unused"))
        unseen = unseen_images(self.dataset)
        assert unseen is not None
        self.unseen, self.sets = unseen, Judge(self.dataset).sets

    def __call__(self, images: np.ndarray, split: int) -> HalfTest:
        public, private = halves(self.unseen, split)
        found = private_half_test(
            self.sets.of_images("samples", images),
            self.sets.of_images("public", public.images),
            public.labels,
            self.sets.of_images("private", private.images),
            private.labels,
            seed=1000 + split,
        )
        assert found is not None
        return found


def line(name: str, found: list[HalfTest]) -> str:
    z = np.array([one.z for one in found])
    near, far = (np.mean([getattr(one, key) for one in found]) for key in ("public", "private"))
    return (
        f"| {name} | {len(z)} | {near:.2f} | {far:.2f} | {z.mean():+.2f} | {z.std(ddof=1):.2f} | "
        f"{z.max():+.2f} | {int((z > MOST_PRIVATE_Z).sum())} |"
    )


HEAD = (
    "| samples | sets and splits | FD to the public half | to the private half | mean z | its deviation | largest z | "
    "refused |\n|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    ask = Halves()
    print("# The private half: false alarms and power\n")
    print(
        f"Made by `tests/statistics/private_half.py`. {len(ask.unseen):,} unseen digits, half of each class public and "
        f"half private, split at random for every row's trials; refused is z > {MOST_PRIVATE_Z}.\n\n## Honest\n\n{HEAD}"
    )
    ddpm = np.zeros((0, 1, 8, 8), np.uint8)
    by_method: dict[str, list[HalfTest]] = {}
    for path in sorted(Path(sys.argv[1]).glob("*/*/record.json")):
        try:
            record = read_record(path)
        except RecordError:
            continue
        file = path.parent / "samples" / "samples.npz"
        if record.protocol.name == "digits-1k.v2" and file.is_file():
            images = read_samples(file, labelled=record.samples.labelled).images
            if record.method.name == "ddpm":
                ddpm = images
            by_method.setdefault(record.method.name, []).extend(ask(images, split) for split in range(SPLITS))
    for method, found in by_method.items():
        print(line(method, found), flush=True)
    for name, make in honest(ask.dataset, ask.unseen):
        print(line(name, [ask(make()[0], split) for split in range(4 * SPLITS)]), flush=True)
    print(f"\n## Made of the public half\n\n{HEAD}")
    attacks: dict[str, list[HalfTest]] = {}
    for split in range(4):
        public, _ = halves(ask.unseen, split)
        for name, images, _ in leaks(public):
            attacks.setdefault(name, []).append(ask(images, split))
        real = ask.sets.of_images("public", public.images)
        network = ask.sets.main._network  # type: ignore[attr-defined]
        train = ask.dataset.train().images
        noise = np.random.default_rng(split).integers(0, 256, (1000, 1, 8, 8)).astype(np.uint8)
        for name, start, until in (
            ("noise tuned to its statistics", noise, 0.0),
            ("training images tuned to its statistics", train[np.arange(1000) % len(train)], 0.0),
            ("DDPM tuned to its statistics", ddpm, 0.0),
            ("DDPM tuned a little, by a tenth of its distance", ddpm, 0.9 * ask(ddpm, split).public),
        ):
            attacks.setdefault(name, []).append(ask(tuned(start, network, real, until), split))
    for name, found in attacks.items():
        print(line(name, found), flush=True)


if __name__ == "__main__":
    main()
