"""A data set as a plug-in: `ltgen-bench run --plugin my_data.py --dataset my-blobs --protocol offline-1k.v2`."""

import numpy as np

from ltgen_bench.datasets import DATASETS, ArrayDataset

CLASSES = ("red", "green", "blue")


def images(counts, seed):
    """Coloured blobs, uint8 (N, 3, 32, 32), and their labels; read your own file here."""
    random, labels = np.random.default_rng(seed), np.repeat(np.arange(3), counts)
    y, x = np.mgrid[:32, :32]
    centres, radii = random.uniform(8, 24, (len(labels), 2, 1, 1)), random.uniform(3, 8, (len(labels), 1, 1))
    inside = (y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2 < radii**2
    return np.where(inside[:, None], np.eye(3)[labels][..., None, None] * 200 + 40, 30).astype(np.uint8), labels


@DATASETS.register("my-blobs")
def my_blobs(options, data_root):
    """Blobs of three colours, 32x32, long-tailed: 300, 60 and 12 a class."""
    return ArrayDataset(options, train=images((300, 60, 12), 1), reference=images((100,) * 3, 2), class_names=CLASSES)
