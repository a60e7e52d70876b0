"""What a classifier of recognition is trained on: real images, generated ones, or both."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.storage import sha256_arrays
from ltgen_bench.datasets import ImageSet

FillKind = Literal["balanced", "count", "ratio", "ldmlr"]


@dataclass(frozen=True)
class Fill:
    """How many generated images a class of n real ones gets, where the largest class has n_max.

    `balanced`: up to n_max; `count`: up to `value` images; `ratio`: value n; `ldmlr`: max(round(0.2 n), 5), the counts
    of LDMLR (Han et al. 2024).
    """

    kind: FillKind = "balanced"
    value: Fraction = Fraction(0)

    def wanted(self, counts: np.ndarray) -> np.ndarray:
        """Generated images of each class, int64 (classes,), for real counts (classes,)."""
        n = counts.astype(np.int64)
        if self.kind == "ldmlr":
            few: np.ndarray = np.maximum(np.floor(0.2 * n + 0.5).astype(np.int64), 5)
            return few
        if self.kind == "ratio":
            return np.array([round(self.value * int(count)) for count in n], np.int64)
        top = int(n.max()) if self.kind == "balanced" else int(self.value)
        missing: np.ndarray = np.maximum(top - n, 0)
        return missing

    def words(self) -> str:
        """As `parse_fill` reads it."""
        return {"count": f"{int(self.value)}", "ratio": f"ratio:{float(self.value):g}"}.get(self.kind, self.kind)


def parse_fill(text: str) -> Fill:
    """`balanced`, a number of images, `ratio:R`, or `ldmlr`; raises ConfigError for anything else."""
    if text == "balanced":
        return Fill()
    if text == "ldmlr":
        return Fill("ldmlr")
    if re.fullmatch(r"[0-9]{1,9}", text):
        return Fill("count", Fraction(int(text)))
    if re.fullmatch(r"ratio:[0-9]{1,6}(\.[0-9]{1,6})?", text):
        return Fill("ratio", Fraction(text.partition(":")[2]))
    raise ConfigError(f"--fill is balanced, a number of images a class, ratio:R, or ldmlr; got {text!r}")


@dataclass(frozen=True)
class Mixture:
    """A training set: uint8 (N, C, H, W), int64 (N,), and the weight of each image's loss, float32 (N,)."""

    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def sha256(self) -> str:
        """Of all of it."""
        return sha256_arrays(images=self.images, labels=self.labels, weights=self.weights)

    @classmethod
    def of(cls, real: ImageSet | None, generated: ImageSet | None, weight: float = 1.0) -> Mixture:
        """Real images with weight 1, generated ones with `weight` (1 where there are no real ones)."""
        parts = [part for part in (real, generated) if part is not None]
        if not parts:
            raise ConfigError("there is no image to train on")
        weights = [1.0 if part is real or real is None else weight for part in parts]
        return cls(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([np.full(len(part), own, np.float32) for part, own in zip(parts, weights, strict=True)]),
        )


def first_of_each_class(images: ImageSet | None, wanted: np.ndarray) -> tuple[ImageSet | None, np.ndarray]:
    """The first `wanted` images of each class, (classes,), in their order, None for none; and how many are missing."""
    if images is None:
        return None, wanted.copy()
    chosen = []
    missing = np.zeros(len(wanted), np.int64)
    for label, count in enumerate(wanted.tolist()):
        own = np.flatnonzero(images.labels == label)
        chosen.append(own[:count])
        missing[label] = max(0, count - len(own))
    rows = np.sort(np.concatenate(chosen))
    return (ImageSet(images.images[rows], images.labels[rows]) if len(rows) else None), missing


def even_counts(total: int, class_count: int) -> np.ndarray:
    """`total` images as evenly over the classes as possible, the first classes one more; int64 (classes,)."""
    counts = np.full(class_count, total // class_count, np.int64)
    counts[: total % class_count] += 1
    return counts
