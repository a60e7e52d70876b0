"""Threads: one number for all libraries, and what was there before comes back."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from ltgen_bench.core.devices import cpu_threads
from ltgen_bench.metrics.numerics.threads import as_many_as_blas, map_in_threads


def pools() -> Counter[tuple[str, int]]:
    """Thread pools by kind and size: NumPy's and SciPy's OpenBLAS, PyTorch's and scikit-learn's OpenMP."""
    return Counter((pool["user_api"], pool["num_threads"]) for pool in threadpool_info())


@pytest.mark.parametrize("count", [1, 2])
def test_every_library_gets_the_number_and_then_its_own_back(count: int) -> None:
    import sklearn.cluster  # noqa: F401  # brings OpenMP

    with cpu_threads(1):
        pass  # loads the others
    with threadpool_limits(3):
        before = pools(), torch.get_num_threads()
        with cpu_threads(count):
            assert {size for _, size in pools()} == {count}
            assert pools()["blas", count] >= 2  # NumPy and SciPy bring one each
            assert torch.get_num_threads() == count
        assert (pools(), torch.get_num_threads()) == before
        with cpu_threads(0):
            assert (pools(), torch.get_num_threads()) == before
        with pytest.raises(ZeroDivisionError), cpu_threads(count):
            raise ZeroDivisionError
        assert (pools(), torch.get_num_threads()) == before


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_loaded_later_gets_what_linear_algebra_has(count: int) -> None:
    with threadpool_limits(3), threadpool_limits(count, user_api="blas"):
        before = pools()
        assert before["openmp", 3]
        with as_many_as_blas():
            assert {size for _, size in pools()} == {count}
        assert pools() == before


@pytest.mark.parametrize("count", [1, 2])
def test_independent_pieces_share_the_threads_that_are_given(count: int) -> None:
    running, most, lock = 0, 0, threading.Lock()
    meeting = threading.Barrier(count)

    def work(item: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        meeting.wait(timeout=60)  # passes when as many work at once as there are threads
        assert {size for kind, size in pools() if kind == "blas"} == {1}
        with lock:
            running -= 1
        return item

    with threadpool_limits(3), cpu_threads(count):
        assert list(map_in_threads(work, range(4))) == [0, 1, 2, 3]
    assert most == count
