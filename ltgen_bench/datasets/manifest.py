"""What is known of a public data set without its pixels: TOML files beside this module, part of the package."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class CifarFiles:
    """The official files of CIFAR-10 or CIFAR-100, in the Python and in the binary version.

    Checksums are MD5, the only ones that are published; the binary version's single files have none.
    """

    url: str  # of the folder that holds both archives
    archive: str
    archive_md5: str
    folder: str
    train: tuple[tuple[str, str], ...]  # (file, md5)
    test: tuple[tuple[str, str], ...]
    meta: tuple[str, str]
    meta_key: str
    binary_archive: str
    binary_archive_md5: str
    binary_folder: str
    binary_train: tuple[str, ...]
    binary_test: tuple[str, ...]
    label_bytes: int  # before each image; the last one is the (fine) label


@dataclass(frozen=True)
class Manifest:
    """Names, counts, licence and citation of a public data set, and its files where it is not embedded."""

    name: str
    title: str
    image_shape: tuple[int, int, int]  # (C, H, W)
    class_names: tuple[str, ...]
    train_counts: tuple[int, ...]  # of the full set that training sets are cut from
    test_counts: tuple[int, ...]  # of the official test set, empty where there is none
    index_rule: str  # which images a cut keeps
    groups: str  # how head, medium and tail are divided
    homepage: str
    licence: str
    citation: str
    files: CifarFiles | None = None


def load_manifest(name: str) -> Manifest:
    """The manifest `manifests/<name>.toml` of this package."""
    text = resources.files(__package__).joinpath("manifests", f"{name}.toml").read_text(encoding="utf-8")
    values = tomllib.loads(text)
    files = values.get("files")
    channels, height, width = values["image_shape"]
    return Manifest(
        name=values["name"],
        title=values["title"],
        image_shape=(channels, height, width),
        class_names=tuple(values["class_names"]),
        train_counts=_counts(values["train_counts"], len(values["class_names"])),
        test_counts=_counts(values.get("test_counts", []), len(values["class_names"])),
        index_rule=values["index_rule"],
        groups=values["groups"],
        homepage=values["homepage"],
        licence=values["licence"],
        citation=values["citation"],
        files=CifarFiles(
            url=files["url"],
            archive=files["archive"],
            archive_md5=files["archive_md5"],
            folder=files["folder"],
            train=tuple(files["train"].items()),
            test=tuple(files["test"].items()),
            meta=next(iter(files["meta"].items())),
            meta_key=files["meta_key"],
            binary_archive=files["binary_archive"],
            binary_archive_md5=files["binary_archive_md5"],
            binary_folder=files["binary_folder"],
            binary_train=tuple(files["binary_train"]),
            binary_test=tuple(files["binary_test"]),
            label_bytes=files["label_bytes"],
        )
        if files
        else None,
    )


def _counts(value: int | list[int], class_count: int) -> tuple[int, ...]:
    """One number stands for the same count in every class."""
    return (value,) * class_count if isinstance(value, int) else tuple(value)
