"""Clipped density and coverage, Vendi scores and AuthPct against their definitions, written down slowly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.authentic_share import authentic_share, neighbourhoods
from ltgen_bench.metrics.clipped import clipped_scores, equivalent_share
from ltgen_bench.metrics.memorisation import nearest_in_features
from ltgen_bench.metrics.precision_recall import manifold_scores
from ltgen_bench.metrics.vendi import per_class_vendi_scores, vendi_score


def literal(generated: np.ndarray, reference: np.ndarray, k: int) -> tuple[float, float]:
    """The definitions of the authors' repository (facts: section 7), with loops."""
    n, m = len(reference), len(generated)

    def distance(a, b):
        return float(np.sqrt(((a.astype(float) - b.astype(float)) ** 2).sum()))

    radius, nearest = [], []
    for i in range(n):
        order = sorted((distance(reference[i], reference[j]), j) for j in range(n) if j != i)
        radius.append(order[k - 1][0])
        nearest.append({j for _, j in order[:k]})
    median = float(np.median(radius))
    small = [min(r, median) for r in radius]
    a = [min(1, sum(distance(reference[i], s) <= small[i] for i in range(n)) / k) for s in generated]
    b = [
        min(1, sum(j in nearest[i] and distance(reference[i], reference[j]) <= small[i] for i in range(n)) / k)
        for j in range(n)
    ]
    density = min(1.0, float(np.mean(a)) / float(np.mean(b)))
    covered = []
    for i in range(n):
        near = sorted(distance(reference[i], s) for s in generated)[:k]
        covered.append(sum(d < radius[i] for d in near) / k)
    c = float(np.mean(covered))
    count = 0
    for good in range(m + 1):
        expected = 0.0
        if good >= k:
            expected = sum(min(j, k) * betabinom(good, k, n - k).pmf(j) for j in range(good + 1)) / k
        count += expected < c
    return density, count / (m + 1)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shift", [0.0, 0.7, 4.0])
def test_both_are_the_authors_definitions(k: int, shift: float) -> None:
    generator = np.random.default_rng(k)
    reference = generator.normal(size=(60, 4)).astype(np.float32)
    generated = (generator.normal(size=(45, 4)) + shift).astype(np.float32)
    found = clipped_scores(generated, reference, k=k)
    assert (found.density, found.coverage) == pytest.approx(literal(generated, reference, k), abs=1e-9)


@pytest.mark.parametrize("kind", ["small integers", "copies", "one more than k"])
@pytest.mark.parametrize("k", [2, 3])
def test_ties_and_copies_count_as_written(kind: str, k: int) -> None:
    """Balls are closed for density and open for coverage; images at equal distances are all in or all out."""
    generator = np.random.default_rng(5)
    reference = generator.integers(0, 3, size=(40, 3)).astype(np.float32)
    generated = generator.integers(0, 3, size=(30, 3)).astype(np.float32)
    if kind == "copies":
        reference, generated = np.repeat(reference[:12], 3, axis=0), np.repeat(reference[:5], 4, axis=0)
    if kind == "one more than k":
        reference, generated = generator.normal(size=(2, k + 1, 3)).astype(np.float32)
    squared = np.square(reference[:, None] - reference[None].astype(float)).sum(axis=2)
    across = np.square(reference[:, None] - generated[None].astype(float)).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    radii = np.sort(squared, axis=1)[:, k - 1]
    small = np.minimum(np.sqrt(radii), np.median(np.sqrt(radii))) * (1 + 1e-12)
    found = clipped_scores(generated, reference, k=k)
    density = np.minimum(1, (np.sqrt(across) <= small[:, None]).sum(axis=0) / k)
    np.testing.assert_array_equal(found.sample_density, density)
    np.testing.assert_array_equal(
        found.reference_density, np.minimum(1, (np.sqrt(squared) <= small[:, None]).sum(axis=0) / k)
    )
    np.testing.assert_array_equal(found.reference_coverage, np.minimum(1, (across < radii[:, None]).sum(axis=1) / k))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_one_sweep_gives_all_scores(k: int) -> None:
    """Beside precision and recall of another k, with copies: neither changes the other."""
    generator = np.random.default_rng(6)
    reference = generator.normal(size=(300, 6)).astype(np.float32)
    generated = np.concatenate([reference[:40], reference[:40], generator.normal(size=(200, 6)).astype(np.float32)])
    both, plain = (manifold_scores(generated, reference, k=k, clipped_k=c) for c in (5, None))
    alone = clipped_scores(generated, reference, k=5)
    assert both.clipped is not None
    assert plain.clipped is None
    for field in ("density", "coverage", "sample_density", "reference_density", "reference_coverage"):
        np.testing.assert_array_equal(getattr(both.clipped, field), getattr(alone, field))
    for field in ("generated_density", "reference_covered", "reference_inside", "reference_sets"):
        np.testing.assert_array_equal(getattr(both, field), getattr(plain, field))
    assert manifold_scores(generated[:9], reference, k=k, clipped_k=9).clipped is None


