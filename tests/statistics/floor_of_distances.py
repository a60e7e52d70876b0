"""Whether a (1/n + 1/m), with a from halves of the reference, is the distance of real images to real images.

    OMP_NUM_THREADS=1 python tests/statistics/floor_of_distances.py > tests/statistics/floor_of_distances.md

Digits: 1,000 against 540 other images of the 1,797, 100 and 54 a class, in the bundled network's features. Gaussians
with 512 dimensions and a falling spectrum: 10,000 against 2,500. The truth is the mean over fresh draws.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from ltgen_bench.features import extract_features, load_extractor
from ltgen_bench.metrics import fid
from ltgen_bench.metrics.real_vs_real import floor_constant

Sets = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # two sets of real features, and the second one's labels


def digits() -> Callable[[np.random.Generator], Sets]:
    """Draws 100 and 54 images of each class, none of them in both."""
    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 1, 8, 8) * 255 / 16).astype(np.uint8)
    network = load_extractor("digits-cnn", device="cpu", weights_root=Path("data/weights"))  # it is bundled
    features = extract_features(images, network).features

    def draw(random: np.random.Generator) -> Sets:
        orders = [random.permutation(np.flatnonzero(labels == c)) for c in range(10)]
        first = np.concatenate([order[:100] for order in orders])
        second = np.concatenate([order[100:154] for order in orders])
        return features[first], features[second], labels[second].astype(np.int64)

    return draw


def gaussians(random: np.random.Generator) -> Sets:
    """Draws 10,000 and 2,500."""
    scales = 1 / np.sqrt(np.arange(1, 513))
    first, second = (random.standard_normal((count, 512)) * scales for count in (10_000, 2500))
    return first, second, None


def main() -> None:
    """Print the table."""
    rows = []
    for name, draw, draws in (("digits", digits(), 30), ("Gaussians", gaussians, 5)):
        truth, floors = [], []
        for seed in range(draws):
            first, second, labels = draw(np.random.default_rng([3, seed]))
            constant = floor_constant(second, labels, seed=0)
            assert constant is not None
            truth.append(fid(first, second))
            floors.append(constant * (1 / len(first) + 1 / len(second)))
        rows.append(
            {
                "features": name,
                "draws": draws,
                "truth": np.mean(truth),
                "its deviation": np.std(truth, ddof=1),
                "floor": np.mean(floors),
                "deviation of the floor": np.std(floors, ddof=1),
            }
        )
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".4f"))


if __name__ == "__main__":
    main()
