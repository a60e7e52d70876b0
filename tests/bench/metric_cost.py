"""How the cost of each metric grows with the number of samples: CPU seconds, features given.

    OMP_NUM_THREADS=1 python tests/bench/metric_cost.py 5000 10000 20000

Synthetic features with 2,048 dimensions and a falling spectrum, as many reference as generated rows. CPU time rather
than wall time, so that other work on the machine hardly counts.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from threadpoolctl import threadpool_limits

from ltgen_bench.metrics import fid, inception_score, kid, manifold_scores, nearest_in_features, prd_scores

DIMENSION = 2048


def features(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    scales = (1 / np.sqrt(np.arange(1, DIMENSION + 1))).astype(np.float32)
    return random.standard_normal((count, DIMENSION), dtype=np.float32) * scales


def main() -> None:
    import torch

    torch.set_num_threads(1)
    for count in map(int, sys.argv[1:]):
        x, y = features(count, 0), features(count, 1)
        logits = x[:, :1000] * 8
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        for name, work in (
            ("FID", lambda x=x, y=y: fid(x, y)),
            ("KID, 100 subsets of 1,000", lambda x=x, y=y: kid(x, y, subset_size=1000, subsets=100, seed=0)),
            ("Inception Score", lambda p=probabilities: inception_score(p, splits=10, seed=0)),
            ("PRD, 200 clusters, one run", lambda x=x, y=y: prd_scores(x, y, cluster_count=200, runs=1, seed=0)),
            ("nearest training image", lambda x=x, y=y: nearest_in_features(x, y)),
            ("precision, recall, density, coverage", lambda x=x, y=y: manifold_scores(x, y)),
        ):
            began = time.process_time()
            with threadpool_limits(1):
                work()
            print(f"{count} {name}: {time.process_time() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
