"""The questions that samples alone are asked, against slow versions and planted cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import kstest

from ltgen_bench.features.networks.random import random_features
from ltgen_bench.metrics.authenticity import (
    FEWEST_UNSEEN,
    exchange_test,
    second_opinion,
    seed_overlap,
    unseen_proximity,
)


def draws(count: int, seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return (random.standard_normal((count, 6)) + 4 * labels[:, None]).astype(np.float32), labels


def test_the_exchange_tests_mean_and_spread_are_those_of_permutations() -> None:
    (samples, of), (training, seen), (unseen, other) = draws(90, 0), draws(30, 1), draws(60, 2)
    found = exchange_test(samples, of, training, seen, unseen, other)
    assert found is not None
    random = np.random.default_rng(3)
    observed, permuted = 0.0, np.zeros(4000)
    for c in range(3):
        pooled = np.concatenate([training[seen == c], unseen[other == c]])
        nearest = cdist(samples[of == c], pooled).argmin(axis=1)
        names = np.arange(len(pooled)) >= (seen == c).sum()
        observed += names[nearest].sum()
        permuted += np.array([random.permutation(names)[nearest].sum() for _ in range(len(permuted))])
    assert found.share == pytest.approx(observed / 90)
    assert found.expected == pytest.approx(permuted.mean() / 90, abs=0.005)
    assert found.z == pytest.approx((observed - permuted.mean()) / permuted.std(), abs=0.15)


def test_fresh_draws_know_nothing_of_the_unseen_images() -> None:
    """z is standard normal for samples of the same distribution, whatever the sizes of the two sets are."""
    z = []
    for seed in range(150):
        (samples, of), (training, seen), (unseen, other) = (draws(n, 3 * seed + k) for k, n in enumerate((60, 45, 90)))
        found = exchange_test(samples, of, training, seen, unseen, other)
        assert found is not None
        z.append(found.z)
    assert kstest(z, "norm").pvalue > 0.001
    assert max(z) < 3.5


@pytest.mark.parametrize("change", ["noise", "scale", "mix"])
def test_what_was_made_of_unseen_images_is_found(change: str) -> None:
    random = np.random.default_rng(5)
    (training, seen), (unseen, other) = draws(150, 1), draws(150, 2)
    centred = unseen - 4 * other[:, None]
    made = {
        "noise": unseen + 0.5 * random.standard_normal(unseen.shape).astype(np.float32),
        "scale": (0.8 * centred + 4 * other[:, None]).astype(np.float32),
        "mix": 0.7 * unseen + 0.3 * unseen[np.roll(np.arange(150), 3)],
    }[change]
    found = exchange_test(made, other, training, seen, unseen, other)
    assert found is not None
    assert found.z > 3.5
    learnt = exchange_test(training + 0.1, seen, training, seen, unseen, other)
    assert learnt is not None
    assert learnt.z < -5


def test_classes_without_images_of_both_kinds_take_no_part() -> None:
    samples, of = draws(30, 0)
    assert exchange_test(samples, of, samples[of == 0], of[of == 0], samples[of == 1], of[of == 1]) is None
    found = exchange_test(samples, None, samples[:10], None, samples[10:], None)
    assert found is not None
    assert found.share == pytest.approx(20 / 30)


def test_proximity_is_the_share_below_the_quantile_of_the_unseen() -> None:
    (unseen, _), (samples, of) = draws(300, 1), draws(200, 2)
    samples[:50] = unseen[:50] + 1e-3
    found = unseen_proximity(samples, of, unseen)
    assert found is not None
    own = cdist(unseen, unseen)
    np.fill_diagonal(own, np.inf)
    threshold = np.quantile(own.min(axis=1), 0.01)
    near = cdist(samples, unseen).min(axis=1) < threshold
    assert found.share == pytest.approx(near.mean())
    assert found.by_class == pytest.approx({c: near[of == c].mean() for c in range(3)})
    assert found.threshold == pytest.approx(threshold, rel=1e-5)


def test_of_many_unseen_images_some_set_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    from ltgen_bench.metrics import authenticity

    (unseen, _), (samples, of) = draws(3000, 1), draws(100, 2)
    whole = unseen_proximity(samples, of, unseen, quantile=0.2)
    monkeypatch.setattr(authenticity, "MOST_QUERIES", 700)
    some = unseen_proximity(samples, of, unseen, quantile=0.2)
    assert whole is not None
    assert some is not None
    assert some.threshold == pytest.approx(whole.threshold, rel=0.1)


def test_repeated_unseen_images_set_no_threshold_of_nothing() -> None:
    unseen, _ = draws(120, 1)
    twice = np.concatenate([unseen, unseen[:5]])
    found = unseen_proximity(unseen, None, twice)
    assert found is not None
    assert found.threshold > 0
    assert found.share == 1.0
    assert unseen_proximity(unseen, None, unseen[: FEWEST_UNSEEN - 1]) is None


def test_seeds_of_one_generator_are_apart_and_repeated_ones_are_not() -> None:
    (first, _), (second, _) = draws(500, 1), draws(500, 2)
    assert seed_overlap(first, second) < 0.05
    order = np.random.default_rng(0).permutation(500)
    assert seed_overlap(first, first[order]) == 1.0
    assert seed_overlap(first, first[order] + 1e-4) == 1.0
    collapsed = np.zeros_like(first)
    assert seed_overlap(collapsed, collapsed) == 0.0  # no nearer than they are to each other


def test_the_second_opinion_is_a_median_in_units_of_the_first() -> None:
    assert second_opinion(2.0, [1.0, 6.0, 100.0]).ratio == 3.0


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32), (3, 64)])
def test_random_networks_depend_on_their_seed_only(channels: int, size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, channels, size, size), dtype=np.uint8)
    features = random_features(images, 7)
    assert features.shape == (20, 64)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(random_features(images[5:], 7), features[5:], rtol=1e-4, atol=1e-5)
    assert not np.allclose(random_features(images, 8), features)
    assert np.abs(np.diff(features, axis=0)).max() > 1e-3
