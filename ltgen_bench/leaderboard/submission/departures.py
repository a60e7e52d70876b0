"""A record against what this package knows for certain: the data set, the extractors, the code."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from ltgen_bench.core.config import DatasetConfig, build
from ltgen_bench.core.errors import MissingFileError, UserError
from ltgen_bench.core.plain_text import shown
from ltgen_bench.datasets import IMAGE_FOLDERS, Dataset, dataset_names, load_dataset, named_options
from ltgen_bench.datasets.unseen import unseen_reference
from ltgen_bench.evaluation.record import Record
from ltgen_bench.features.catalogue import extractor_info
from ltgen_bench.features.info import distance_label
from ltgen_bench.leaderboard.submission.untrusted import SubmissionError


def dataset_of(name: str, data_root: Path) -> Dataset:
    """The data set whose canonical name stands in a record: `cifar10lt-0.001` is cifar10lt with imbalance 0.001.

    Raises SubmissionError for a data set that is not this package's: nobody could check its numbers.
    """
    if name.startswith("folder-"):
        return _loaded(name, data_root)  # its images may have changed since they were last looked at
    return _kept(name, data_root)


@functools.lru_cache(maxsize=8)
def _kept(name: str, data_root: Path) -> Dataset:
    return _loaded(name, data_root)


def _loaded(name: str, data_root: Path) -> Dataset:
    names = [known for known in dataset_names() if known not in IMAGE_FOLDERS]
    options = named_options(name)
    if options["name"] not in names:
        hint = "where it is your own folder, give its --path" if name.startswith("folder-") else ""
        raise SubmissionError(
            f"data set {shown(name)} is not one that everybody can load, so its numbers cannot be checked; "
            + (hint or f"known: {', '.join(names)}")
        )
    try:
        dataset = load_dataset(build(DatasetConfig, options, "dataset"), data_root)
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
        ("groups", {k: list(v) for k, v in dataset.groups.as_dict().items() if v}, _present(stated.groups)),
        *_counts(dataset, record),
    ):
        if ours != theirs:
            yield f"dataset.{name} is not that of {dataset.name}"
    if pixels and not dataset.missing_files():
        if dataset.fingerprint() != stated.fingerprint:
            yield f"dataset.fingerprint is not that of {dataset.name}: it was trained on another split"
        papers = stated.papers_reference or stated.reference
        if dataset.reference_fingerprint() != papers.fingerprint:
            yield f"dataset.reference.fingerprint is not that of {dataset.reference.name}"
        if stated.papers_reference is not None:
            info, images = unseen_reference(dataset)
            ours = (info.name, list(info.class_counts), images.fingerprint())
            if ours != (stated.reference.name, stated.reference.class_counts, stated.reference.fingerprint):
                yield f"dataset.reference is not {info.name}"
    yield from _extractors(record)
    yield from _run(record, data_root)
    if record.code.clean is False:
        yield "code.clean is false: the checkout had changes, so nobody can run the same code; commit and run again"


def _counts(dataset: Dataset, record: Record) -> list[tuple[str, object, object]]:
    """What is compared of a data set whose class counts are known: those of `celeba5` follow from its files."""
    try:
        counts, reference = list(dataset.class_counts), dataset.reference
    except MissingFileError:
        return []
    stated = record.dataset
    papers = stated.papers_reference or stated.reference
    return [
        ("class_counts", counts, stated.class_counts),
        ("reference.name", reference.name, papers.name),
        ("reference.class_counts", list(reference.class_counts), papers.class_counts),
    ]


def _extractors(record: Record) -> Iterator[str]:
    protocol = record.protocol
    for role, name in (("features", protocol.extractor), ("manifold", protocol.manifold_extractor)):
        stated = record.extractors.get(role)  # type: ignore[call-overload]
        if stated is None or stated.name != name:
            yield f"extractors.{role} is not the protocol's {name}"
            continue
        info = extractor_info(name)
        for key, ours in (
            ("weights_sha256", info.sha256 or stated.weights_sha256),
            ("version", info.version),
            ("dim", info.dim),
            ("precision", protocol.extractor_precision),
            ("label", distance_label(info, stated.weights_sha256, protocol.extractor_precision)),
        ):
            if getattr(stated, key) != ours:
                yield f"extractors.{role}.{key} is not that of the official {name}"


def _run(record: Record, data_root: Path) -> Iterator[str]:
    """What a record of a run says of its training, against its data set and protocol."""
    config = record.method.config
    if config is not None:
        options = config.get("dataset") or {}
        try:  # a folder is known by its name, and a path in a record is not followed
            own = isinstance(options, dict) and options.get("name") in IMAGE_FOLDERS
            stated: DatasetConfig = build(DatasetConfig, options, "dataset")
            trained_on = record.dataset.name if own else load_dataset(stated, data_root).name
        except UserError as error:
            trained_on = str(error)
        if trained_on != record.dataset.name:
            yield f"method.config.dataset is not {record.dataset.name}"
    if record.protocol.training_images is not None:
        if record.training is None:
            yield f"training is null, and protocol {record.protocol.name} counts every image seen"
        elif config is not None and (config.get("training") or {}).get("init_sha256") is not None:
            yield f"training started from a checkpoint, and protocol {record.protocol.name} counts every image seen"


def unchecked(record: Record, data_root: Path) -> list[str]:
    """What could not be checked here, in words."""
    dataset = dataset_of(record.dataset.name, data_root)
    if not dataset.missing_files():
        return []
    what = "fingerprints" if _counts(dataset, record) else "class counts and fingerprints"
    return [f"the images of {record.dataset.name} are not on disk: {what} were not compared"]


def _present(groups: dict[str, list[int]] | object) -> dict[str, list[int]]:
    return {name: members for name, members in groups.items() if members} if isinstance(groups, dict) else {}
