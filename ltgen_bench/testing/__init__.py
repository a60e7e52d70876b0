"""Checks for authors of plug-ins, in the sense of scikit-learn's `check_estimator`.

    from ltgen_bench.testing import assert_passed, check_method

    def test_my_method():
        assert_passed(check_method(MyMethod))

`ltgen-bench check-plugin my_method.py` is the same from the command line.
"""

from __future__ import annotations

from collections.abc import Iterable

from ltgen_bench.testing.checklist import CheckResult, Outcome
from ltgen_bench.testing.datasets import check_dataset
from ltgen_bench.testing.extractors import check_extractor
from ltgen_bench.testing.methods import check_method, check_methods
from ltgen_bench.testing.plugins import check_plugin

__all__ = [
    "CheckResult",
    "Outcome",
    "assert_passed",
    "check_dataset",
    "check_extractor",
    "check_method",
    "check_methods",
    "check_plugin",
]


def assert_passed(results: Iterable[CheckResult]) -> None:
    """Raise AssertionError with a line for each failed check."""
    failed = [f"{result.subject}: {result.check}: {result.why}" for result in results if result.outcome == "failed"]
    if failed:
        raise AssertionError("\n".join(failed))
