"""A record against what this package knows for certain: the data set, the extractors, the code."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from ltgen_bench.config import DatasetConfig
from ltgen_bench.datasets import Dataset, dataset_names, load_dataset
from ltgen_bench.errors import UnknownNameError, UserError
from ltgen_bench.features import extractor_info
from ltgen_bench.record import Record
from ltgen_bench.submission.limits import SubmissionError, shown


@functools.lru_cache(maxsize=8)
def dataset_of(name: str, data_root: Path) -> Dataset:
    """The data set whose canonical name stands in a record: `cifar10lt-0.001` is cifar10lt with imbalance 0.001.

    Raises SubmissionError for a data set that is not this package's: nobody could check its numbers.
    """
    names = [known for known in dataset_names() if known != "folder"]
    options: dict[str, object] = {"name": name}
    base, _, value = name.rpartition("-")
    if name not in names and base in names:
        try:
            number = float(value)
            options = {"name": base, "per_class": int(number)} if number >= 1 else {"name": base, "imbalance": number}
        except (ValueError, OverflowError):
            base = ""
    if options["name"] not in names:
        raise SubmissionError(
            f"data set {shown(name)} is not one that everybody can load, so its numbers cannot be checked; "
            f"known: {', '.join(names)}"
        )
    try:
        dataset = load_dataset(DatasetConfig.model_validate(options), data_root)
    except UserError as error:
        raise SubmissionError(f"data set {shown(name)}: {error}") from None
    if dataset.name != name:
        raise SubmissionError(f"data set {shown(name)} is written {dataset.name!r}")
    return dataset


def departures(record: Record, data_root: Path, *, pixels: bool) -> Iterator[str]:
    """One line for everything in which a record departs from the package's data set, extractors and clean code.

    With `pixels` the fingerprints are compared too, where the images are on disk.
    """
    dataset, stated = dataset_of(record.dataset.name, data_root), record.dataset
    for name, ours, theirs in (
        ("image_shape", list(dataset.image_shape), stated.image_shape),
        ("class_names", list(dataset.class_names), stated.class_names),
        ("class_counts", list(dataset.class_counts), stated.class_counts),
        ("groups", {k: list(v) for k, v in dataset.groups.as_dict().items() if v}, _present(stated.groups)),
        ("reference.name", dataset.reference.name, stated.reference.name),
        ("reference.class_counts", list(dataset.reference.class_counts), stated.reference.class_counts),
    ):
        if ours != theirs:
            yield f"dataset.{name} is not that of {dataset.name}"
    if pixels and not dataset.missing_files():
        if dataset.fingerprint() != stated.fingerprint:
            yield f"dataset.fingerprint is not that of {dataset.name}: it was trained on another split"
        if dataset.reference_fingerprint() != stated.reference.fingerprint:
            yield f"dataset.reference.fingerprint is not that of {dataset.reference.name}"
    for role, extractor in record.extractors.items():
        official = extractor_info(extractor.name).sha256
        if official is not None and extractor.weights_sha256 != official:
            yield f"extractors.{role}.weights_sha256 is not that of the official {extractor.name} weights"
        if extractor.dim != extractor_info(extractor.name).dim:
            yield f"extractors.{role}.dim is not that of {extractor.name}"
    if record.code.clean is False:
        yield "code.clean is false: the checkout had changes, so nobody can run the same code; commit and run again"


def unchecked(record: Record, data_root: Path) -> list[str]:
    """What could not be checked here, in words."""
    try:
        missing = dataset_of(record.dataset.name, data_root).missing_files()
    except (SubmissionError, UnknownNameError):
        return []
    return [f"the images of {record.dataset.name} are not on disk: fingerprints were not compared"] if missing else []


def _present(groups: dict[str, list[int]] | object) -> dict[str, list[int]]:
    return {name: members for name, members in groups.items() if members} if isinstance(groups, dict) else {}
