"""What is known of a data set that is prepared from a user's own download: `manifests/<name>.toml`, in the package."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class SourceFile:
    """An official file that a data set is made from; `md5` is empty where it is not known here."""

    name: str
    md5: str
    lines: int  # entries that it holds, 0 where that is not known
    source: str  # where to get it


@dataclass(frozen=True)
class SourceManifest:
    """Names, counts, rules, checksums, licence and citation of a data set, without any pixel.

    `class_counts` is empty where only the user's files tell; `reference_per_class` is 0 in the same case.
    """

    name: str
    title: str
    image_shape: tuple[int, int, int]  # (C, H, W)
    class_names: tuple[str, ...]  # from head to tail, or in the official numbering
    class_counts: tuple[int, ...]
    groups: str  # "counts" (Liu et al. 2019) or "thirds" of the classes as listed
    horizontal_flip: bool
    default_protocol: str
    index_rule: str  # which images are in the set
    pixel_rule: str  # how they are cropped and resized
    reference_name: str
    reference_per_class: int
    reference_description: str
    source_folder: str  # where under the data root the download is looked for
    source_layout: str  # what must lie there, in words
    files: tuple[SourceFile, ...]
    facts: dict[str, int]  # further numbers that are checked, such as files that are listed twice
    homepage: str
    licence: str
    citation: str

    def file(self, name: str) -> SourceFile:
        """The official file called `name`."""
        return next(file for file in self.files if file.name == name)


def load_source_manifest(name: str) -> SourceManifest:
    """The manifest `manifests/<name>.toml` of this package."""
    values = _read(name)
    channels, height, width = values["image_shape"]
    reference, source = values["reference"], values["source"]
    return SourceManifest(
        name=values["name"],
        title=values["title"],
        image_shape=(channels, height, width),
        class_names=tuple(values["class_names"]),
        class_counts=tuple(values.get("class_counts", ())),
        groups=values["groups"],
        horizontal_flip=values["horizontal_flip"],
        default_protocol=values["default_protocol"],
        index_rule=values["index_rule"],
        pixel_rule=values["pixel_rule"],
        reference_name=reference["name"],
        reference_per_class=reference["per_class"],
        reference_description=reference["description"],
        source_folder=source["folder"],
        source_layout=source["layout"],
        files=tuple(
            SourceFile(file["name"], file.get("md5", ""), file.get("lines", 0), file["source"])
            for file in values.get("files", [])
        ),
        facts=dict(values.get("facts", {})),
        homepage=values["homepage"],
        licence=values["licence"],
        citation=values["citation"],
    )


def published_hashes(manifest: str, dataset: str) -> dict[str, str]:
    """Hashes that the manifest states for the data set called `dataset`; empty where none is known.

    Keys: `indices` (sha256 over the training images' positions in their source), `fingerprint`,
    `reference_fingerprint`. Empty too for a manifest that is not there, such as that of a user's own images.
    """
    if not resources.files(__package__).joinpath("manifests", f"{manifest}.toml").is_file():
        return {}
    hashes: dict[str, str] = _read(manifest).get("hashes", {}).get(dataset, {})
    return hashes


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath("manifests", f"{name}.toml").read_text("utf-8"))
