"""ImageNet-LT (Liu et al. 2019) at 64 px, from a user's ImageNet folders and the official lists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ltgen_bench.core.errors import DataError
from ltgen_bench.datasets.base import ImageSet, Tell
from ltgen_bench.datasets.image_folders import plain
from ltgen_bench.datasets.image_lists import ListEntry, find, parse, read_text
from ltgen_bench.datasets.prepared import Plan
from ltgen_bench.datasets.prepared_dataset import PreparedDataset, refuse_options
from ltgen_bench.datasets.source_manifest import load_source_manifest

if TYPE_CHECKING:
    from ltgen_bench.core.config import DatasetConfig

TRAIN_LIST, VAL_LIST = "ImageNet_LT_train.txt", "ImageNet_LT_val.txt"
_IMAGE = re.compile(r"train/(n\d{8})/\1_\d{1,9}\.JPEG")
_LIST_PLACES = (".", "ImageNet_LT", "..", "../ImageNet_LT")
_IMAGE_PLACES = (".", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "ILSVRC2012")


class ImageNetLT(PreparedDataset):
    """115,846 training images in the order of the official list; the reference is the 20k validation list.

    The validation list's images come from ILSVRC train and are in no training list, so they are held out as well.
    """

    def plan(self, source: Path, tell: Tell) -> Plan:
        """Both lists, checked line by line, and where ImageNet's train folder holds their images."""
        train = self._entries(source, TRAIN_LIST, tell)
        reference = self._entries(source, VAL_LIST, tell)
        names = [match.group() for match, _ in train + reference]
        if len(set(names)) != len(names):
            seen: set[str] = set()
            twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise DataError(f"{twice} stands twice in {TRAIN_LIST} and {VAL_LIST}; they are not the official lists")
        train_folder = find(source, _IMAGE_PLACES, "train", self.name, "https://image-net.org/download.php")
        total = len(names)
        return Plan(
            names=names,
            files=[train_folder.parent / name for name in names],
            labels=np.array([label for _, label in train + reference], np.int64),
            indices=np.concatenate([np.arange(len(train)), np.arange(len(reference))]).astype(np.int64),
            train=(0, len(train)),
            reference=(len(train), total),
        )

    def _entries(self, source: Path, name: str, tell: Tell) -> list[ListEntry]:
        official = self.manifest.file(name)
        path = find(source, _LIST_PLACES, name, self.name, official.source)
        entries = parse(path, read_text(path, official, tell), _IMAGE, self.class_count, official.lines)
        for number, (match, label) in enumerate(entries, start=1):
            if match.group(1) != self.class_names[label].split()[0]:
                raise DataError(
                    f"{plain(path)}, line {number}: {match.group(1)} has label {label}, which is "
                    f"{self.class_names[label]}; it is not the official list"
                )
        return entries

    def load_held_out(self) -> ImageSet:
        """The validation images, which no training set contains."""
        return self.reference_set()


def imagenet_lt(options: DatasetConfig, data_root: Path) -> ImageNetLT:
    """`imagenet-lt`: the official set; it takes no options."""
    refuse_options(options)
    return ImageNetLT(load_source_manifest("imagenet-lt"), data_root)
