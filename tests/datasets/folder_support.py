"""Folders of class folders for tests."""

import numpy as np
import pytest
from PIL import Image

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import DataError
from ltgen_bench.datasets import load_dataset


def picture(seed, size=(6, 6), mode="RGB"):
    channels = {"RGB": (3,), "L": (), "RGBA": (4,), "LA": (2,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    return Image.fromarray(pixels, mode=None)


def fill(root, counts, size=(6, 6), mode="RGB", start=0):
    """Class folders with that many PNG files each, all different."""
    seed = start
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture(seed, size, mode).save(root / name / f"{i:03d}.png")
            seed += 1
    return root


def load(path, data_root=None, **options):
    return load_dataset(DatasetConfig(name="folder", path=path, **options), data_root or path.parent / "root")


def refused(message, act, kind=DataError):
    with pytest.raises(kind, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)
