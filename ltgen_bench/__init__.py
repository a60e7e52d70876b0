"""The benchmark suite for long-tailed image generation: one protocol, faithful baselines, checkable numbers.

    import ltgen_bench

    result = ltgen_bench.evaluate(images, labels, dataset="cifar10lt")
    result.report.fid

Importing the package is cheap; PyTorch is imported when something needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltgen_bench.core.version import __version__

if TYPE_CHECKING:
    from ltgen_bench.evaluation.evaluate import Evaluation, evaluate
    from ltgen_bench.evaluation.places import EvaluationPlaces

__all__ = ["Evaluation", "EvaluationPlaces", "__version__", "evaluate"]


def __getattr__(name: str) -> Any:
    if name in ("Evaluation", "evaluate"):
        from ltgen_bench.evaluation import evaluate as module

        return getattr(module, name)
    if name == "EvaluationPlaces":
        from ltgen_bench.evaluation.places import EvaluationPlaces

        return EvaluationPlaces
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
