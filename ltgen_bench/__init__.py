"""The benchmark suite for long-tailed image generation: one protocol, faithful baselines, checkable numbers.

    import ltgen_bench

    result = ltgen_bench.evaluate(images, labels, dataset="cifar10lt")
    result.report.fid

Importing the package is cheap; PyTorch is imported when something needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltgen_bench.evaluation import Evaluation, EvaluationPlaces, evaluate

__version__ = "0.1.0"
__all__ = ["Evaluation", "EvaluationPlaces", "__version__", "evaluate"]


def __getattr__(name: str) -> Any:
    if name in ("Evaluation", "EvaluationPlaces", "evaluate"):
        from ltgen_bench import evaluation

        return getattr(evaluation, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
