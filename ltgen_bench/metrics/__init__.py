"""Metrics as pure functions of arrays: no files, no data sets, explicit seeds. torch and scikit-learn are imported
only by the functions that need them."""

from ltgen_bench.metrics.frechet import (
    FrechetSolver,
    fid,
    fid_floor,
    fid_infinity,
    frechet_distance,
    frechet_distance_gram,
    per_class_fid,
)
from ltgen_bench.metrics.groups import GROUP_NAMES
from ltgen_bench.metrics.inception_score import inception_score
from ltgen_bench.metrics.inputs import FeatureArrays
from ltgen_bench.metrics.kid import kid, per_class_kid, squared_mmd
from ltgen_bench.metrics.label_accuracy import ClassificationScores, label_accuracy
from ltgen_bench.metrics.memorisation import (
    MemorisationInputs,
    MemorisationScores,
    NearestTraining,
    memorisation_scores,
    nearest_in_features,
    nearest_in_pixels,
)
from ltgen_bench.metrics.numerics.statistics import GaussianStatistics, StatisticsAccumulator, gaussian_statistics
from ltgen_bench.metrics.prd import PRDScores, prd_curve, prd_scores
from ltgen_bench.metrics.precision_recall import (
    ManifoldScores,
    manifold_scores,
    per_class_manifold_scores,
    squared_radii,
)
from ltgen_bench.metrics.settings import MetricSettings
from ltgen_bench.metrics.suite.compute import METRIC_NAMES, check_metric_names, compute_metrics
from ltgen_bench.metrics.suite.report import MetricReport
from ltgen_bench.metrics.uncertainty import Interval

__all__ = [
    "GROUP_NAMES",
    "METRIC_NAMES",
    "ClassificationScores",
    "FeatureArrays",
    "FrechetSolver",
    "GaussianStatistics",
    "Interval",
    "ManifoldScores",
    "MemorisationInputs",
    "MemorisationScores",
    "MetricReport",
    "MetricSettings",
    "NearestTraining",
    "PRDScores",
    "StatisticsAccumulator",
    "check_metric_names",
    "compute_metrics",
    "fid",
    "fid_floor",
    "fid_infinity",
    "frechet_distance",
    "frechet_distance_gram",
    "gaussian_statistics",
    "inception_score",
    "kid",
    "label_accuracy",
    "manifold_scores",
    "memorisation_scores",
    "nearest_in_features",
    "nearest_in_pixels",
    "per_class_fid",
    "per_class_kid",
    "per_class_manifold_scores",
    "prd_curve",
    "prd_scores",
    "squared_mmd",
    "squared_radii",
]
