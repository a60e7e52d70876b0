"""The LAPACK calls that give up the lock and the work side by side, against NumPy."""

import threading
import time

import numpy as np
import pytest

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics import StatisticsAccumulator, gaussian_statistics
from ltgen_bench.metrics.numerics.lapack import add_scatter, cholesky, congruence, eigen
from ltgen_bench.metrics.numerics.statistics import statistics_side_by_side
from ltgen_bench.metrics.numerics.threads import map_in_threads


def spd(seed, d):
    x = np.random.default_rng(seed).standard_normal((3 * d, d))
    return x.T @ x / d


@pytest.mark.parametrize("d", [1, 2, 37])
def test_the_three_routines_equal_numpy(d):
    s, other = spd(0, d), spd(1, d)
    factor = cholesky(s)
    assert factor is not None
    assert np.allclose(np.tril(factor), np.linalg.cholesky(s), rtol=1e-12)
    lower = np.tril(factor)
    assert np.allclose(np.tril(congruence(factor, other)), np.tril(lower.T @ other @ lower), rtol=1e-11, atol=1e-12)
    rows = np.random.default_rng(2).standard_normal((5, d))
    upper = np.asfortranarray(np.triu(s))
    add_scatter(rows, upper)
    assert np.allclose(upper, np.triu(s + rows.T @ rows), rtol=1e-13)


@pytest.mark.parametrize("d", [1, 2, 37])
def test_eigenvalues_and_vectors_equal_numpy_and_come_from_the_lower_triangle(d):
    s = spd(0, d)
    lower = s.copy()
    lower[np.triu_indices(d, 1)] = np.nan
    assert np.allclose(eigen(lower.copy())[0], np.linalg.eigvalsh(s), rtol=1e-11)
    values, vectors = eigen(lower, vectors=True)
    assert vectors is not None
    assert np.allclose(vectors * values @ vectors.T, s, rtol=1e-11, atol=1e-12)
    assert np.allclose(vectors.T @ vectors, np.eye(d), atol=1e-12)


def test_inputs_stay_as_they_were_and_an_indefinite_matrix_has_no_factor():
    s = spd(0, 6)
    before = s.copy()
    factor = cholesky(s)
    assert factor is not None
    congruence(factor, s)
    assert (s == before).all()
    assert cholesky(-s) is None


def test_layouts_and_sizes_that_fortran_would_misread_are_refused():
    with pytest.raises(ValueError, match="Fortran order"):
        add_scatter(np.ones((4, 3)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="Fortran order"):
        add_scatter(np.ones((4, 3)), np.zeros((4, 4), order="F"))
    with pytest.raises(ValueError, match="one size"):
        congruence(np.eye(3), np.eye(4))
    with pytest.raises(ValueError, match="got an array of float32"):
        congruence(np.eye(3, dtype=np.float32), np.eye(3))
    with pytest.raises(ValueError, match="square"):
        eigen(np.ones((2, 3)))
    with pytest.raises(ValueError, match="one size"):
        congruence(np.asfortranarray(spd(0, 3)), np.eye(3))


def test_sets_cut_into_parts_have_the_statistics_of_the_whole():
    rng = np.random.default_rng(3)
    sets = [(rng.standard_normal((n, 5)) * 2 + 1e4).astype(np.float32) for n in (40_000, 33_000, 7)]
    for features, found in zip(sets, statistics_side_by_side(sets), strict=True):
        wide = features.astype(np.float64)
        assert found.count == len(features)
        assert np.allclose(found.mean, wide.mean(axis=0), rtol=1e-13)
        assert np.allclose(found.covariance, np.cov(wide, rowvar=False), rtol=1e-9, atol=1e-9)
        assert (found.covariance == found.covariance.T).all()


def test_the_scatter_has_its_lower_triangle_empty_after_merging():
    x = np.random.default_rng(4).standard_normal((50, 4))
    total = StatisticsAccumulator(4).update(x[:20]).merge(StatisticsAccumulator(4).update(x[20:]))
    assert (np.tril(total.scatter, -1) == 0).all()
    assert np.allclose(total.result().covariance, np.cov(x, rowvar=False), rtol=1e-12)


def test_features_of_another_shape_are_refused():
    with pytest.raises(SamplesError, match=r"expected \(N, D\)"):
        gaussian_statistics(np.zeros((2, 3, 4)))


def test_results_come_in_order_none_among_them_and_errors_come_through():
    assert list(map_in_threads(lambda i: None if i == 1 else i, range(7))) == [0, None, 2, 3, 4, 5, 6]
    assert list(map_in_threads(abs, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda i: 1 / i, [1, 0, 1]))


def test_a_slow_reader_holds_the_workers_back():
    """However many items there are, few results wait: memory stays bounded."""
    lock, started = threading.Lock(), []

    def note(i):
        with lock:
            started.append(i)
        return i

    results = map_in_threads(note, range(1000))
    next(results)
    time.sleep(0.05)
    assert len(started) < 200  # as many as there are threads, and one
    results.close()
