"""How far recall and coverage move when the same model is sampled again.

Both are shares of reference images, which stand still; what varies is which of them the generated samples reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ltgen_bench.metrics.inputs import BoolArray, Float64Array, FloatArray, IntArray
from ltgen_bench.metrics.numerics.content_order import content_order
from ltgen_bench.metrics.uncertainty import StandardError

MOST_HALVED = 2000  # generated and reference rows that the halves are taken of
HALVINGS_OF_SAMPLES = 12
# How much a set of reference balls counts that hold the same 1, 2, 3, 4 samples and nothing else; see `coverage_error`.
_ALTERNATING = (1.0, -1.0, 1.0, -0.5)


@dataclass(frozen=True, eq=False)
class RecallHalves:
    """Which of some reference rows lie inside the manifolds of complementary halves of some generated rows.

    `reference_rows` (m,) are their row numbers; `first` and `second` are (splits, m) bool; `generated` is the number of
    generated rows that were halved.
    """

    reference_rows: IntArray
    first: BoolArray
    second: BoolArray
    generated: int


def recall_halves(generated: FloatArray, reference: FloatArray, strata: IntArray | None, *, k: int) -> RecallHalves:
    """Recall's two sides for random halvings of at most `MOST_HALVED` rows of generated (N, D) and reference (M, D).

    In plain float64 or float32 distances: nothing here decides about a value.
    """
    rows = content_order(generated)[:MOST_HALVED]
    reference_rows = np.sort(content_order(reference)[:MOST_HALVED])
    x, y = generated[rows], reference[reference_rows]
    labels = None if strata is None else strata[rows]
    centre = y.mean(axis=0, dtype=np.float64)
    x, y = (np.asarray(values - centre, dtype=np.float64) for values in (x, y))
    within, across = _squared_distances(x, x), _squared_distances(y, x)
    np.fill_diagonal(within, np.inf)
    sides: tuple[list[BoolArray], list[BoolArray]] = [], []
    generator = np.random.default_rng(0)
    for _ in range(HALVINGS_OF_SAMPLES):
        half = _random_half(len(x), labels, generator)
        for side, chosen in zip(sides, (half, ~half), strict=True):
            members = np.flatnonzero(chosen)
            radii = np.partition(within[np.ix_(members, members)], k - 1, axis=1)[:, k - 1]
            side.append(np.asarray((across[:, members] <= radii).any(axis=1)))
    return RecallHalves(reference_rows, np.array(sides[0]), np.array(sides[1]), len(x))


def _random_half(count: int, strata: IntArray | None, generator: np.random.Generator) -> BoolArray:
    order = generator.permutation(count)
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]
    half = np.zeros(count, dtype=bool)
    half[order[::2]] = True
    return half


def _squared_distances(x: Float64Array, y: Float64Array) -> Float64Array:
    distances = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1) - 2 * (x @ y.T)
    return np.asarray(np.maximum(distances, 0))


def recall_error(halves: RecallHalves, chosen: BoolArray, count: int) -> StandardError | None:
    """The standard error of recall over the reference rows that `chosen` (M,) marks, with `count` generated samples.

    The variance of a share of reference rows is that of each of them alone, which no number of samples changes, and
    their covariances, which fall as 1 / samples: a ball reaches several rows. Halves give both. None with no row.
    """
    total = int(chosen.sum())
    inside = chosen[halves.reference_rows]
    rows = int(inside.sum())
    if not rows:
        return None
    first, second = halves.first[:, inside], halves.second[:, inside]
    alone = float((first != second).mean()) / 2
    both = float(np.square(first.mean(axis=1) - second.mean(axis=1)).mean()) / 2
    shared = max(0.0, both - alone / rows) * halves.generated / (2 * count)
    method = f"variance between halves of the samples, {HALVINGS_OF_SAMPLES} splits"
    return StandardError(math.sqrt(alone / total + shared), method)


def coverage_error(
    counts: IntArray, sets: IntArray, single: IntArray, chosen: BoolArray, strata: IntArray | None, count: int
) -> StandardError:
    """The standard error of coverage over the reference balls that `chosen` (M,) marks, with `count` samples.

    `counts` (M,) are the generated samples in every ball, `sets` (M,) a hash of which they are, and `single` (M,) the
    sample of a ball that holds one. For Poisson numbers of samples, P(ball i and ball j are empty) - P(i) P(j) has the
    unbiased estimate -(-1)^n where both hold the same n > 0 samples, and 0 elsewhere. The series is cut at four
    samples, the last one counted half; a fixed number of samples (in every stratum) takes off the variance of theirs.
    """
    total = int(chosen.sum())
    variance = 0.0
    for held, weight in enumerate(_ALTERNATING, start=1):
        _, sizes = np.unique(sets[chosen & (counts == held)], return_counts=True)
        variance += weight * float(np.square(sizes.astype(np.float64)).sum()) / total**2
    alone = single[chosen & (counts == 1)]
    if strata is None:
        fixed = (len(alone) / total) ** 2 / count
    else:
        of_stratum = np.bincount(strata[alone], minlength=int(strata.max()) + 1).astype(np.float64)
        sizes = np.bincount(strata, minlength=len(of_stratum))
        fixed = float((np.square(of_stratum[sizes > 0] / total) / sizes[sizes > 0]).sum())
    least = len(alone) / total**2 / 4  # what the cut series may leave of many balls with many samples each
    return StandardError(math.sqrt(max(variance - fixed, least)), "alternating series over the samples in a ball")
