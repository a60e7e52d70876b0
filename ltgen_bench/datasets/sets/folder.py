"""Anybody's own images: a folder of class folders, long-tailed as it is or cut to any imbalance."""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ltgen_bench.core.errors import ConfigError, DataError
from ltgen_bench.datasets.base import Dataset, Groups, Images, ImageSet, Indices, Labels, ReferenceInfo, as_counts, take
from ltgen_bench.datasets.cut import Cut
from ltgen_bench.datasets.decoding import load_images
from ltgen_bench.datasets.equal_files import equal_files
from ltgen_bench.datasets.image_folders import ClassFiles, class_order, plain, refuse_other_classes, scan, unused
from ltgen_bench.datasets.longtail import (
    groups_by_thirds,
    largest_exponential_counts,
    largest_pareto_counts,
    mean_exponential_counts,
    select_balanced_indices,
    select_longtail_indices,
)
from ltgen_bench.datasets.options import (
    CUT_OPTIONS,
    check_imbalance,
    check_pareto_alpha,
    check_per_class,
    refuse_unknown_options,
    suffix,
)
from ltgen_bench.datasets.small import own_recipe

if TYPE_CHECKING:
    from ltgen_bench.core.config import DatasetConfig

MAX_IMAGE_SIZE = 1024
_NO_GROUPS = Groups((), (), (), "every class has as many images: there is no head and no tail")
_PLAIN_NAMES = ("train", "training", "images", "imgs", "data", "dataset")  # say nothing without their parent's name


