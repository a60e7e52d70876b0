"""A feature extractor from a file, as `ltgen_bench/features/README.md` describes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli, refused

PLUGIN = """
from pathlib import Path

import torch
from ltgen_bench.features.base import Extractor, ExtractorOutput
from ltgen_bench.features.catalogue import EXTRACTORS, ExtractorInfo
from ltgen_bench.features.weights import read_state


@EXTRACTORS.register("two-means")
class TwoMeans(Extractor):
    name = "two-means"
    dim = 2
    info = ExtractorInfo(
        name="two-means", title="means of the upper and the lower half, scaled", dim=2, classes=None, licence="none",
        source="two_means.safetensors", file_name="two_means.safetensors", sha256=None, size=None,
    )

    @classmethod
    def load(cls, weights, *, weights_sha256, device, precision):
        extractor = cls(weights_sha256=weights_sha256, device=device, precision=precision)
        extractor.scale = read_state(weights, name=cls.name)["scale"]
        return extractor

    def compute(self, images):
        halves = images.float().unflatten(2, (2, -1)).mean((1, 3, 4))
        return ExtractorOutput(halves * self.scale, None)
"""


def test_an_extractor_from_a_file(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.numpy import save_file
    from scipy.linalg import sqrtm
    from sklearn.datasets import load_digits

    from ltgen_bench.core.config import DatasetConfig
    from ltgen_bench.datasets import load_dataset
    from ltgen_bench.features import EXTRACTORS

    monkeypatch.setattr(EXTRACTORS, "_entries", dict(EXTRACTORS._entries))  # the other tests do not know it

    (tmp_path / "mine.py").write_text(PLUGIN)
    save_file({"scale": np.array([1.0, 3.0], np.float32)}, tmp_path / "mine.safetensors")
    random = np.random.default_rng(0)
    images = (load_digits().images[:200, ..., None] * random.uniform(8, 15, (200, 1, 1, 1))).astype(np.uint8)
    np.savez(tmp_path / "s.npz", arr_0=images, labels=np.arange(200) % 10)
    options = [
        "s.npz",
        "-d",
        "digits-lt",
        "-p",
        "digits-1k.v1",
        "--features",
        "two-means",
        "--json",
        "-q",
        "--set",
        "protocol.prd_runs=1",
    ]
    assert "two-means" in refused(cli("evaluate", *options))
    code, out, err = cli(
        "evaluate", *options, "--plugin", "mine.py", "--weights", f"two-means={tmp_path / 'mine.safetensors'}"
    )
    assert code == 0, err
    record = json.loads(out)
    assert record["extractors"]["features"]["name"] == "two-means"
    assert record["extractors"]["features"]["label"].startswith("FD[two-means")

    def statistics(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        halves = np.stack([pixels[:, :, :4].mean((1, 2, 3)), 3 * pixels[:, :, 4:].mean((1, 2, 3))], axis=1)
        return halves.mean(0), np.cov(halves, rowvar=False)

    reference = load_dataset(DatasetConfig(name="digits-lt"), tmp_path / "data").reference_set().images
    (m1, s1), (m2, s2) = statistics(images.transpose(0, 3, 1, 2).astype(float)), statistics(reference.astype(float))
    expected = np.square(m1 - m2).sum() + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))
    assert record["metrics"]["fid"] == pytest.approx(expected, rel=1e-4)  # float32 means
