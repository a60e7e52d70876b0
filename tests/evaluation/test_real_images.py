"""Every metric on real images: each altered copy of the CIFAR-10 test images moves them the way definitions say.

As a script it prints the table in `ltgen_bench/metrics/README.md`:

    export LTGEN_BENCH_SHARED=../shared PYTHONPATH=tests
    python tests/evaluation/test_real_images.py --images 10000 --cache data/.cache/features
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL_IMAGES
from PIL import Image, ImageFilter

from ltgen_bench.features import FeatureCache, extract_features, load_extractor
from ltgen_bench.metrics import FeatureArrays, MemorisationInputs, MetricReport, MetricSettings, compute_metrics
from ltgen_bench.metrics.label_check import label_warning

CLASSES = 10
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
GROUPS = {"many": [0, 1, 2], "medium": [3, 4, 5, 6], "few": [7, 8, 9]}
TAIL = GROUPS["few"]
BLUR = 1.0  # pixels, the deviation of a Gaussian


@dataclass(frozen=True)
class Images:
    """uint8 (N, 3, 32, 32) and labels (N,), sorted by class."""

    pixels: np.ndarray
    labels: np.ndarray

    def rows(self, rows: np.ndarray) -> Images:
        return Images(self.pixels[rows], self.labels[rows])


def load_pack(name: str, chosen: Callable[[np.ndarray], np.ndarray]) -> Images:
    """The images of a pack whose row numbers `chosen(labels)` names."""
    specification = importlib.util.spec_from_file_location("unpack", REAL_IMAGES / "unpack.py")
    assert specification is not None
    assert specification.loader is not None
    unpack = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(unpack)
    files, labels, _ = unpack.load(REAL_IMAGES / name)
    labels = np.asarray(labels, np.int64)
    rows = chosen(labels)
    decoded = [np.asarray(Image.open(io.BytesIO(files[row])).convert("RGB")) for row in rows]
    return Images(np.stack(decoded).transpose(0, 3, 1, 2), labels[rows])


def first_of_each_class(per_class: list[int], skip: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    return lambda labels: np.concatenate(
        [np.flatnonzero(labels == c)[skip : skip + per_class[c]] for c in range(CLASSES)]
    )


def blurred(images: Images) -> Images:
    copies = [
        np.asarray(Image.fromarray(image.transpose(1, 2, 0)).filter(ImageFilter.GaussianBlur(BLUR)))
        for image in images.pixels
    ]
    return Images(np.stack(copies).transpose(0, 3, 1, 2), images.labels)


class Features:
    """Features by image, so that sets made of the same images cost nothing more."""

    def __init__(self, cache: Path) -> None:
        self.extractor = load_extractor("efficientnet-lite0", weights_root=cache / "weights")
        self.cache = FeatureCache(cache)
        self.known: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, images: Images) -> FeatureArrays:
        new = [row for row, image in enumerate(images.pixels) if image.tobytes() not in self.known]
        if new:
            found = extract_features(images.pixels[new], self.extractor, cache=self.cache)
            assert found.probabilities is not None
            for row, features, probabilities in zip(new, found.features, found.probabilities, strict=True):
                self.known[images.pixels[row].tobytes()] = (features, probabilities)
        rows = [self.known[image.tobytes()] for image in images.pixels]
        return FeatureArrays(np.stack([row[0] for row in rows]), images.labels, np.stack([row[1] for row in rows]))


def generators(test: Images, training: Images) -> dict[str, Images]:
    """What stands in for the samples of a generator; N images each, and N / 10 a class but for the shuffled labels."""
    random = np.random.default_rng(0)
    size = len(test.labels) // CLASSES
    head = np.flatnonzero(~np.isin(test.labels, TAIL))

    def some_of(rows: np.ndarray) -> np.ndarray:
        return random.choice(rows, size)

    tail_lost = [np.flatnonzero(test.labels == c) if c not in TAIL else some_of(head) for c in range(CLASSES)]
    few = [some_of(np.flatnonzero(test.labels == c)[:5]) for c in range(CLASSES)]
    copied = [some_of(np.flatnonzero(training.labels == c)) for c in range(CLASSES)]
    return {
        "test images": test,
        "blurred": blurred(test),
        "tail lost": Images(test.pixels[np.concatenate(tail_lost)], test.labels),
        "collapsed": test.rows(np.concatenate(few)),
        "memorised": training.rows(np.concatenate(copied)),
        "labels shuffled": Images(test.pixels, random.permutation(test.labels)),
    }


def measure(
    images: int, cache: Path, settings: MetricSettings, only: list[str] | None = None
) -> tuple[dict[str, MetricReport], dict[str, str | None]]:
    """Reports and label warnings of all generators.

    `images` test images stand against as many training images; the training set that is copied is 0.4 times as large
    and long-tailed (100 : 1), without a reference image in it.
    """
    size = images // CLASSES
    test = load_pack("cifar10_jpeg_test.npz", first_of_each_class([size] * CLASSES))
    reference = load_pack("cifar10_jpeg_train.npz", first_of_each_class([size] * CLASSES))
    counts = [max(1, int(2 * size * 0.01 ** (c / (CLASSES - 1)))) for c in range(CLASSES)]
    training = load_pack("cifar10_jpeg_train.npz", first_of_each_class(counts, skip=size))
    features = Features(cache)
    real, trained = features(reference), features(training)
    reports, warnings = {}, {}
    for name, samples in generators(test, training).items():
        print(name, file=sys.stderr, flush=True)
        generated = features(samples)
        warnings[name] = label_warning(generated, real, NAMES)
        reports[name] = compute_metrics(
            generated,
            real,
            settings=settings,
            class_count=CLASSES,
            groups=GROUPS,
            only=only,
            training=MemorisationInputs(
                training_features=trained.features,
                held_out_features=real.features,
                generated_pixels=samples.pixels.transpose(0, 2, 3, 1),
                training_pixels=training.pixels.transpose(0, 2, 3, 1),
                held_out_pixels=reference.pixels.transpose(0, 2, 3, 1),
                training_labels=training.labels,
                held_out_labels=reference.labels,
            ),
        )
    return reports, warnings


COLUMNS: dict[str, Callable[[MetricReport], Any]] = {
    "FD": lambda r: r.fid,
    "KID x 1000": lambda r: 1000 * (r.kid or 0),
    "IS": lambda r: r.inception_score,
    "F8": lambda r: r.f8,
    "F1/8": lambda r: r.f1_8,
    "precision": lambda r: r.precision,
    "recall": lambda r: r.recall,
    "density": lambda r: r.density,
    "coverage": lambda r: r.coverage,
    "clipped density": lambda r: r.clipped_density,
    "clipped coverage": lambda r: r.clipped_coverage,
    "Vendi": lambda r: r.vendi_score,
    "FD many": lambda r: group(r, "many", "fid"),
    "FD few": lambda r: group(r, "few", "fid"),
    "class FD many": lambda r: group(r, "many", "mean_class_fid"),
    "class FD few": lambda r: group(r, "few", "mean_class_fid"),
    "class recall few": lambda r: group(r, "few", "mean_class_recall"),
    "class clipped coverage few": lambda r: group(r, "few", "mean_class_clipped_coverage"),
    "class Vendi few": lambda r: group(r, "few", "mean_class_vendi_score"),
    "copies (features)": lambda r: copies(r, "features"),
    "copies (pixels)": lambda r: copies(r, "pixels"),
    "copies by class (features)": lambda r: copies(r, "features", "by_class"),
    "copies by neighbourhood (pixels)": lambda r: copies(r, "pixels", "by_neighbourhood"),
    "AuthPct": lambda r: 100 * r.memorisation["features"]["authentic_share"],
}


def group(report: MetricReport, name: str, key: str) -> float:
    assert report.groups is not None
    return float(report.groups[name][key])


def copies(report: MetricReport, space: str, kind: str | None = None) -> float:
    assert report.memorisation is not None
    entry = report.memorisation[space]
    found = (entry if kind is None else entry[kind] or {}).get("fraction")
    return math.nan if found is None else float(found)  # with few images no class has a threshold


@pytest.mark.shared
@pytest.mark.slow
def test_each_metric_moves_the_way_its_definition_says(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    settings = MetricSettings(
        prd_clusters_per_class=1,  # 20 a class would be one for every four images here, and noise
        prd_runs=3,
        kid_subset_size=300,
        kid_subsets=5,
        intervals=False,
    )
    reports, warnings = measure(400, tmp_path, settings)
    value = {name: {column: read(report) for column, read in COLUMNS.items()} for name, report in reports.items()}
    base = value["test images"]
    blur, lost, collapsed = value["blurred"], value["tail lost"], value["collapsed"]
    memorised, shuffled = value["memorised"], value["labels shuffled"]

    # Real against real: an unbiased KID within noise of 0, and about 1 % of held-out images below their 1 % quantile.
    assert abs(base["KID x 1000"]) < 0.1 * blur["KID x 1000"]
    assert base["copies (features)"] <= 0.04
    assert base["copies (pixels)"] <= 0.04
    for other in (blur, lost, collapsed):
        assert other["FD"] > 1.2 * base["FD"]
        assert other["KID x 1000"] > base["KID x 1000"] + 1
        assert other["coverage"] < base["coverage"]
    # Blurred images resemble each other and the smoothest real ones: diversity goes. The large balls around those few
    # hold them all, so the k-NN precision, and density even more, take them for good ones.
    assert blur["recall"] < 0.5 * base["recall"]
    assert blur["IS"] < 0.7 * base["IS"]
    assert blur["F8"] < base["F8"] - 0.05
    assert blur["density"] > 2 * base["density"]
    assert blur["clipped density"] <= 1  # no more than good
    assert blur["Vendi"] < 0.9 * base["Vendi"]
    assert blur["class recall few"] < 0.5 * base["class recall few"]
    # Lost classes are lost recall, with every image still real: precision stays. F8 falls, F1/8 hardly.
    assert lost["recall"] < base["recall"] - 0.05
    assert lost["F8"] < min(base["F8"], lost["F1/8"]) - 0.01
    assert abs(lost["precision"] - base["precision"]) < 0.1
    assert lost["FD few"] - base["FD few"] > 5 * abs(lost["FD many"] - base["FD many"])
    # Few images repeated: recall goes, precision stays, within the classes as well.
    assert collapsed["recall"] < 0.2
    assert collapsed["class recall few"] < 0.2
    assert collapsed["precision"] > base["precision"] - 0.15
    assert collapsed["clipped coverage"] < 0.7 * base["clipped coverage"]
    assert collapsed["class Vendi few"] < 5  # five images a class
    assert lost["clipped coverage"] < base["clipped coverage"] - 0.05
    # Copies of a head with many training images are as good as real images to FD; only the distances give them away.
    assert memorised["FD many"] < 1.15 * base["FD many"]
    assert memorised["FD few"] > 1.5 * base["FD few"]  # the tail has one or two images a class
    assert memorised["copies (features)"] > 0.99
    assert memorised["copies (pixels)"] == 1
    assert memorised["copies by neighbourhood (pixels)"] > 0.95
    assert base["copies by neighbourhood (pixels)"] <= 0.04
    assert memorised["AuthPct"] < 5 < 50 < base["AuthPct"]
    # Shuffled labels change no number that ignores labels, and every one that reads them.
    for column in ("FD", "KID x 1000", "IS", "precision", "recall", "density", "coverage", "F8", "F1/8"):
        assert shuffled[column] == pytest.approx(base[column], rel=1e-6, abs=1e-6), column
    assert shuffled["class FD many"] > 1.1 * base["class FD many"]
    assert shuffled["class FD few"] > 1.1 * base["class FD few"]
    assert {name for name, warning in warnings.items() if warning is not None} == {"labels shuffled"}


def main() -> None:
    """Print the table as Markdown, generators as columns."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--prd-runs", type=int, default=10)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "real-images")
    arguments = parser.parse_args()
    reports, warnings = measure(arguments.images, arguments.cache, MetricSettings(prd_runs=arguments.prd_runs))
    print("| | " + " | ".join(reports) + " |\n" + "|---" * (len(reports) + 1) + "|")
    for column, read in COLUMNS.items():
        print(f"| {column} | " + " | ".join(f"{read(report):.4g}" for report in reports.values()) + " |")
    for name, report in reports.items():
        intervals = ((key, report.confidence[key]) for key in ("fid", "f8", "recall"))
        shown = (f"{key} {interval.low:.4g} to {interval.high:.4g}" for key, interval in intervals)
        print(f"{name}: {'; '.join(shown)}; warning: {warnings[name]}", file=sys.stderr)


if __name__ == "__main__":
    main()
