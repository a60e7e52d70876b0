"""Maps of representations: t-SNE, UMAP and LocalMAP, with a number that says how far each can be trusted.

A map in two dimensions shows neighbours well or badly; `trustworthiness` says which (Venna and Kaski 2001). The three
are optional: `pip install 'ltgen-bench[maps]'`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.core.errors import ConfigError, MissingExtraError

_Floats = NDArray[np.float32]
_NEIGHBOURS = 12  # of trustworthiness, as in scikit-learn's examples
_MOST_ASKED = 2000  # points whose neighbours are checked, drawn by a fixed seed
_FEWEST = 32  # images; below, neighbourhoods of the methods' default sizes mean nothing


def tsne(features: _Floats, seed: int) -> _Floats:
    """t-SNE (van der Maaten and Hinton 2008) with perplexity 30, by openTSNE."""
    import torch
    from openTSNE import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    return np.asarray(
        TSNE(perplexity=perplexity, random_state=seed, n_jobs=torch.get_num_threads()).fit(features), np.float32
    )


def umap(features: _Floats, seed: int) -> _Floats:
    """UMAP (McInnes et al. 2018) with 15 neighbours and min_dist 0.1, by umap-learn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TensorFlow, which it does without, and of the threads that a seed costs
        from umap import UMAP

        return np.asarray(UMAP(random_state=seed, n_jobs=1).fit_transform(features), np.float32)


def localmap(features: _Floats, seed: int) -> _Floats:
    """LocalMAP (Wang et al. 2025) with its defaults, by pacmap."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pacmap import LocalMAP

        return np.asarray(LocalMAP(n_components=2, random_state=seed).fit_transform(features), np.float32)


MAPS: dict[str, tuple[str, Callable[[_Floats, int], _Floats]]] = {
    "tsne": ("t-SNE", tsne),
    "umap": ("UMAP", umap),
    "localmap": ("LocalMAP", localmap),
}


def check_maps(names: tuple[str, ...]) -> None:
    """Raise ConfigError for a map that is none, MissingExtraError where its package is not installed."""
    import importlib.util

    packages = {"tsne": "openTSNE", "umap": "umap", "localmap": "pacmap"}
    for name in names:
        if name not in MAPS:
            raise ConfigError(f"no map {name!r}; there are {', '.join(MAPS)}")
        if importlib.util.find_spec(packages[name]) is None:
            raise MissingExtraError(f"--maps {name} needs {packages[name]}: pip install 'ltgen-bench[maps]'")


def embed(name: str, features: _Floats, seed: int = 0) -> _Floats:
    """The points of a map, float32 (N, 2), of features (N, D). Raises ConfigError for too few images."""
    if len(features) < _FEWEST:
        raise ConfigError(f"{len(features)} images are too few for a map; {_FEWEST} or more")
    return MAPS[name][1](np.ascontiguousarray(features, np.float32), seed)


def trustworthiness(features: NDArray[Any], points: NDArray[Any], k: int = _NEIGHBOURS) -> float:
    """How far neighbours in the map are neighbours in the features: 1 all, about 0.5 by chance (Venna and Kaski 2001).

    Of more than `_MOST_ASKED` points the neighbours of so many, drawn by a fixed seed, are checked among all.
    """
    n = len(features)
    k = min(k, (n - 1) // 2)
    asked = np.arange(n)
    if n > _MOST_ASKED:
        asked = np.sort(np.random.default_rng(0).permutation(n)[:_MOST_ASKED])
    penalty = 0.0
    for start in range(0, len(asked), 256):
        rows = asked[start : start + 256]
        near = np.argpartition(_distances(points, rows), k, axis=1)[:, :k]
        order = np.argsort(_distances(features, rows), axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(1, n + 1)[None, :], axis=1)
        penalty += float(np.maximum(np.take_along_axis(rank, near, axis=1) - k, 0).sum())
    return 1 - penalty * 2 / (len(asked) * k * (2 * n - 3 * k - 1))


def _distances(values: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Squared distances of some rows to all, infinite to themselves."""
    x = np.asarray(values, np.float64)
    distance: NDArray[np.float64] = np.square(x).sum(1) - 2 * x[rows] @ x.T
    distance[np.arange(len(rows)), rows] = np.inf
    return distance
