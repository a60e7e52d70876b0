"""Independent pieces of linear algebra side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """`function` of every item, in order, on as many threads as the linear algebra libraries would use.

    Each piece gets one of their threads: an eigenproblem of a few thousand rows gains little from two, and where other
    programs share the cores, two that wait for each other take several times the processor time. No more pieces are
    under way than there are threads, which bounds the memory. A result does not depend on the number of threads.
    """
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    libraries = ThreadpoolController().select(user_api="blas")
    workers = max((library.num_threads for library in libraries.lib_controllers), default=1)
    with libraries.limit(limits=1), ThreadPoolExecutor(workers) as threads:
        for start in range(0, len(items), workers):
            yield from list(threads.map(function, items[start : start + workers]))
