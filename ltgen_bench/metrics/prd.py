"""Precision and recall for distributions (Sajjadi et al. 2018): the PRD curve and its F8 and F1/8.

F8 weighs recall and F1/8 weighs precision (F_beta counts recall beta times as much as precision). Code in the field
has printed them the other way round; here `PRDScores.f_beta` is recall-like and `f_inverse_beta` precision-like.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ltgen_bench.core.errors import ConfigError, SamplesError, did_you_mean
from ltgen_bench.metrics.inputs import Float64Array, FloatArray, IntArray
from ltgen_bench.metrics.numerics.content_order import content_order
from ltgen_bench.metrics.numerics.distances import check_metrics_device
from ltgen_bench.metrics.numerics.minibatch_kmeans import minibatch_labels
from ltgen_bench.metrics.numerics.prd_seeding import seed_centres
from ltgen_bench.metrics.numerics.threads import as_many_as_blas
from ltgen_bench.metrics.settings import PRD_CLUSTERINGS

_ROWS_PER_BLOCK = 8192


def prd_curve(reference: FloatArray, generated: FloatArray, *, angles: int = 1001) -> tuple[Float64Array, Float64Array]:
    """Precision and recall, (angles,) each, of two histograms (K,) that each add up to 1.

    With slope s = tan(angle): precision = sum min(s P, Q), recall = precision / s (Algorithm 1), for angles strictly
    between 0 and pi / 2, both ends moved inwards by 1e-10.
    """
    slopes = np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, angles))
    precision = _sum_of_minima(reference, generated, slopes)
    return np.clip(precision, 0, 1), np.clip(precision / slopes, 0, 1)


def _sum_of_minima(p: FloatArray, q: FloatArray, slopes: Float64Array) -> Float64Array:
    """sum_i min(s p_i, q_i) for every s.

    s p < q exactly where s < q / p, so after sorting the bins by q / p the sum is s times a cumulative sum of p plus a
    cumulative sum of q: O(K log K) instead of K x angles.
    """
    ratio = np.divide(q, p, out=np.full(len(p), np.inf), where=p > 0)
    order = np.argsort(ratio)
    p_above = np.append(np.cumsum(p[order][::-1])[::-1], 0.0)
    q_below = np.insert(np.cumsum(q[order]), 0, 0.0)
    first_above = np.searchsorted(ratio[order], slopes, side="right")
    return np.asarray(slopes * p_above[first_above] + q_below[first_above])


def max_f_beta(precision: Float64Array, recall: Float64Array, beta: float) -> float:
    """The largest F_beta = (1 + beta^2) P R / (beta^2 P + R) along the curve; 0 where both are 0."""
    numerator = (1 + beta**2) * precision * recall
    denominator = beta**2 * precision + recall
    return float(np.max(np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)))


def f_scores(reference: FloatArray, generated: FloatArray, *, angles: int, beta: float) -> tuple[float, float]:
    """(F_beta, F_1/beta) of two histograms (K,): the recall-like first, the precision-like second."""
    precision, recall = prd_curve(reference, generated, angles=angles)
    return max_f_beta(precision, recall, beta), max_f_beta(precision, recall, 1 / beta)


@dataclass(frozen=True, eq=False)
class Clustering:
    """One run's clusters: of which rows, and in which cluster each of them fell.

    `reference_rows` and `generated_rows` (n,) are the rows that took part, `reference` and `generated` (n,) their
    cluster indices in 0 ... cluster_count - 1.
    """

    cluster_count: int
    reference_rows: IntArray
    generated_rows: IntArray
    reference: IntArray
    generated: IntArray

    def histograms(
        self, reference_weights: FloatArray | None = None, generated_weights: FloatArray | None = None
    ) -> tuple[Float64Array, Float64Array]:
        """The two normalised histograms (K,), each row counted once or with the weight (N,) of its row."""
        both = []
        for cluster, rows, weights in (
            (self.reference, self.reference_rows, reference_weights),
            (self.generated, self.generated_rows, generated_weights),
        ):
            counts = np.bincount(cluster, None if weights is None else weights[rows], minlength=self.cluster_count)
            both.append(counts / counts.sum())
        return both[0], both[1]


@dataclass(frozen=True, eq=False)
class PRDScores:
    """`f_beta` (F8: recall-like) and `f_inverse_beta` (F1/8: precision-like), means over the runs; std over them."""

    f_beta: float
    f_inverse_beta: float
    f_beta_std: float
    f_inverse_beta_std: float
    clusterings: tuple[Clustering, ...]


def centred_union(
    reference: FloatArray, generated: FloatArray, orders: tuple[IntArray, IntArray] | None = None
) -> FloatArray:
    """Both sets (N + M, D), reference first, minus the reference's mean, in float32; rows in the given orders.

    k-means does not see a common shift, and without it float32 keeps its digits under any offset.
    """
    if reference.shape[1] != generated.shape[1]:
        raise SamplesError(
            f"features: {generated.shape[1]} columns against {reference.shape[1]}; both sets need the same extractor"
        )
    first, second = orders or (np.arange(len(reference)), np.arange(len(generated)))
    sums = np.zeros(reference.shape[1])
    for start in range(0, len(reference), _ROWS_PER_BLOCK):
        sums += reference[first[start : start + _ROWS_PER_BLOCK]].sum(axis=0, dtype=np.float64)
    mean = sums / len(reference)
    union = np.empty((len(reference) + len(generated), reference.shape[1]), dtype=np.float32)
    for offset, part, order in ((0, reference, first), (len(reference), generated, second)):
        for start in range(0, len(part), _ROWS_PER_BLOCK):
            block = part[order[start : start + _ROWS_PER_BLOCK]]
            union[offset + start : offset + start + len(block)] = block - mean
    return union


def cluster_union(
    union: FloatArray, reference_count: int, *, cluster_count: int, clustering: str, seed: int, device: str = "cpu"
) -> Clustering:
    """k-means on `union` (N + M, D), whose first `reference_count` rows are the reference.

    The paper asks for sets of equal size, so a random subset of the larger one takes part. `clustering` is
    "minibatch-kmeans" (the published code's; batches of 1,024; one seeding, because its n_init only repeats that) or
    "kmeans" (Lloyd to convergence), which is another metric and runs on the CPU. Raises `SamplesError` when there are
    fewer rows than clusters.
    """
    if clustering not in PRD_CLUSTERINGS:
        raise ConfigError(f"clustering {clustering!r}: {did_you_mean(clustering, PRD_CLUSTERINGS)}")
    counts = (reference_count, len(union) - reference_count)
    size = min(counts)
    if 2 * size < cluster_count:
        raise SamplesError(f"PRD with {cluster_count} clusters needs at least that many samples, got {2 * size}")
    generator = np.random.default_rng(seed)
    rows = [np.sort(generator.permutation(count)[:size]) if count > size else np.arange(count) for count in counts]
    if counts[0] != counts[1]:
        union = union[np.concatenate([rows[0], rows[1] + reference_count])]
    centres = seed_centres(union, cluster_count, generator)
    state = int(generator.integers(2**31))
    if clustering == "minibatch-kmeans" and device != "cpu":
        labels = minibatch_labels(union, centres, seed=state, device=device)
    else:
        labels = _scikit_labels(union, centres, clustering, state)
    return Clustering(cluster_count, rows[0], rows[1], labels[:size], labels[size:])


def _scikit_labels(union: FloatArray, centres: FloatArray, clustering: str, state: int) -> IntArray:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    algorithm: type[Any] = MiniBatchKMeans if clustering == "minibatch-kmeans" else KMeans
    model = algorithm(n_clusters=len(centres), init=centres, n_init=1, random_state=state)
    with as_many_as_blas(), warnings.catch_warnings():
        # Fewer distinct points than clusters (a collapsed generator): some clusters stay empty, which is not an error.
        warnings.filterwarnings("ignore", category=UserWarning)
        return np.asarray(model.fit(union).labels_, dtype=np.int64)


def prd_scores(
    generated: FloatArray,
    reference: FloatArray,
    *,
    cluster_count: int,
    runs: int,
    seed: int,
    angles: int = 1001,
    beta: float = 8.0,
    clustering: str = "minibatch-kmeans",
    device: str = "cpu",
) -> PRDScores:
    """F_beta and F_1/beta of features generated (M, D) and reference (N, D), averaged over `runs` clusterings.

    The clusterings depend on the seed and on what the sets hold, not on the order of their rows. On a `device` other
    than "cpu" the same batches are clustered there; rounding may move single rows. Raises `SamplesError` when there are
    fewer samples than clusters or D differs, `DeviceError` when the device is not there.
    """
    check_metrics_device(device)
    orders = content_order(reference), content_order(generated)
    union = centred_union(reference, generated, orders)
    clusterings = []
    scores = []
    for run_seed in np.random.SeedSequence(seed).generate_state(runs):
        run = cluster_union(
            union, len(reference), cluster_count=cluster_count, clustering=clustering, seed=int(run_seed), device=device
        )
        first, second = orders[0][run.reference_rows], orders[1][run.generated_rows]
        clusterings.append(replace(run, reference_rows=first, generated_rows=second))
        scores.append(f_scores(*run.histograms(), angles=angles, beta=beta))
    values = np.array(scores)
    means, deviations = values.mean(axis=0), values.std(axis=0)
    return PRDScores(float(means[0]), float(means[1]), float(deviations[0]), float(deviations[1]), tuple(clusterings))
