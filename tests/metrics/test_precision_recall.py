"""Precision, recall, density, coverage and nearest neighbours: exact against slow float64 versions, prdc and
torch-fidelity."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prdc import compute_prdc
from sklearn.neighbors import NearestNeighbors
from torch_fidelity.metric_prc import calculate_precision_recall_full

from ltgen_bench.core.errors import DeviceError, SamplesError
from ltgen_bench.metrics import (
    MemorisationInputs,
    NearestTraining,
    manifold_scores,
    memorisation_scores,
    nearest_in_features,
    nearest_in_pixels,
    per_class_manifold_scores,
    squared_radii,
)
from ltgen_bench.metrics.numerics import distances, neighbours
from ltgen_bench.metrics.numerics.distances import (
    Frame,
    coarse_pays,
    distinct_rows,
    prepare_rows,
    squared_distance_tile,
)
from ltgen_bench.metrics.numerics.neighbours import kth_neighbours


def squared_distances(a, b):
    return np.stack([((b.astype(np.float64) - row.astype(np.float64)) ** 2).sum(axis=1) for row in a])


def slow_scores(generated, reference, k):
    """The definition with closed balls, from full matrices of float64 distances."""
    radii_r = np.sort(squared_distances(reference, reference), axis=1)[:, k]
    radii_g = np.sort(squared_distances(generated, generated), axis=1)[:, k]
    d = squared_distances(reference, generated)
    in_real, in_fake = d <= radii_r[:, None], d <= radii_g[None, :]
    return in_real.any(0).mean(), in_fake.any(1).mean(), in_real.sum(0).mean() / k, in_real.any(1).mean()


def fast_scores(generated, reference, k):
    s = manifold_scores(generated, reference, k=k)
    return s.precision, s.recall, s.density, s.coverage


def near_copies(seed, modes, copies, d, noise, dtype=np.float64):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(5).standard_normal((modes, d)) * 10
    return (np.repeat(centres, copies, 0) + noise * rng.standard_normal((modes * copies, d))).astype(dtype)


def adversarial():
    rng = np.random.default_rng(0)
    normal = rng.standard_normal
    return {
        "random": (normal((150, 20)), normal((170, 20))),
        "float32": (normal((150, 20)).astype("f"), normal((170, 20)).astype("f")),
        "mixed types": (normal((60, 9)).astype("f"), normal((60, 9))),
        "duplicates": (rng.integers(0, 2, (150, 4)).astype("f"), rng.integers(0, 2, (170, 4)).astype("f")),
        "grid with ties": (rng.integers(0, 5, (150, 2)).astype("f"), rng.integers(0, 5, (170, 2)).astype("f")),
        "constant": (np.ones((30, 5)), np.ones((40, 5))),
        "one mode repeated": (np.repeat(normal((1, 8)), 50, 0), normal((60, 8))),
        "near copies": (near_copies(1, 5, 30, 64, 1e-5), near_copies(2, 5, 30, 64, 1e-5)),
        "nearer copies": (near_copies(3, 4, 30, 32, 1e-9), near_copies(4, 4, 25, 32, 1e-9)),
        "float32 near copies": (near_copies(1, 5, 30, 64, 1e-5, "f"), near_copies(2, 5, 30, 64, 1e-5, "f")),
        "last bits": (near_copies(1, 3, 40, 32, 2e-6, "f"), near_copies(2, 3, 40, 32, 2e-6, "f")),
        "huge offset": (1e6 + 1e-3 * normal((120, 20)), 1e6 + 1e-3 * normal((120, 20))),
        "zero variance columns": (normal((80, 6)) * [1, 0, 1, 0, 0, 1], normal((80, 6)) * [1, 0, 1, 0, 0, 1]),
        "huge values": (1e30 * normal((50, 8)).astype("f"), 1e30 * normal((50, 8)).astype("f")),
        "tiny values": (1e-30 * normal((50, 8)).astype("f"), 1e-30 * normal((50, 8)).astype("f")),
        "an outlier": (np.vstack([normal((60, 8)), np.full((1, 8), 1e9)]), normal((60, 8))),
        "smallest sets": (normal((6, 3)), normal((6, 3))),
        "one column": (normal((90, 1)), normal((80, 1))),
    }


@pytest.mark.parametrize("name", adversarial())
@pytest.mark.parametrize("k", [1, 3, 5])
def test_equal_to_float64_distances(name, k):
    generated, reference = adversarial()[name]
    # Counting is exact: no tolerance but that of the mean itself.
    assert fast_scores(generated, reference, k) == pytest.approx(slow_scores(generated, reference, k), rel=1e-13)


@pytest.mark.parametrize("name", ["random", "near copies", "last bits", "duplicates", "nearer copies"])
def test_tiles_and_the_float64_stage_change_nothing(name, monkeypatch):
    generated, reference = adversarial()[name]
    monkeypatch.setitem(distances._TILE, "cpu", 17)
    monkeypatch.setattr("ltgen_bench.metrics.numerics.close_pairs._MANY_PAIRS", 3)
    assert fast_scores(generated, reference, 3) == pytest.approx(slow_scores(generated, reference, 3), rel=1e-13)


def test_a_lowered_matmul_precision_does_not_matter_and_is_put_back():
    generated, reference = adversarial()["float32 near copies"]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert fast_scores(generated, reference, 3) == pytest.approx(slow_scores(generated, reference, 3), rel=1e-13)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_matches_prdc_and_torch_fidelity_where_there_are_no_ties(capsys):
    rng = np.random.default_rng(1)
    generated, reference = rng.standard_normal((300, 10)), 1.2 * rng.standard_normal((260, 10))
    theirs = compute_prdc(reference, generated, nearest_k=3)
    scores = manifold_scores(generated, reference, k=3)
    for key in ("precision", "recall", "density", "coverage"):
        assert getattr(scores, key) == pytest.approx(theirs[key], rel=1e-12)
    precision, recall = calculate_precision_recall_full(torch.from_numpy(generated), torch.from_numpy(reference))
    assert scores.precision == pytest.approx(precision, rel=1e-6)  # theirs is a float32 mean
    assert scores.recall == pytest.approx(recall, rel=1e-6)
    capsys.readouterr()


def test_balls_are_closed():
    # Radius 1 around 0 with k = 1 (neighbour at 1); the generated point at -1 lies exactly on the sphere.
    reference, generated = np.array([[0.0], [1.0]]), np.array([[-1.0], [-50.0]])
    assert manifold_scores(generated, reference, k=1).precision == 0.5
    # Copies of themselves: `<` would give 0 with radius 0.
    same = np.zeros((5, 2))
    assert fast_scores(same, same, 3) == (1, 1, pytest.approx(5 / 3), 1)


def test_mode_collapse_is_high_precision_and_low_recall_and_the_reverse_when_swapped():
    rng = np.random.default_rng(2)
    modes = 20 * np.eye(10)
    reference = np.repeat(modes, 40, 0) + rng.standard_normal((400, 10))
    collapsed = modes[0] + 0.3 * rng.standard_normal((400, 10))
    scores = manifold_scores(collapsed, reference, k=3)
    assert scores.precision > 0.9
    assert scores.recall < 0.1
    assert scores.coverage < 0.15
    assert scores.density > 1
    swapped = manifold_scores(reference, collapsed, k=3)
    assert (swapped.precision, swapped.recall) == (scores.recall, scores.precision)


def test_flags_follow_the_order_of_the_samples():
    generated, reference = adversarial()["duplicates"]
    scores = manifold_scores(generated, reference, k=3)
    order = np.random.default_rng(0).permutation(len(generated))
    shuffled = manifold_scores(generated[order], reference[::-1], k=3)
    assert (shuffled.generated_inside == scores.generated_inside[order]).all()
    assert (shuffled.generated_density == scores.generated_density[order]).all()
    assert (shuffled.reference_inside == scores.reference_inside[::-1]).all()
    assert (shuffled.reference_covered == scores.reference_covered[::-1]).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 25), st.integers(4, 25), st.integers(1, 4), st.integers(1, 6), st.integers(0, 10**6))
def test_any_small_grid(n, m, d, span, seed):
    rng = np.random.default_rng(seed)
    generated, reference = rng.integers(0, span, (n, d)).astype("f"), rng.integers(0, span, (m, d)).astype("f")
    assert fast_scores(generated, reference, 3) == pytest.approx(slow_scores(generated, reference, 3), rel=1e-13)


def test_within_class_scores():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((60, 4)), rng.standard_normal((50, 4))
    rows_x, rows_y = (
        [np.arange(40), np.arange(40, 60), np.arange(0)],
        [np.arange(20), np.arange(20, 48), np.arange(48, 50)],
    )
    scores = per_class_manifold_scores(x, rows_x, y, rows_y, k=3)
    assert scores[1].recall == pytest.approx(slow_scores(x[40:60], y[20:48], 3)[1])
    assert scores[2] is None


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_kth_neighbours_match_scikit_learn(dtype):
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((70, 12)).astype(dtype), rng.standard_normal((90, 12)).astype(dtype)
    found = kth_neighbours(x, y, 2)
    distances, indices = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(y.astype("d")).kneighbors(x.astype("d"))
    assert (found.indices == indices[:, 1]).all()
    np.testing.assert_allclose(found.squared_distances, distances[:, 1] ** 2, rtol=1e-12)


def test_radii_of_near_copies_are_float64_radii():
    x = near_copies(7, 3, 50, 48, 1e-6)
    expected = np.sort(squared_distances(x, x), axis=1)[:, 3]
    np.testing.assert_array_equal(squared_radii(x, 3), expected)


def test_distinct_rows_keep_order_weights_and_negative_zero():
    x = np.array([[1.0, 2], [0.0, 3], [1.0, 2], [-0.0, 3], [2.0, 1]])
    rows = distinct_rows(x)
    assert rows.points.tolist() == [[1, 2], [0, 3], [2, 1]]
    assert rows.weights.tolist() == [2, 2, 1]
    assert rows.index.tolist() == [0, 1, 0, 1, 2]


def test_messages():
    x = np.random.default_rng(0).standard_normal((10, 3))
    with pytest.raises(SamplesError, match="at least 4 samples in each set, got 3 and 10"):
        manifold_scores(x[:3], x, k=3)
    with pytest.raises(SamplesError, match="3 columns against 2"):
        manifold_scores(x, x[:, :2], k=3)
    with pytest.raises(SamplesError, match="1e150"):
        manifold_scores(x * 1e200, x, k=3)
    with pytest.raises(DeviceError, match="tpu"):
        manifold_scores(x, x, k=3, device="tpu")


def test_nearest_training_image_with_flips():
    rng = np.random.default_rng(5)
    training = rng.integers(0, 256, (40, 6, 6, 3)).astype(np.uint8)
    queries = np.concatenate([training[[7, 3]], training[[11]][:, :, ::-1], rng.integers(0, 256, (20, 6, 6, 3))])
    queries = queries.astype(np.uint8)
    found = nearest_in_pixels(queries, training)
    assert found.indices[:3].tolist() == [7, 3, 11]
    assert found.distances[:3].tolist() == [0, 0, 0]
    assert found.flipped[:3].tolist() == [False, False, True]
    for i, query in enumerate(queries):
        both = [((training / 255 - image / 255) ** 2).mean(axis=(1, 2, 3)) for image in (query, query[:, ::-1])]
        assert found.distances[i] == pytest.approx(np.sqrt(np.min(both)), rel=1e-12)
    with pytest.raises(SamplesError, match="sizes must be equal"):
        nearest_in_pixels(queries, training[:, :5])
    with pytest.raises(SamplesError, match="uint8"):
        nearest_in_pixels(queries / 255, training)


def test_copies_are_found_and_honest_samples_are_at_the_quantile():
    rng = np.random.default_rng(6)
    training, held_out, honest = (rng.standard_normal((n, 16)) for n in (300, 2000, 2000))
    copies = training[rng.integers(0, 300, 500)] + 1e-3 * rng.standard_normal((500, 16))
    far = nearest_in_features(held_out, training)
    scores = memorisation_scores(nearest_in_features(copies, training), far, quantile=0.01)
    assert scores.fraction == 1
    assert scores.median_distance < 0.01 < scores.held_out_median_distance
    (first, partner), *_ = scores.closest_pairs(3)
    assert scores.nearest.distances[first] == scores.nearest.distances.min()
    assert np.linalg.norm(copies[first] - training[partner]) == pytest.approx(scores.nearest.distances.min())
    honest_scores = memorisation_scores(nearest_in_features(honest, training), far, quantile=0.01)
    assert honest_scores.fraction < 0.02  # 20 of 2,000 expected
    assert memorisation_scores(far, None, quantile=0.01).fraction is None


def at(distances):
    return NearestTraining(
        np.asarray(distances, float), np.zeros(len(distances), np.int64), np.zeros(len(distances), bool)
    )


@pytest.mark.parametrize(("held_out", "quantile"), [(99, 0.01), (199, 0.01), (250, 0.01), (19, 0.05)])
def test_an_honest_generator_has_the_quantile_s_share(held_out, quantile):
    # Distances do not matter, only ranks: for uniform ones the expected share below a threshold t is t itself.
    rng = np.random.default_rng(0)
    found = [memorisation_scores(at([0]), at(rng.random(held_out)), quantile=quantile) for _ in range(4000)]
    shares = np.array([scores.threshold for scores in found])
    assert abs(shares.mean() - quantile) < 4 * shares.std() / np.sqrt(len(shares))
    assert found[0].reason is None


def test_no_threshold_without_enough_held_out_images_or_where_those_are_training_images():
    few = memorisation_scores(at([0, 1]), at(np.arange(1, 99)), quantile=0.01)
    assert (few.threshold, few.fraction, few.copied) == (None, None, None)
    assert few.held_out_median_distance == 49.5
    assert few.reason == "needs at least 99 held-out images for the quantile 0.01 of their distances, got 98"
    assert memorisation_scores(at([0]), at(np.arange(1, 49)), quantile=1 / 49).threshold == 1
    # One in a hundred lies on a training image: of a copier's distances, all 0, none is smaller.
    copier, known = at(np.zeros(50)), at(np.append(np.zeros(2), np.ones(197)))
    scores = memorisation_scores(copier, known, quantile=0.01)
    assert (scores.threshold, scores.fraction, scores.copied) == (None, None, None)
    assert "lie on training images" in scores.reason
    assert memorisation_scores(copier, at(np.append(0, np.ones(198))), quantile=0.01).fraction == 1


def test_memorisation_inputs_are_checked():
    with pytest.raises(SamplesError, match="training_pixels: has 2 images, expected 3"):
        MemorisationInputs(training_features=np.ones((3, 2)), training_pixels=np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(SamplesError, match="held_out_pixels: expected uint8"):
        MemorisationInputs(held_out_pixels=np.zeros((2, 4, 4, 3)))


def native_bfloat16():
    return coarse_pays(np.ones((4096, 4096), "f"), np.ones((4096, 4096), "f"), "cpu")


@pytest.mark.parametrize("shape", [(1024, 1024, 512), (1024, 17, 64), (300, 1, 4096), (17, 17, 64), (1, 1, 70)])
def test_bfloat16_distances_keep_to_their_bound(shape):
    n, m, d = shape
    rng = np.random.default_rng(8)
    x, y = (np.abs(rng.standard_normal((size, d))).astype("f") ** 3 for size in (n, m))
    y[: min(n, m)] = x[: min(n, m)] * np.float32(1 + 2**-9)  # the products that lose most
    frame = Frame.around(x, y)
    a, b = (prepare_rows(s, frame, device="cpu", precision="bfloat16") for s in (x, y))
    everything = slice(0, n), slice(0, m)
    found = squared_distance_tile(a, b, *everything).double().numpy() / np.ldexp(1.0, -2 * frame.exponent)
    sizes = [((s.astype("d") - frame.centre) ** 2).sum(axis=1) for s in (x, y)]
    assert (np.abs(found - squared_distances(x, y)) <= max(a.error, b.error) * np.add.outer(*sizes)).all()
    assert max(a.error, b.error) < 0.01  # else nothing would be decided


@pytest.mark.skipif(not native_bfloat16(), reason="no bfloat16 products in this processor")
@pytest.mark.parametrize("give_up", [True, False])
@pytest.mark.parametrize(
    "name", ["near copies", "nearer copies", "float32 near copies", "last bits", "wide", "outlier"]
)
def test_bfloat16_first_changes_nothing(name, give_up, monkeypatch):
    rng = np.random.default_rng(9)
    wide = [rng.standard_normal((n, 96)).astype("f") * np.exp(-np.arange(96, dtype="f") / 9) for n in (210, 190)]
    outlier = [np.vstack([s, np.full((1, 96), 1e9, "f")]) for s in wide]
    generated, reference = {**adversarial(), "wide": wide, "outlier": outlier}[name]
    expected = slow_scores(generated, reference, 3)
    found = kth_neighbours(generated, reference, 2)
    monkeypatch.setattr(distances, "_COARSE_ROWS", 8)
    monkeypatch.setattr(distances, "_COARSE_COLUMNS", 8)
    monkeypatch.setattr(neighbours, "_TRIAL_ROWS", 16)
    monkeypatch.setattr(neighbours, "_TRIAL_SHARE", 0.2 if give_up else 1.0)
    monkeypatch.setitem(distances._TILE, "cpu", 64)
    if give_up:
        monkeypatch.setattr("ltgen_bench.metrics.numerics.close_pairs._MANY_PAIRS", 3)
        monkeypatch.setattr("ltgen_bench.metrics.numerics.close_pairs._FAILED_TILES", 2)
    assert fast_scores(generated, reference, 3) == pytest.approx(expected, rel=1e-13)
    again = kth_neighbours(generated, reference, 2)
    assert (again.indices == found.indices).all()
    np.testing.assert_array_equal(again.squared_distances, found.squared_distances)
