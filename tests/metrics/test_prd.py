"""PRD against an independent transcription of the published algorithm, and never the wrong way round."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import MiniBatchKMeans

from ltgen_bench.core.errors import ConfigError, SamplesError
from ltgen_bench.metrics import MetricSettings, prd_curve, prd_scores
from ltgen_bench.metrics.numerics.minibatch_kmeans import minibatch_labels
from ltgen_bench.metrics.prd import centred_union, cluster_union, f_scores, max_f_beta


def slow_curve(p, q, angles):
    """Algorithm 1, one angle and one bin at a time: alpha = sum_i min(lambda p_i, q_i), beta = alpha / lambda."""
    precision, recall = [], []
    for i in range(angles):
        angle = 1e-10 + (np.pi / 2 - 2e-10) * i / (angles - 1)
        slope = np.tan(angle)
        alpha = sum(min(slope * a, b) for a, b in zip(p, q, strict=True))
        precision.append(alpha)
        recall.append(alpha / slope)
    return np.array(precision), np.array(recall)


def slow_f(precision, recall, beta):
    return max(
        (1 + beta**2) * a * b / (beta**2 * a + b) if a + b > 0 else 0 for a, b in zip(precision, recall, strict=True)
    )


@pytest.mark.parametrize("bins", [1, 2, 20, 200])
def test_curve_equals_the_published_algorithm(bins):
    rng = np.random.default_rng(bins)
    p, q = rng.dirichlet(np.full(bins, 0.2)), rng.dirichlet(np.full(bins, 0.2))
    if bins > 2:
        p[1], q[2], p[3], q[3] = 0, 0, 0, 0
        p, q = p / p.sum(), q / q.sum()
    precision, recall = prd_curve(p, q, angles=101)
    expected = slow_curve(p, q, 101)
    # Sums of up to 200 numbers up to 1 in another order.
    np.testing.assert_allclose(precision, expected[0], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(recall, expected[1], rtol=1e-11, atol=1e-14)
    for beta in (8, 1 / 8, 1):
        assert max_f_beta(precision, recall, beta) == pytest.approx(slow_f(*expected, beta), rel=1e-10)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=12), st.integers(0, 10**6))
def test_curve_properties(counts, seed):
    counts = [*counts, 1]
    p = np.array(counts) / sum(counts)
    q = np.random.default_rng(seed).permutation(p)
    precision, recall = prd_curve(p, q, angles=51)
    assert ((precision >= 0) & (precision <= 1) & (recall >= 0) & (recall <= 1)).all()
    assert (np.diff(precision) >= -1e-12).all()
    assert (np.diff(recall) <= 1e-12).all()
    swapped = prd_curve(q, p, angles=51)
    np.testing.assert_allclose(swapped[0], recall[::-1], atol=1e-9)
    f8, f1_8 = f_scores(p, q, angles=51, beta=8)
    assert f_scores(q, p, angles=51, beta=8) == pytest.approx((f1_8, f8), abs=1e-9)


def test_equal_and_disjoint_histograms():
    p = np.array([0.5, 0.25, 0.25, 0.0])
    assert f_scores(p, p, angles=1001, beta=8) == pytest.approx((1, 1), abs=1e-9)
    assert f_scores(p, np.array([0, 0, 0, 1.0]), angles=1001, beta=8) == (0, 0)


def clusters_of(modes, n, seed):
    rng = np.random.default_rng(seed)
    return 30 * np.eye(10)[rng.choice(modes, n)] + rng.standard_normal((n, 10))


def test_f8_is_recall_and_f1_8_is_precision():
    # The generator leaves out half of the modes and invents nothing: recall suffers, precision does not.
    reference, generated = clusters_of(np.arange(10), 2000, 0), clusters_of(np.arange(5), 2000, 1)
    dropped = prd_scores(generated, reference, cluster_count=40, runs=2, seed=0)
    assert dropped.f_beta == pytest.approx(0.5, abs=0.12)
    assert dropped.f_inverse_beta > 0.9
    # The generator covers all modes of a smaller reference and invents five others: precision suffers.
    invented = prd_scores(reference, generated, cluster_count=40, runs=2, seed=0)
    assert invented.f_beta > 0.9
    assert invented.f_inverse_beta == pytest.approx(0.5, abs=0.12)


def test_one_run_is_within_the_reference_s_seed_to_seed_spread():
    reference, generated = clusters_of(np.arange(10), 1500, 2), 1.15 * clusters_of(np.arange(7), 1500, 3)
    theirs = []
    for seed in range(6):
        labels = MiniBatchKMeans(30, n_init=10, random_state=seed).fit(np.vstack([reference, generated])).labels_
        p, q = (np.bincount(part, minlength=30) / 1500 for part in (labels[:1500], labels[1500:]))
        curve = slow_curve(p, q, 101)
        theirs.append([slow_f(*curve, 8), slow_f(*curve, 1 / 8)])
    ours = prd_scores(generated, reference, cluster_count=30, runs=6, seed=0, angles=101)
    mean, spread = np.mean(theirs, axis=0), np.std(theirs, axis=0)
    # Means of six runs each, three standard errors of their difference.
    limit = 3 * np.sqrt((spread**2 + np.square([ours.f_beta_std, ours.f_inverse_beta_std])) / 6)
    assert (np.abs([ours.f_beta, ours.f_inverse_beta] - mean) <= limit + 1e-3).all()


def test_seeded_shift_invariant_and_balanced():
    reference, generated = clusters_of(np.arange(10), 900, 4), clusters_of(np.arange(8), 600, 5)
    first = prd_scores(generated, reference, cluster_count=20, runs=2, seed=3)
    again = prd_scores(generated, reference, cluster_count=20, runs=2, seed=3)
    assert (first.f_beta, first.f_inverse_beta) == (again.f_beta, again.f_inverse_beta)
    assert {len(c.reference) for c in first.clusterings} == {600}
    union = centred_union(reference + 1e6, generated + 1e6)
    np.testing.assert_allclose(union, centred_union(reference, generated), atol=1e-5)
    lloyd = prd_scores(generated, reference, cluster_count=20, runs=1, seed=3, clustering="kmeans")
    assert lloyd.f_beta_std == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_order_of_the_samples_does_not_matter(dtype):
    rng = np.random.default_rng(0)
    reference = clusters_of(np.arange(10), 900, 4).astype(dtype)
    generated = clusters_of(np.arange(8), 600, 5).astype(dtype)
    generated[:50] = generated[50:100]  # repeats, as a collapsed generator makes them
    first = prd_scores(generated, reference, cluster_count=20, runs=3, seed=3)
    there, here = rng.permutation(len(reference)), rng.permutation(len(generated))
    again = prd_scores(generated[here], reference[there], cluster_count=20, runs=3, seed=3)
    assert (first.f_beta, first.f_inverse_beta) == (again.f_beta, again.f_inverse_beta)
    # the clusterings name the rows as they were given: equal rows are in equal clusters
    one, other = first.clusterings[0], again.clusterings[0]
    cluster_of = dict(zip(one.generated_rows.tolist(), one.generated.tolist(), strict=True))
    for row, cluster in zip(other.generated_rows.tolist(), other.generated.tolist(), strict=True):
        assert np.array_equal(generated[here][row], generated[here[row]])
        assert cluster_of.get(int(here[row]), cluster) == cluster or here[row] < 100


def with_minibatch_labels(monkeypatch):
    """PRD's clusters by the code for GPUs, which computes on any device."""

    def labels(union, centres, clustering, state):
        return minibatch_labels(union, centres, seed=state, device="cpu")

    monkeypatch.setattr("ltgen_bench.metrics.prd._scikit_labels", labels)


