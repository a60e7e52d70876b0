"""The benchmark suite for long-tailed image generation: one protocol, faithful baselines, checkable numbers.

    import ltgen_bench

    result = ltgen_bench.evaluate(images, labels, dataset="cifar10lt")
    result.report.fid

    run = ltgen_bench.load_run("runs/digits-lt/ddpm/4c53dd5e9c-s0")
    run.record.metrics.fid, run.sample([3, 3, 8])

Importing the package is cheap; PyTorch is imported when something needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ltgen_bench.core.version import __version__

if TYPE_CHECKING:
    from ltgen_bench.evaluation.evaluate import Evaluation, evaluate
    from ltgen_bench.evaluation.places import EvaluationPlaces
    from ltgen_bench.runs.analysis.analyze import Analysis, analyze
    from ltgen_bench.runs.analysis.settings import AnalysisSettings
    from ltgen_bench.runs.loaded import LoadedRun, load_run

__all__ = [
    "Analysis",
    "AnalysisSettings",
    "Evaluation",
    "EvaluationPlaces",
    "LoadedRun",
    "__version__",
    "analyze",
    "evaluate",
    "load_run",
]


def __getattr__(name: str) -> Any:
    if name in ("Evaluation", "evaluate"):
        from ltgen_bench.evaluation import evaluate as module

        return getattr(module, name)
    if name in ("LoadedRun", "load_run"):
        from ltgen_bench.runs import loaded

        return getattr(loaded, name)
    if name in ("Analysis", "analyze"):
        from ltgen_bench.runs.analysis import analyze as analysis

        return getattr(analysis, name)
    if name == "AnalysisSettings":
        from ltgen_bench.runs.analysis.settings import AnalysisSettings

        return AnalysisSettings
    if name == "EvaluationPlaces":
        from ltgen_bench.evaluation.places import EvaluationPlaces

        return EvaluationPlaces
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
