"""How often the 95 % intervals hold, by simulation: the same model sampled again, many times.

    OMP_NUM_THREADS=1 python tests/statistics/interval_coverage.py digits 400 > digits.md
    OMP_NUM_THREADS=1 python tests/statistics/interval_coverage.py synthetic 100 > synthetic.md

`digits`: three explicit generators of 8x8 digits in the bundled network's features, 1,000 samples against the 1,797
images: a good one (mixtures of two real images of a class and a little noise), a collapsed one (fifteen images of each
class, noisy) and one off the manifold (images blended with those of other classes, very noisy). `synthetic`: Gaussians
with 2,048 dimensions and a falling spectrum, 5,000 samples against 5,000. Each with labels drawn at random (v1) and
with equally many samples of every class (v2). An interval holds when it contains the mean over all draws.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ltgen_bench.core.seeding import equal_labels
from ltgen_bench.metrics import FeatureArrays, MetricSettings, compute_metrics

GROUPS = {"many": range(4), "medium": range(4, 7), "few": range(7, 10)}
Draw = Callable[[np.ndarray, np.random.Generator], FeatureArrays]


def digits_models() -> tuple[FeatureArrays, dict[str, Draw]]:
    """The reference's features, and a function that draws a sample's for each of the three models."""
    from sklearn.datasets import load_digits

    from ltgen_bench.features import extract_features, load_extractor

    pixels, target = load_digits(return_X_y=True)
    images, classes = np.rint(pixels.reshape(-1, 8, 8) * 255 / 16), target.astype(np.int64)
    network = load_extractor("digits-cnn", device="cpu", weights_root=Path("data/weights"))  # it is bundled

    def features(pictures: np.ndarray, labels: np.ndarray) -> FeatureArrays:
        rounded = np.clip(np.rint(pictures), 0, 255).astype(np.uint8)[:, None]
        found = extract_features(rounded, network, batch_size=256)
        return FeatureArrays(found.features, labels, found.probabilities)

    pools = [np.flatnonzero(classes == c) for c in range(10)]

    def of_class(labels: np.ndarray, random: np.random.Generator, most: int) -> np.ndarray:
        places = random.random(len(labels))
        sizes = np.minimum([len(pool) for pool in pools], most)
        return images[[pools[c][int(p * sizes[c])] for c, p in zip(labels, places, strict=True)]]

    def good(labels: np.ndarray, random: np.random.Generator) -> FeatureArrays:
        share = random.beta(0.4, 0.4, len(labels))[:, None, None]
        both = of_class(labels, random, 10_000), of_class(labels, random, 10_000)
        return features(both[0] * share + both[1] * (1 - share) + random.normal(0, 12, both[0].shape), labels)

    def collapsed(labels: np.ndarray, random: np.random.Generator) -> FeatureArrays:
        few = of_class(labels, random, 15)
        return features(few + random.normal(0, 20, few.shape), labels)

    def off(labels: np.ndarray, random: np.random.Generator) -> FeatureArrays:
        other = images[random.integers(len(images), size=len(labels))]
        blend = 0.6 * of_class(labels, random, 10_000) + 0.4 * other
        return features(blend + random.normal(0, 40, blend.shape), labels)

    return features(images, classes), {"good": good, "collapsed": collapsed, "off the manifold": off}


def synthetic_models() -> tuple[FeatureArrays, dict[str, Draw]]:
    """The same with ten Gaussian classes in 2,048 dimensions."""
    dimension = 2048
    scales = (1 / np.sqrt(np.arange(1, dimension + 1))).astype(np.float32)
    fixed = np.random.default_rng(0)
    centres = fixed.standard_normal((10, dimension), dtype=np.float32) * scales
    prototypes = centres[:, None] + 0.7 * fixed.standard_normal((10, 15, dimension), dtype=np.float32) * scales

    def arrays(features: np.ndarray, labels: np.ndarray) -> FeatureArrays:
        logits = -np.square(features[:, None, :64] - centres[None, :, :64]).sum(axis=2)
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        return FeatureArrays(features.astype(np.float32), labels, chances / chances.sum(axis=1, keepdims=True))

    def noise(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return random.standard_normal((len(labels), dimension), dtype=np.float32) * scales

    def good(labels: np.ndarray, random: np.random.Generator) -> FeatureArrays:
        return arrays(1.02 * centres[labels] + 0.68 * noise(labels, random), labels)

    def collapsed(labels: np.ndarray, random: np.random.Generator) -> FeatureArrays:
        chosen = prototypes[labels, random.integers(15, size=len(labels))]
        return arrays(chosen + 0.2 * noise(labels, random), labels)

    def off(labels: np.ndarray, random: np.random.Generator) -> FeatureArrays:
        stretch = random.exponential(1, (len(labels), 1)).astype(np.float32)
        return arrays(0.6 * centres[labels] + (0.7 + 0.3 * stretch) * noise(labels, random) + 0.02, labels)

    labels = equal_labels(5000, 10)
    reference = arrays(centres[labels] + 0.7 * noise(labels, np.random.default_rng(1)), labels)
    return reference, {"good": good, "collapsed": collapsed, "off the manifold": off}


def numbers(report: dict[str, object], keys: Sequence[str]) -> dict[str, float]:
    """The values of a report by the keys of its intervals."""
    found = {}
    for key in keys:
        value: object = report
        for part in key.split(".", 2) if key.startswith("groups.") else key.split(".", 1):
            value = value[part]  # type: ignore[index]
        found[key] = float(value)  # type: ignore[arg-type]
    return found


def simulate(reference: FeatureArrays, draw: Draw, count: int, draws: int, *, equal: bool, subset: int) -> pd.DataFrame:
    """One row a number: its mean and standard deviation over the draws, the intervals' mean width and how often they
    hold."""
    settings = MetricSettings(kid_subset_size=subset, fixed_class_counts=equal, by_content=True)
    values, lows, highs = [], [], []
    for number in range(draws):
        random = np.random.default_rng([7, number])
        labels = equal_labels(count, 10) if equal else random.integers(10, size=count)
        generated = draw(labels, random)
        report = compute_metrics(
            generated,
            reference,
            settings=settings,
            groups=GROUPS,
            classifier_probabilities=generated.probabilities,
            only=("fid", "per_class_fid", "kid", "inception_score", "prd", "precision_recall"),
        ).to_dict()
        intervals = report["confidence"]
        values.append(numbers(report, list(intervals)))
        lows.append({key: interval["low"] for key, interval in intervals.items()})
        highs.append({key: interval["high"] for key, interval in intervals.items()})
        print(f"{number + 1} of {draws}", file=sys.stderr, end="\r")
    value, low, high = pd.DataFrame(values), pd.DataFrame(lows), pd.DataFrame(highs)
    mean = value.mean()
    return pd.DataFrame(
        {
            "mean": mean,
            "deviation": value.std(),
            "half width / (1.96 deviation)": (high - low).mean() / 2 / 1.96 / value.std(),
            "coverage": ((low <= mean) & (mean <= high)).mean(),
        }
    )


def main() -> None:
    """Print one Markdown table for every setting."""
    which, draws = sys.argv[1], int(sys.argv[2])
    chosen = sys.argv[3:]  # parts of the settings' titles
    reference, models = digits_models() if which == "digits" else synthetic_models()
    count, subset = (1000, 500) if which == "digits" else (5000, 1000)
    for equal in (True, False):
        for name, draw in models.items():
            title = f"{which}, {name}, {'equal counts' if equal else 'labels drawn'}"
            if chosen and not all(word in title for word in chosen):
                continue
            table = simulate(reference, draw, count, draws, equal=equal, subset=subset)
            print(f"## {title}, {draws} draws\n\n{table.to_markdown(floatfmt='.4g')}\n", flush=True)


if __name__ == "__main__":
    main()