class Folder(Dataset):
    """Images in `path`/<class name>/*.{png,jpg,jpeg,webp,bmp}.

    Classes are numbered from head to tail: by falling image count with ties by name, or as `path`/classes.txt says.
    The reference is `reference_path`, a folder with the same class names, or, without it, a share of
    `reference_fraction` of each class (at least one image) that `split_seed` splits off before anything is cut. What is
    left is the training set, as it is, or cut by the shared index rule as `cut` says (by default with `split_seed`, the
    classes from head to tail by number): exponentially to `imbalance`,
    by a Pareto distribution of power `pareto_alpha` (truncated at `imbalance` times the head), or to `per_class`
    images. The head of an artificial imbalance is as large as the classes allow; with `mean_head` it is the mean
    size of a class, and classes are numbered by name.

    The pixels come from `decoding.load_images`, which explains `image_size`, and are cached under
    `data_root`/.cache/folder. Raises DataError for folders that cannot be used as soon as it is made, and for images
    that cannot be used when pixels are read.
    """

    def __init__(
        self,
        path: Path,
        data_root: Path,
        *,
        reference_path: Path | None = None,
        image_size: int | None = None,
        imbalance: float | None = None,
        per_class: int | None = None,
        pareto_alpha: float | None = None,
        reference_fraction: float = 0.2,
        split_seed: int = 0,
        cut: Cut | None = None,
        mean_head: bool = False,
    ):
        cut = cut or Cut(seed=split_seed)
        self._cache, self._image_size, self._path = data_root / ".cache" / "folder", image_size, path
        self.place = path.resolve()  # two folders may have the same name
        classes = scan(path)
        self._mean_head = mean_head
        self.class_names = class_order(path, classes, by_name=mean_head)
        self._files = [file for name in self.class_names for file in classes[name]]
        self._labels = _labels(classes, self.class_names)
        if reference_path is None:
            rest, self._reference_indices = _split(
                self._labels, self.class_names, path, reference_fraction, split_seed, self._equal
            )
            described = f"{reference_fraction:g} of each class of {plain(path)}, split off with seed {split_seed}"
        else:
            itself = reference_path.resolve() == path.resolve()  # then nothing is listed or decoded twice
            other = classes if itself else scan(reference_path)
            refuse_other_classes(tuple(other), self.class_names, plain(reference_path), plain(path))
            rest = np.arange(len(self._labels), dtype=np.int64)
            if itself:
                self._reference_indices = rest
            else:
                self._reference_indices = np.arange(sum(map(len, other.values())), dtype=np.int64) + len(rest)
                self._files += [file for name in self.class_names for file in other[name]]
                self._labels = np.concatenate([self._labels, _labels(other, self.class_names)])
            described = f"all images of {plain(reference_path)}"
        self._indices = self._chosen(rest, imbalance, per_class, pareto_alpha, cut)
        self.class_counts = self._counts(self._indices)

        own_cut = Cut(cut.order, 0 if cut.seed == split_seed else cut.seed)  # what the split seed does not say
        self.name = _name(path, imbalance, per_class, pareto_alpha, image_size, mean_head) + own_cut.suffix
        self.title = f"images in {plain(path)}{own_cut.words}"
        order = cut.head_to_tail(len(self.class_names))
        head_to_tail = sorted(order, key=lambda i: -self.class_counts[i])
        balanced = len(set(self.class_counts)) == 1
        self.groups = _NO_GROUPS if balanced else groups_by_thirds(len(self.class_names), head_to_tail)
        self.reference = ReferenceInfo(
            f"{slug(path)}-split" if reference_path is None else f"folder-{slug(reference_path)}",
            self._counts(self._reference_indices),
            described,
        )
        self.index_rule = "as they are" if len(self._indices) == len(rest) else f"shared index rule, seed {cut.seed}"
        self.horizontal_flip, self.default_protocol = True, "images-50k.v2"
        self.licence = "that of the images in the folder"
        self.citation = ""
        self.recipe = own_recipe(self.total)

    def _chosen(
        self, rest: Indices, imbalance: float | None, per_class: int | None, pareto_alpha: float | None, cut: Cut
    ) -> Indices:
        """The training images among the positions `rest`."""
        labels = self._labels[rest]
        available = as_counts(np.bincount(labels, minlength=len(self.class_names)))
        in_order = [available[c] for c in cut.head_to_tail(len(available))]
        if pareto_alpha is not None:
            counts = cut.by_class(largest_pareto_counts(in_order, pareto_alpha, imbalance))
            return rest[select_longtail_indices(labels, counts, cut.seed)]
        if imbalance is not None:
            counts_of = mean_exponential_counts if self._mean_head else largest_exponential_counts
            counts = cut.by_class(counts_of(in_order, imbalance))
            return rest[select_longtail_indices(labels, counts, cut.seed)]
        if per_class is not None:
            check_per_class(per_class, min(available), "folder")
            return rest[select_balanced_indices(labels, per_class, len(available), cut.seed)]
        return rest

    def _counts(self, indices: Indices) -> tuple[int, ...]:
        return as_counts(np.bincount(self._labels[indices], minlength=len(self.class_names)))

    @cached_property
    def _equal(self) -> list[list[int]]:
        return equal_files(self._files)

    def remarks(self) -> list[str]:
        """What is not used, and which images there are more than once; reads files of equal size."""
        found = [f"not used: {', '.join(words)}" for words in [unused(self._path)] if words]
        twice = self._equal
        if twice:
            classes = sum(len(set(self._labels[positions].tolist())) > 1 for positions in twice)
            held = set(self._reference_indices.tolist())
            trained = set(self._indices.tolist())
            both = sum(bool(held & set(p)) and bool(trained & set(p)) for p in twice)
            images = sum(map(len, twice))
            words = f"{len(twice):,} images occur more than once ({images:,} files)"
            words += f"; {classes:,} of them in several classes" if classes else ""
            words += f"; {both:,} of them both in training and reference" if both else ""
            found.append(words)
        return found

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W); decodes the images when they are not cached."""
        _, channels, height, width = self._images.shape
        return channels, height, width

    @cached_property
    def _images(self) -> Images:
        return load_images(self._files, self._image_size, self._cache)

    def load_train(self) -> tuple[Indices, ImageSet]:
        """The training images; an uncut folder with a reference folder stays a memory map."""
        return self._indices, take(self._images, self._labels, self._indices)

    def load_reference(self) -> ImageSet:
        """The reference folder's images, or those split off."""
        return take(self._images, self._labels, self._reference_indices)

    def load_held_out(self) -> ImageSet | None:
        """The reference images whose pixels are those of no training image; None when none is left."""
        seen = {_pixels_hash(image) for image in self.train().images}
        reference = self.reference_set()
        new = np.flatnonzero([_pixels_hash(image) not in seen for image in reference.images])
        return take(reference.images, reference.labels, new) if len(new) else None


