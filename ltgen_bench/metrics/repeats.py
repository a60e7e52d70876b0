"""Samples that are one sample several times over: they are no independent draws, and no interval may count them so."""

from __future__ import annotations

import numpy as np

from ltgen_bench.metrics.inputs import IntArray
from ltgen_bench.metrics.numerics.distances import DistinctRows
from ltgen_bench.metrics.numerics.neighbours import Neighbours

NEAR_EQUAL = 0.1  # of the median distance of real images to their nearest other one


def repeat_clusters(distinct: DistinctRows, near: Neighbours, limit: float) -> IntArray:
    """(N,) int64: which cluster of equal or near-equal rows each row belongs to.

    `near` are the neighbours of the distinct points (`point_neighbours`); those at a squared distance below `limit`
    fall into one cluster, and so do chains of them.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    points = len(distinct)
    rows, columns = np.nonzero(near.squared_distances < limit)
    links = coo_array((np.ones(len(rows)), (rows, near.indices[rows, columns])), shape=(points, points))
    _, cluster = connected_components(links, directed=False)
    return np.asarray(cluster[distinct.index], dtype=np.int64)


def effective_number(clusters: IntArray) -> float:
    """How many independent samples (n,) in clusters amount to: n^2 over the sum of the squared cluster sizes (Kish).

    It is n where all differ, and the number of clusters where these are of equal size: copies add nothing.
    """
    sizes = np.unique(clusters, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / np.square(sizes).sum()) if len(sizes) else 0.0
