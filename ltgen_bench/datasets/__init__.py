"""Data sets: what is trained on and what generated images are compared with.

A data set gives a training `ImageSet` (uint8 images, labels), a named reference `ImageSet`, class names and counts,
head / medium / tail groups, and fingerprints. This package imports numpy only; torchvision, scikit-learn and Pillow
are imported when pixels are read.
"""

from __future__ import annotations

from ltgen_bench.datasets.arrays import ArrayDataset
from ltgen_bench.datasets.base import Dataset, Groups, ImageSet, ReferenceInfo, Tick
from ltgen_bench.datasets.base import Tell as Progress
from ltgen_bench.datasets.catalogue import (
    DATASETS,
    IMAGE_FOLDERS,
    DatasetFactory,
    dataset_names,
    describe,
    load_dataset,
    named_options,
)
from ltgen_bench.datasets.overlap import not_trained_on
from ltgen_bench.datasets.verify import Check, verify_dataset

__all__ = [
    "DATASETS",
    "IMAGE_FOLDERS",
    "ArrayDataset",
    "Check",
    "Dataset",
    "DatasetFactory",
    "Groups",
    "ImageSet",
    "Progress",
    "ReferenceInfo",
    "Tick",
    "dataset_names",
    "describe",
    "load_dataset",
    "named_options",
    "not_trained_on",
    "verify_dataset",
]
