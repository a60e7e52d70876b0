"""`check_dataset`: what a data set says of itself is true of its pixels."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ltgen_bench.core.config import DatasetConfig, build
from ltgen_bench.core.errors import MissingFileError
from ltgen_bench.core.protocol import PROTOCOLS
from ltgen_bench.datasets import DATASETS, Dataset, ImageSet, load_dataset
from ltgen_bench.testing.checklist import Checklist, CheckResult, PluginCheck, Skipped, expect


@dataclass
class DatasetTrial:
    """A data set on trial, and how to make it again."""

    make: Callable[[], Dataset]

    @cached_property
    def dataset(self) -> Dataset:
        """The data set."""
        return self.make()


def check_dataset(
    name: str, options: Mapping[str, Any] | None = None, data_root: Path = Path("data")
) -> list[CheckResult]:
    """Check the data set registered as `name`; `options` are keys of the configuration's section `dataset`.

    Checks of pixels are skipped where its files are not in `data_root`. Raises ConfigError for unknown options,
    UnknownNameError for a name that is not registered.
    """
    factory = DATASETS.get(name)
    config: DatasetConfig = build(DatasetConfig, {**(options or {}), "name": name}, "dataset")
    return check_made_dataset(name, lambda: load_dataset(config, data_root), factory)


def check_made_dataset(name: str, make: Callable[[], Dataset], owner: Any = Dataset) -> list[CheckResult]:
    """Check the data set that `make` returns; `owner` is the class or function whose code that is."""
    return Checklist(f"data set {name}", owner, DatasetTrial(make)).run(DATASET_CHECKS)


def _built(trial: DatasetTrial) -> None:
    """Its function returns a Dataset."""
    _ = trial.dataset


def _described(trial: DatasetTrial) -> None:
    """Whoever reads a table finds out what it is, and under which terms."""
    dataset = trial.dataset
    for attribute in ("name", "title", "licence"):
        value = getattr(dataset, attribute, None)
        expect(isinstance(value, str) and bool(value.strip()), f"{attribute} is {value!r}: say it in words")
    expect("/" not in dataset.name and dataset.name not in (".", ".."), f"name {dataset.name!r} has to name a folder")
    expect(
        dataset.default_protocol in PROTOCOLS,
        f"default_protocol {dataset.default_protocol!r} is not one of {', '.join(PROTOCOLS)}",
    )
    json.dumps(dataset.summary(), allow_nan=False)


def _classes_and_groups_agree(trial: DatasetTrial) -> None:
    """One count a class, and every class in one group, the larger ones in the head."""
    dataset = trial.dataset
    try:
        _ = dataset.class_counts, dataset.reference
    except MissingFileError as error:
        raise Skipped(str(error)) from error
    count = len(dataset.class_names)
    expect(len(set(dataset.class_names)) == count, "two classes have one name")
    expect(len(dataset.class_counts) == count, f"{len(dataset.class_counts)} class_counts for {count} class_names")
    expect(len(dataset.reference.class_counts) == count, f"{len(dataset.reference.class_counts)} reference counts")
    groups = list(dataset.groups.as_dict().items())
    members = sorted(index for _, group in groups for index in group)
    expect(members == list(range(count)), f"groups have to hold each of the {count} classes once, and hold {members}")
    sizes = [(name, [dataset.class_counts[index] for index in group]) for name, group in groups if group]
    for (larger, head), (smaller, tail) in itertools.pairwise(sizes):
        expect(min(head) >= max(tail), f"a class of {smaller} has more training images than one of {larger}")


def _files_are_here(trial: DatasetTrial) -> None:
    """Nothing is said of pixels that are not on disk."""
    if missing := trial.dataset.missing_files():
        raise Skipped(f"needs {missing[0]}")


def _training_images_are_as_said(trial: DatasetTrial) -> None:
    """Shape and counts of the training set."""
    dataset = trial.dataset
    train = dataset.train()
    _expect_images(dataset, train, dataset.class_counts, "train()", "class_counts")
    indices = dataset.train_indices()
    expect(len(indices) == len(train), f"{len(indices)} train_indices for {len(train)} images")


def _reference_images_are_as_said(trial: DatasetTrial) -> None:
    """Shape and counts of the reference set."""
    dataset = trial.dataset
    counts = dataset.reference.class_counts
    _expect_images(dataset, dataset.reference_set(), counts, "reference_set()", "reference.class_counts")


def _held_out_images_are_new(trial: DatasetTrial) -> None:
    """Memorisation is measured against images that were never trained on."""
    dataset = trial.dataset
    held_out = dataset.held_out()
    if held_out is None:
        raise Skipped("it has no held-out images, so memorisation is not calibrated")
    expect(held_out.images.shape[1:] == dataset.image_shape, f"held-out images have the shape {held_out.images.shape}")
    shared = len(set(held_out.hashes()) & set(dataset.train().hashes()))
    expect(shared == 0, f"{shared} held-out images are in the training set")


def _loads_the_same_again(trial: DatasetTrial) -> None:
    """The same options give the same images, in the same order."""
    first = trial.dataset
    again = trial.make()
    expect(first.fingerprint() == again.fingerprint(), "its training set is another one each time: fix the draw's seed")
    expect(first.reference_fingerprint() == again.reference_fingerprint(), "its reference set is another one each time")


def _expect_images(dataset: Dataset, images: ImageSet, counts: tuple[int, ...], what: str, said: str) -> None:
    shape = images.images.shape[1:]
    expect(shape == dataset.image_shape, f"{what} has images of {shape}, and image_shape says {dataset.image_shape}")
    found = tuple(int(count) for count in images.counts(dataset.class_count))
    expect(found == tuple(counts), f"{what} has {found} images by class, and {said} says {tuple(counts)}")


DATASET_CHECKS = [
    PluginCheck("its function returns a Dataset", _built, essential=True),
    PluginCheck("name, title, licence and protocol are said", _described),
    PluginCheck("classes, counts and groups agree", _classes_and_groups_agree),
    PluginCheck("its files are here", _files_are_here, essential=True),
    PluginCheck("the training images are as said", _training_images_are_as_said),
    PluginCheck("the reference images are as said", _reference_images_are_as_said),
    PluginCheck("no held-out image is in the training set", _held_out_images_are_new),
    PluginCheck("loaded again, it is the same", _loads_the_same_again),
]
"""The checks of a data set, in their order."""
