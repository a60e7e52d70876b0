"""Whether samples are nearer to the real images that everybody has than to those that nobody has.

Public and private images of a class are draws of one distribution. To samples of a generator that saw neither, both
are as far away; swapping some of them between the two halves changes nothing but noise, which is what the difference is
compared with. Samples that were made from the public half, or tuned towards its statistics, are nearer to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ltgen_bench.metrics.frechet import fid
from ltgen_bench.metrics.inputs import FloatArray, IntArray

SWAPS = 99
FEWEST_IMAGES = 50  # in each half: the noise of fewer hides whatever there is
MOST_IMAGES = 4000  # in each half, and of the samples: more would only take longer
MOST_COLUMNS = 256  # of the features, beyond which they are projected at random: noise grows with dimensions


@dataclass(frozen=True)
class HalfTest:
    """The distance to as many public and private images, their difference with its 95 % interval, and its z."""

    images: int  # in each half
    public: float
    private: float
    low: float
    high: float
    z: float  # standard deviations of swapped halves; positive where the public half is the nearer one


def private_half_test(
    samples: FloatArray,
    public: FloatArray,
    public_labels: IntArray,
    private: FloatArray,
    private_labels: IntArray,
    *,
    seed: int,
    swaps: int = SWAPS,
) -> HalfTest | None:
    """`samples` (N, D), `public` (M, D) and `private` (K, D) in one feature space, the latter two with classes.

    Of every class as many of each are compared as the smaller half has. None with fewer than `FEWEST_IMAGES` a half.
    """
    random = np.random.default_rng(seed)
    if samples.shape[1] > MOST_COLUMNS:
        flat = (random.standard_normal((samples.shape[1], MOST_COLUMNS)) / samples.shape[1] ** 0.5).astype(np.float32)
        samples, public, private = samples @ flat, public @ flat, private @ flat
    first, second = [], []
    for c in np.intersect1d(public_labels, private_labels):
        ours, theirs = (random.permutation(np.flatnonzero(labels == c)) for labels in (public_labels, private_labels))
        count = min(len(ours), len(theirs))
        first.append(ours[:count])
        second.append(theirs[:count])
    size = sum(map(len, first))
    if size < FEWEST_IMAGES:
        return None
    one, other = np.concatenate(first), np.concatenate(second)  # images at one place are of one class
    if size > MOST_IMAGES:
        kept = np.sort(random.permutation(size)[:MOST_IMAGES])
        one, other = one[kept], other[kept]
    samples = samples[np.sort(random.permutation(len(samples))[:MOST_IMAGES])]
    halves = np.stack([public[one], private[other]])
    near, far = fid(samples, halves[0]), fid(samples, halves[1])
    swapped = []
    for _ in range(swaps):
        which, places = random.integers(0, 2, halves.shape[1]), np.arange(halves.shape[1])
        swapped.append(fid(samples, halves[1 - which, places]) - fid(samples, halves[which, places]))
    noise = float(np.sqrt(np.mean(np.square(swapped))))  # about 0, the mean of all swaps
    if noise == 0:
        return None
    gap = far - near
    return HalfTest(len(one), near, far, gap - 1.96 * noise, gap + 1.96 * noise, gap / noise)
