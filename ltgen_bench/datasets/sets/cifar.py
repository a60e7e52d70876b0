"""CIFAR-10 and CIFAR-100: balanced, long-tailed at any imbalance, and balanced subsets (Krizhevsky 2009)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ltgen_bench.core.storage import MissingFile
from ltgen_bench.datasets.base import Dataset, ImageSet, Indices, ReferenceInfo, Tell, take
from ltgen_bench.datasets.cut import Cut, refuse_uncut, tail_size
from ltgen_bench.datasets.longtail import exponential_counts, select_longtail_indices
from ltgen_bench.datasets.manifest import Manifest, load_manifest
from ltgen_bench.datasets.options import CUT_OPTIONS, check_imbalance, check_per_class, refuse_unknown_options, suffix
from ltgen_bench.datasets.sets import cifar_files

if TYPE_CHECKING:
    from ltgen_bench.core.config import DatasetConfig

CIFAR_IMBALANCE = 0.01


class Cifar(Dataset):
    """A CIFAR training set: the whole, a long-tailed cut (`imbalance`), or a balanced subset (`per_class`).

    `manifest` says which CIFAR and how its files look; `data_root` is the folder that holds them. At most one of
    `imbalance` and `per_class` is given. Cuts follow the shared index rule with seed 0, or that of `cut`, so
    `cifar10lt-0.001` is contained in `cifar10lt`. The reference is the full balanced training set, as in the papers,
    and the held-out images are the official test set.
    """

    def __init__(
        self,
        manifest: Manifest,
        data_root: Path,
        imbalance: float | None = None,
        per_class: int | None = None,
        cut: Cut | None = None,
    ):
        self._cut = cut = cut or Cut()
        self._manifest, self._data_root = manifest, data_root
        self.class_names = manifest.class_names
        if imbalance is not None:
            name = f"{manifest.name}lt"
            self.name = name if imbalance == CIFAR_IMBALANCE else f"{name}-{suffix(imbalance)}"
            self.title = f"{manifest.title}, long-tailed with imbalance {suffix(imbalance)}"
            counts = exponential_counts(manifest.train_counts[0], imbalance, len(self.class_names))
            self.class_counts = cut.by_class(counts)
        elif per_class is not None:
            self.name = f"{manifest.name}-{per_class}"
            self.title = f"{manifest.title}, {per_class} a class"
            self.class_counts = (per_class,) * len(self.class_names)
        else:
            self.name, self.title, self.class_counts = manifest.name, manifest.title, manifest.train_counts
        self._whole = imbalance is None and per_class is None
        self.name, self.title = self.name + cut.suffix, self.title + cut.words
        self.groups = cut.groups(len(self.class_names))
        if imbalance is not None:
            self.control = f"{manifest.name}-{tail_size(self.class_counts, self.groups.few)}{cut.suffix}"
        self.reference = ReferenceInfo(
            f"{manifest.name}-train", manifest.train_counts, f"all {sum(manifest.train_counts):,} training images"
        )
        self.horizontal_flip = True
        self.default_protocol = "cifar-50k.v1"
        self.licence, self.citation = manifest.licence, manifest.citation
        self.manifest_name, self.index_rule = manifest.name, manifest.index_rule
        if cut.seed:
            self.index_rule += f"; here with seed {cut.seed}"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, 32, 32)."""
        return self._manifest.image_shape

    def missing_files(self) -> list[MissingFile]:
        """The archive, unless it or its unpacked folder (either version) lies in the data root."""
        return cifar_files.missing(self._manifest, self._data_root)

    def fetch(self, progress: Tell | None = None) -> None:
        """Download (through torchvision, MD5 checked) and unpack where needed, and check every file.

        Raises MissingFileError within seconds when there is no network, DataError when a file is not the official one.
        """
        cifar_files.fetch(self._manifest, self._data_root, progress)

    def check_files(self, tell: Tell) -> list[tuple[str, str]]:
        """Check every official file by its MD5 (Python version), or by size (binary version)."""
        super().check_files(tell)
        cifar_files.fetch(self._manifest, self._data_root, tell)
        return [("official files", "as published")]

    @cached_property
    def _source(self) -> ImageSet:
        return cifar_files.read(self._manifest, self._data_root, train=True)

    def load_train(self) -> tuple[Indices, ImageSet]:
        """The images that the index rule keeps, class by class; the whole set stays in its official order."""
        source = self._source
        if self._whole:
            return np.arange(len(source), dtype=np.int64), source
        indices = select_longtail_indices(source.labels, self.class_counts, self._cut.seed)
        return indices, take(source.images, source.labels, indices)

    def load_reference(self) -> ImageSet:
        """The full balanced training set."""
        return self._source

    def load_held_out(self) -> ImageSet:
        """The official test set."""
        return cifar_files.read(self._manifest, self._data_root, train=False)


def _balanced(options: DatasetConfig, data_root: Path) -> Cifar:
    refuse_unknown_options(options, ("per_class", *CUT_OPTIONS), f"; long-tailed sets are made from '{options.name}lt'")
    manifest = load_manifest(options.name)
    if options.per_class is not None:
        check_per_class(options.per_class, min(manifest.train_counts), options.name)
    refuse_uncut(options, options.per_class is not None)
    return Cifar(manifest, data_root, per_class=options.per_class, cut=Cut.of(options))


def _longtail(options: DatasetConfig, data_root: Path) -> Cifar:
    balanced = options.name.removesuffix("lt")
    refuse_unknown_options(options, ("imbalance", *CUT_OPTIONS), f"; balanced subsets are made from {balanced!r}")
    imbalance = check_imbalance(CIFAR_IMBALANCE if options.imbalance is None else options.imbalance)
    return Cifar(load_manifest(balanced), data_root, imbalance=imbalance, cut=Cut.of(options))


def cifar10(options: DatasetConfig, data_root: Path) -> Cifar:
    """`cifar10`: all 50,000 training images, or `per_class` of each class."""
    return _balanced(options, data_root)


def cifar10lt(options: DatasetConfig, data_root: Path) -> Cifar:
    """`cifar10lt`: imbalance 0.01 (12,406 images) or as `options` say."""
    return _longtail(options, data_root)


def cifar100(options: DatasetConfig, data_root: Path) -> Cifar:
    """`cifar100`: all 50,000 training images with fine labels, or `per_class` of each class."""
    return _balanced(options, data_root)


def cifar100lt(options: DatasetConfig, data_root: Path) -> Cifar:
    """`cifar100lt`: imbalance 0.01 (10,847 images) or as `options` say."""
    return _longtail(options, data_root)