def slug(path: Path) -> str:
    """A folder's name as a part of a run folder's: lower-case letters, digits and hyphens."""
    resolved = path.resolve()
    names = [resolved.parent.name, resolved.name] if resolved.name.lower() in _PLAIN_NAMES else [resolved.name]
    return "-".join(part for name in names if (part := re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"))) or "images"


def _name(
    path: Path,
    imbalance: float | None,
    per_class: int | None,
    pareto_alpha: float | None,
    image_size: int | None,
    mean_head: bool,
) -> str:
    """The canonical name without what another cut adds."""
    return "-".join(
        [f"folder-{slug(path)}"]
        + ([f"pareto{suffix(pareto_alpha)}"] if pareto_alpha is not None else [])
        + (["mean"] if mean_head else [])
        + ([suffix(imbalance)] if imbalance is not None else [])
        + ([str(per_class)] if per_class is not None else [])
        + ([f"{image_size}px"] if image_size is not None else [])
    )


def _labels(classes: ClassFiles, order: tuple[str, ...]) -> Labels:
    return np.repeat(np.arange(len(order), dtype=np.int64), [len(classes[name]) for name in order])


def _split(
    labels: Labels, names: tuple[str, ...], path: Path, fraction: float, seed: int, equal: list[list[int]]
) -> tuple[Indices, Indices]:
    """Positions of training and of reference images, each sorted; the reference gets floor(fraction n), at least 1.

    `equal` files are never divided: those of one class are drawn together, and those in several classes are trained on.
    """
    together = {position: same for same in equal for position in same}
    several = {position for same in equal if len(set(labels[same].tolist())) > 1 for position in same}
    random = np.random.RandomState(seed)  # legacy: its stream is frozen for good
    share = Fraction(repr(fraction))
    reference = []
    for label, name in enumerate(names):
        positions = np.flatnonzero(labels == label)
        if len(positions) < 2:
            raise DataError(
                f"class folder {plain(path / name)} has only one image; a reference can be split off from two on, "
                f"or give a reference folder"
            )
        random.shuffle(positions)
        wanted = max(1, int(share * len(positions)))
        chosen: list[int] = []
        for position in positions.tolist():
            own = together.get(position, [position])
            if position not in several and position not in chosen and len(chosen) + len(own) <= max(wanted, len(own)):
                chosen += own
            if len(chosen) >= wanted:
                break
        if not 0 < len(chosen) < len(positions):
            raise DataError(
                f"the images of class folder {plain(path / name)} are equal to each other: a reference cannot be split "
                "off; give a reference folder"
            )
        reference.append(np.array(chosen, np.int64))
    held = np.sort(np.concatenate(reference))
    return np.setdiff1d(np.arange(len(labels), dtype=np.int64), held), held


def _pixels_hash(image: Images) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()


def folder(options: DatasetConfig, data_root: Path) -> Folder:
    """`folder`: the images in `options.path`; see `Folder` for the options."""
    known = (
        "path",
        "reference_path",
        "image_size",
        "imbalance",
        "head",
        "per_class",
        "pareto_alpha",
        "reference_fraction",
        "split_seed",
        *CUT_OPTIONS,
    )
    refuse_unknown_options(options, known)
    if options.path is None:
        raise ConfigError("data set 'folder' needs a path: a folder that holds a folder of images for each class")
    if options.imbalance is not None and options.per_class is not None:
        raise ConfigError("data set 'folder' takes an imbalance or per_class, not both")
    if options.pareto_alpha is not None:
        if options.per_class is not None:
            raise ConfigError("data set 'folder' takes pareto_alpha or per_class, not both")
        check_pareto_alpha(options.pareto_alpha)
    if options.head == "mean" and (options.imbalance is None or options.pareto_alpha is not None):
        raise ConfigError("data set 'folder' takes head = mean with an exponential imbalance")
    if options.imbalance is not None:
        check_imbalance(options.imbalance)
    if options.image_size is not None and not 1 <= options.image_size <= MAX_IMAGE_SIZE:
        raise ConfigError(f"image_size must be 1 to {MAX_IMAGE_SIZE} pixels, got {options.image_size}")
    if not 0 < options.reference_fraction < 1:
        raise ConfigError(f"reference_fraction must lie between 0 and 1, got {options.reference_fraction}")
    if options.reference_path is not None and options.reference_fraction != 0.2:
        raise ConfigError("reference_fraction has no meaning with a reference folder; leave one of them out")
    if not 0 <= options.split_seed < 2**32:
        raise ConfigError(f"split_seed must lie in 0 to {2**32 - 1}, got {options.split_seed}")
    is_cut = any(value is not None for value in (options.imbalance, options.per_class, options.pareto_alpha))
    if not is_cut and (options.cut_seed is not None or options.class_order is not None):
        raise ConfigError("data set 'folder' takes cut_seed and class_order with imbalance, pareto_alpha or per_class")
    return Folder(
        options.path.expanduser(),
        data_root,
        reference_path=options.reference_path.expanduser() if options.reference_path else None,
        image_size=options.image_size,
        imbalance=options.imbalance,
        per_class=options.per_class,
        pareto_alpha=options.pareto_alpha,
        reference_fraction=options.reference_fraction,
        split_seed=options.split_seed,
        cut=Cut(options.class_order, options.split_seed if options.cut_seed is None else options.cut_seed),
        mean_head=options.head == "mean",
    )
