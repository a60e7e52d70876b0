"""How far F8 and F1/8 move when the same model is sampled again.

Other samples make other clusters, too. So the variance has two parts: that over the samples with the clusters held
fixed, and that of the clusterings themselves, which the spread over the runs shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ltgen_bench.metrics.inputs import FloatArray, IntArray
from ltgen_bench.metrics.prd import Clustering, f_scores
from ltgen_bench.metrics.uncertainty import StandardError

PRD_GROUPS = 20


def prd_errors(
    clusterings: Sequence[Clustering],
    part: IntArray,
    *,
    angles: int,
    beta: float,
    weights: tuple[FloatArray, FloatArray] | None = None,
) -> tuple[StandardError, StandardError] | None:
    """The standard errors of F_beta and F_1/beta, means over the runs.

    `part` (N,) deals the generated samples into equal groups (0, 1, ...), which are left out one after the other.
    `weights` (M,) and (N,) choose a part of both sets. None where a group is all that a clustering holds.
    """
    groups = int(part.max()) + 1
    chosen, own = weights or (None, np.ones(len(part)))
    whole = np.array([f_scores(*c.histograms(chosen, own), angles=angles, beta=beta) for c in clusterings])
    without = []
    for group in range(groups):
        kept = own * (part != group)
        if any(kept[c.generated_rows].sum() == 0 for c in clusterings):
            return None
        pairs = [f_scores(*c.histograms(chosen, kept), angles=angles, beta=beta) for c in clusterings]
        without.append(np.mean(pairs, axis=0))
    of_samples = (groups - 1) / groups * np.square(np.array(without) - np.mean(without, axis=0)).sum(axis=0)
    runs = len(clusterings)
    of_runs = whole.var(axis=0, ddof=1) / runs if runs > 1 else np.zeros(2)
    method = f"jackknife over {groups} groups of samples and variance over {runs} clusterings"
    first, second = (
        _sum(float(a), groups - 1, float(b), runs - 1, method) for a, b in zip(of_samples, of_runs, strict=True)
    )
    return first, second


def _sum(a: float, a_dof: int, b: float, b_dof: int, method: str) -> StandardError:
    spread = a**2 / a_dof + (b**2 / b_dof if b_dof else 0.0)
    return StandardError(math.sqrt(a + b), method, (a + b) ** 2 / spread if spread > 0 else math.inf)