def test_good_samples_score_their_share() -> None:
    """Real images by another name score 1; half of them, and the rest far away, one half."""
    generator = np.random.default_rng(0)
    reference, real = generator.normal(size=(2, 2000, 6)).astype(np.float32)
    far = generator.normal(size=(1000, 6)).astype(np.float32) + 100
    whole, half = (clipped_scores(x, reference) for x in (real, np.concatenate([real[:1000], far])))
    assert (whole.density, whole.coverage) == pytest.approx((1, 1), abs=0.06)
    assert (half.density, half.coverage) == pytest.approx((0.5, 0.5), abs=0.05)


def test_crowding_is_not_rewarded() -> None:
    """Samples near the centre, as blurred images are: density far above 1, clipped density at most 1."""
    generator = np.random.default_rng(1)
    reference = generator.normal(size=(1000, 8)).astype(np.float32)
    blurred = 0.3 * generator.normal(size=(1000, 8)).astype(np.float32)
    clipped = clipped_scores(blurred, reference)
    assert manifold_scores(blurred, reference, k=5).density > 2
    assert clipped.density <= 1
    assert clipped.coverage < 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(8, 60), st.integers(8, 60), st.floats(0, 1))
def test_the_share_rises_with_coverage(k: int, samples: int, references: int, coverage: float) -> None:
    found = equivalent_share(coverage, samples, references, k)
    assert 0 <= found <= 1
    assert found <= equivalent_share(min(1.0, coverage + 0.1), samples, references, k)


def test_too_few_and_different_features_are_refused() -> None:
    x = np.zeros((6, 3), np.float32)
    with pytest.raises(SamplesError, match="at least 6 samples in each set, got 5 and 6"):
        clipped_scores(x[:5], x)
    with pytest.raises(SamplesError, match="2 columns against 3"):
        clipped_scores(x[:, :2], x)


def test_vendi_counts_what_is_different() -> None:
    identity = np.eye(7, 20)
    assert vendi_score(identity) == pytest.approx(7)
    assert vendi_score(np.repeat(identity[:1], 9, axis=0)) == pytest.approx(1)
    assert vendi_score(np.repeat(identity[:4], 5, axis=0)) == pytest.approx(4)
    assert vendi_score(np.repeat(identity[:4], [6, 2, 1, 1], axis=0)) == pytest.approx(
        np.exp(-sum(p * np.log(p) for p in (0.6, 0.2, 0.1, 0.1)))
    )
    with pytest.raises(SamplesError, match="at least 1 sample"):
        vendi_score(identity[:0])
    with pytest.raises(SamplesError, match="have no direction"):
        vendi_score(np.zeros((2, 3)))


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_vendi_is_the_entropy_of_the_similarities_eigenvalues(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(2).normal(size=shape)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    values = np.linalg.eigvals(unit @ unit.T / len(x)).real
    literal_score = np.exp(-sum(value * np.log(value) for value in values if value > 1e-12))
    assert vendi_score(x) == pytest.approx(literal_score)
    assert vendi_score(3 * x) == pytest.approx(vendi_score(x))
    rows = [np.arange(3), np.arange(0), np.arange(3, shape[0])]
    assert per_class_vendi_scores(x, rows) == [vendi_score(x[:3]), None, vendi_score(x[3:])]


def test_copies_are_not_authentic() -> None:
    generator = np.random.default_rng(3)
    training = generator.normal(size=(80, 5)).astype(np.float32)

    def share(samples: np.ndarray) -> float:
        near = nearest_in_features(samples, training)
        return authentic_share(near.distances, neighbourhoods(training).others[near.indices])

    copies = training[:20] + 1e-3 * generator.normal(size=(20, 5)).astype(np.float32)
    fresh = generator.normal(size=(200, 5)).astype(np.float32)
    assert share(copies) == 0.0
    found = share(fresh)
    count = 0
    for g in fresh.astype(float):
        distances = np.sqrt(((training.astype(float) - g) ** 2).sum(axis=1))
        x = int(distances.argmin())
        others = np.sqrt(((training.astype(float) - training[x].astype(float)) ** 2).sum(axis=1))
        count += distances[x] > np.delete(others, x).min()
    assert found == count / len(fresh)
    assert 0.3 < found < 0.8


@pytest.mark.parametrize("rows", [[3, 3, 9], list(range(30))])
def test_neighbourhoods_leave_out_copies_of_the_image_itself(rows: list[int]) -> None:
    training = np.random.default_rng(4).normal(size=(24, 3)).astype(np.float32)
    training = np.concatenate([training, training[:6]])
    found = neighbourhoods(training, np.array(rows))
    for row, different, repeated, other in zip(rows, found.different, found.repeated, found.others, strict=True):
        distances = np.sqrt(np.square(training.astype(float) - training[row].astype(float)).sum(axis=1))
        assert different == pytest.approx(distances[distances > 0].min())
        assert repeated == ((distances == 0).sum() > 1)
        assert other == pytest.approx(np.delete(distances, row).min())
    assert np.isinf(neighbourhoods(np.repeat(training[:1], 3, axis=0)).different).all()