@pytest.mark.parametrize(("count", "clusters"), [(200, 20), (3000, 200), (1500, 700)])
def test_the_clusters_for_gpus_are_scikit_learn_s(monkeypatch, count, clusters):
    """Also with fewer rows than a batch, and with centres that start again because nothing is near them."""
    reference, generated = clusters_of(np.arange(10), count, 4), clusters_of(np.arange(8), count, 5)
    theirs = prd_scores(generated, reference, cluster_count=clusters, runs=2, seed=0)
    with_minibatch_labels(monkeypatch)
    ours = prd_scores(generated, reference, cluster_count=clusters, runs=2, seed=0)
    for one, other in zip(ours.clusterings, theirs.clusterings, strict=True):
        assert np.mean(one.generated == other.generated) > 0.99
    assert ours.f_beta == pytest.approx(theirs.f_beta, abs=1e-3)
    assert ours.f_inverse_beta == pytest.approx(theirs.f_inverse_beta, abs=1e-3)


def test_the_clusters_for_gpus_of_equal_points(monkeypatch):
    with_minibatch_labels(monkeypatch)
    one = np.ones((50, 3), dtype=np.float32)
    assert prd_scores(one, one, cluster_count=10, runs=1, seed=0).f_beta == pytest.approx(1, abs=1e-9)


def test_collapsed_sets_and_messages():
    one = np.ones((50, 3))
    same = prd_scores(one, one, cluster_count=10, runs=1, seed=0)
    assert same.f_beta == pytest.approx(1, abs=1e-9)
    with pytest.raises(SamplesError, match="PRD with 200 clusters needs at least that many samples, got 100"):
        prd_scores(one, one, cluster_count=200, runs=1, seed=0)
    with pytest.raises(SamplesError, match="3 columns against 2"):
        prd_scores(one, one[:, :2], cluster_count=5, runs=1, seed=0)
    with pytest.raises(ConfigError, match="did you mean 'kmeans'"):
        cluster_union(one, 25, cluster_count=2, clustering="k-means", seed=0)
    with pytest.raises(ConfigError, match="minibatch-kmeans"):
        MetricSettings(prd_clustering="minibatch_kmeans")
