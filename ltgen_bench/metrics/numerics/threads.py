"""Independent pieces of linear algebra side by side."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@functools.cache
def _blas_libraries() -> Any:
    """What does the linear algebra of NumPy and SciPy: looked up once, which reads the process's memory map."""
    import scipy.linalg  # noqa: F401  # its BLAS is another than NumPy's, and only what is loaded can be limited
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def as_many_as_blas() -> Iterator[None]:
    """All OpenMP pools on as many threads as linear algebra has: for what was loaded after that was limited."""
    from threadpoolctl import threadpool_limits

    count = max((library.num_threads for library in _blas_libraries().lib_controllers), default=1)
    with threadpool_limits(count, user_api="openmp"):
        yield


def map_in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """`function` of every item, in order, on as many threads as the linear algebra libraries would use.

    Every thread gets its share of theirs, one where there are enough items: an eigenproblem of a few thousand rows
    gains little from two, and where other programs share the cores, two that wait for each other take several times
    the processor time. No more results wait to be taken than there are threads, which bounds the memory.
    """
    libraries = _blas_libraries()
    cores = max((library.num_threads for library in libraries.lib_controllers), default=1)
    workers = max(1, min(cores, len(items)))
    if workers == 1:
        yield from map(function, items)
        return
    with libraries.limit(limits=cores // workers), ThreadPoolExecutor(workers) as threads:
        under_way: deque[Future[Result]] = deque()
        for item in items:
            done = [under_way.popleft().result()] if len(under_way) == workers else []
            under_way.append(threads.submit(function, item))
            yield from done
        while under_way:
            yield under_way.popleft().result()
