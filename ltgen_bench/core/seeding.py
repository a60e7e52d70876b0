"""Seeds that are functions of what they are for, so that nothing depends on how far a random stream was read.

Every random draw of a run comes from a generator seeded by (run seed, purpose, index). A run that was killed and
resumed, or that is computed by another number of processes, therefore draws the same numbers.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2^63) from integers and words: equal parts give equal seeds, any difference an unrelated one."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def sample_seeds(seed: int, indices: range) -> list[int]:
    """The seed of each sample of a run, by the sample's index."""
    return [derive_seed(seed, "sample", index) for index in indices]


def uniform_labels(count: int, class_count: int, seed: int) -> np.ndarray:
    """Labels of `count` samples, int64 (count,), i.i.d. uniform over the classes (CORAL, section 4.1).

    The first n labels do not depend on `count`.
    """
    generator = np.random.Generator(np.random.PCG64(derive_seed(seed, "labels")))
    return np.floor(generator.random(count) * class_count).astype(np.int64)


def equal_labels(count: int, class_count: int) -> np.ndarray:
    """Labels of `count` samples, int64 (count,), with equally many of every class; the remainder by class index.

    The classes take turns, so that the first n labels do not depend on `count`.
    """
    return np.arange(count, dtype=np.int64) % class_count


def labels_by_policy(policy: str, count: int, class_count: int, seed: int) -> np.ndarray:
    """The labels, int64 (count,), that a protocol's `label_policy` gives the samples of a run."""
    return equal_labels(count, class_count) if policy == "equal" else uniform_labels(count, class_count, seed)
