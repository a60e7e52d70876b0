"""Everything that a metric's value depends on besides the arrays."""

from __future__ import annotations

from dataclasses import dataclass

from ltgen_bench.core.errors import ConfigError, did_you_mean

PRD_CLUSTERINGS = ("minibatch-kmeans", "kmeans")
MAX_PRD_BETA = 1e6  # far beyond use, where F_beta is recall alone, and its square is far from overflow


@dataclass(frozen=True)
class MetricSettings:
    """The settings of a metric run; a protocol fixes them, so changing one makes another protocol.

    Arguments:
        k: neighbours that make a ball of the manifold (precision, recall, density, coverage).
        clipped_k: neighbours of clipped density and coverage; 5 is their authors'.
        prd_clusters_per_class: k-means clusters for PRD are this times the number of classes.
        prd_angles: points on the PRD curve.
        prd_runs: clusterings over which F8 and F1/8 are averaged.
        prd_beta: 8 gives F8 (recall-like) and F1/8 (precision-like).
        prd_clustering: part of the metric's definition: "minibatch-kmeans", or "kmeans" (full Lloyd; other values).
        inception_score_splits: parts over which the Inception Score's mean and deviation are taken.
        kid_subset_size, kid_subsets: size and number of the random subsets of KID.
        seed: every random choice of every metric derives from it.
        confidence_level: of the intervals, between 0 and 1.
        intervals: whether to compute them.
        fixed_class_counts: the samples were not given random labels but a fixed number in every class; the intervals
            then leave out what random labels would add.
        equal_numbers: distances of groups are those of equally many samples and reference images (`equal_numbers.py`).
        real_vs_real: also say what a perfect generator would score.
        label_probe: also measure label accuracy with a linear probe (`linear_probe.py`) of the reference's features.
        by_content: random parts of the samples (of KID and the Inception Score) are drawn from an order that depends
            on their content, so that the order in a file does not matter.
        fid_infinity: also extrapolate FID to infinitely many samples.
        memorisation_quantile: the threshold is this quantile of the held-out images' nearest distances.
    """

    k: int = 3
    clipped_k: int = 5
    prd_clusters_per_class: int = 20
    prd_angles: int = 1001
    prd_runs: int = 10
    prd_beta: float = 8.0
    prd_clustering: str = "minibatch-kmeans"
    inception_score_splits: int = 10
    kid_subset_size: int = 1000
    kid_subsets: int = 100
    seed: int = 0
    confidence_level: float = 0.95
    intervals: bool = True
    fixed_class_counts: bool = False
    by_content: bool = False
    equal_numbers: bool = False
    real_vs_real: bool = False
    label_probe: bool = False
    fid_infinity: bool = False
    memorisation_quantile: float = 0.01

    def __post_init__(self) -> None:
        positive = ("k", "clipped_k", "prd_clusters_per_class", "prd_runs", "inception_score_splits", "kid_subsets")
        for name in positive:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be at least 1")
        for name in ("prd_angles", "kid_subset_size"):
            if getattr(self, name) < 2:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be at least 2")
        if self.seed < 0:
            raise ConfigError(f"seed = {self.seed}: must be 0 or more")
        if not 1 < self.prd_beta <= MAX_PRD_BETA:
            raise ConfigError(
                f"prd_beta = {self.prd_beta}: must be greater than 1, so that F_beta weighs recall, and at most "
                f"{MAX_PRD_BETA:,.0f}"
            )
        for name in ("confidence_level", "memorisation_quantile"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: must lie between 0 and 1")
        if self.prd_clustering not in PRD_CLUSTERINGS:
            raise ConfigError(
                f"prd_clustering = {self.prd_clustering!r}: {did_you_mean(self.prd_clustering, PRD_CLUSTERINGS)}"
            )
