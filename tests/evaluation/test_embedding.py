"""Maps: they keep planted clusters, and say how far they can be trusted."""

from __future__ import annotations

import os

import numpy as np
import pytest
from sklearn.manifold import trustworthiness as their_trustworthiness

from ltgen_bench.core.errors import ConfigError, MissingExtraError
from ltgen_bench.evaluation.report import embedding


@pytest.mark.skipif(not os.environ.get("LTGEN_BENCH_REPRODUCE"), reason="compiles for a minute: make reproduce, as CI")
@pytest.mark.parametrize("kind", ["umap", "localmap"])
def test_the_other_maps_keep_planted_clusters(kind: str) -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 40)
    features = (20 * random.normal(size=(3, 8))[labels] + random.normal(size=(120, 8))).astype(np.float32)
    points = embedding.embed(kind, features)
    centres = np.array([points[labels == c].mean(axis=0) for c in range(3)])
    nearest = np.linalg.norm(points[:, None] - centres[None], axis=2).argmin(axis=1)
    assert (nearest == labels).mean() > 0.95


def test_trustworthiness_is_that_of_scikit_learn(monkeypatch) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(150, 6))
    for points in (features[:, :2], random.normal(size=(150, 2))):
        ours = embedding.trustworthiness(features, points)
        assert ours == pytest.approx(their_trustworthiness(features, points, n_neighbors=12))
    monkeypatch.setattr(embedding, "_MOST_ASKED", 80)
    assert embedding.trustworthiness(features, features[:, :2]) == pytest.approx(
        their_trustworthiness(features, features[:, :2], n_neighbors=12), abs=0.05
    )


def test_a_map_that_is_missing_or_too_small(monkeypatch) -> None:
    with pytest.raises(ConfigError, match="are too few for a map"):
        embedding.embed("tsne", np.zeros((5, 2), np.float32))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ltgen-bench\[maps\]'"):
        embedding.check_maps(("umap",))
