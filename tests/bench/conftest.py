"""Benchmarks use the threads they are given: `OMP_NUM_THREADS`, or every core."""

import os

import pytest


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """In place of the tests' own, which keeps torch to one thread: ours and the peers get as many as numpy has."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
