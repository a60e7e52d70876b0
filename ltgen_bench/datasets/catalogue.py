"""Data sets by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltgen_bench.core.errors import ConfigError, UnknownNameError
from ltgen_bench.core.registry import Registry
from ltgen_bench.datasets.base import Dataset
from ltgen_bench.datasets.cut import split_cut_name

if TYPE_CHECKING:
    from ltgen_bench.core.config import DatasetConfig

DatasetFactory = Callable[["DatasetConfig", Path], Dataset]

_BUILTIN = {  # name: (factory, one line)
    "digits-lt": ("digits:digits_lt", "digits 8x8, embedded, long-tailed: 120 ... 6 a class (imbalance 0.05)"),
    "digits": ("digits:digits", "digits 8x8, embedded, balanced: 120 a class, or per_class of them"),
    "cifar10": ("cifar:cifar10", "CIFAR-10 32x32, balanced: 5,000 a class, or per_class of them"),
    "cifar10lt": ("cifar:cifar10lt", "CIFAR-10 32x32, long-tailed: 12,406 images, 5,000 ... 50 a class (0.01)"),
    "cifar100": ("cifar:cifar100", "CIFAR-100 32x32, balanced: 500 a class, or per_class of them"),
    "cifar100lt": ("cifar:cifar100lt", "CIFAR-100 32x32, long-tailed: 10,847 images, 500 ... 5 a class (0.01)"),
    "celeba5": ("celeba:celeba5", "CelebA 64x64, exactly one of five hair colours; from your CelebA download"),
    "celeba5-m2m": (
        "celeba:celeba5_m2m",
        "CelebA 64x64, hair colours, lists of Kim et al.: 6,651 images, 2,423 ... 227 a class",
    ),
    "imagenet-lt": ("imagenet:imagenet_lt", "ImageNet-LT 64x64, official lists: 115,846 images, 1,280 ... 5 a class"),
    "tinyimagenet-lt": (
        "tinyimagenet:tinyimagenet_lt",
        "TinyImageNet-200 64x64, long-tailed: 21,549 images, 500 ... 5 a class (0.01)",
    ),
    "imagenet-lt-exponential": (
        "imagenet_exponential:imagenet_lt_exponential",
        "CCUA's cut of ImageNet 64x64: 275,288 images, 1,281 ... 12 a class (0.01); it is not ImageNet-LT",
    ),
    "folder": ("folder:folder", "your own images: a folder of class folders (path), with its own or any imbalance"),
}


# Data sets whose images lie wherever the user's path says.
IMAGE_FOLDERS = ("folder", "imagenet-lt-exponential")


def check_dataset_factory(name: str, thing: object) -> None:
    """Refuse, in one line, what cannot be called with a DatasetConfig and a folder; raises ConfigError."""
    try:
        inspect.signature(thing).bind(None, None)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        wanted = "a function (options: DatasetConfig, data_root: Path) -> Dataset"
        raise ConfigError(f"DATASETS.register({name!r}) takes {wanted}, got {thing!r}") from None


DATASETS: Registry[DatasetFactory] = Registry(
    "data set",
    "ltgen_bench.datasets",
    {name: f"ltgen_bench.datasets.sets.{where}" for name, (where, _) in _BUILTIN.items()},
    check_dataset_factory,
)


def named_options(name: str) -> dict[str, Any]:
    """The options that a canonical name stands for: `cifar10lt-0.001-cut2` is cifar10lt, imbalance 0.001, cut seed 2.

    A name that is none of these comes back as it is. `Dataset.name` of what they load says whether it was written so.
    """
    known = dataset_names()
    if name in known:
        return {"name": name}
    stem, options = split_cut_name(name)
    base, _, value = stem.rpartition("-")
    if stem in known:
        return {"name": stem, **options}
    if base in known and re.fullmatch(r"[0-9]+(\.[0-9]+)?(e-?[0-9]{1,3})?", value):
        number = float(value)
        if number >= 1 and not base.endswith("lt"):
            return {"name": base, "per_class": int(min(number, 10**9)), **options}
        return {"name": base, "imbalance": number, **options}
    return {"name": name}


def load_dataset(options: DatasetConfig, data_root: Path) -> Dataset:
    """The data set that `options` describe, with its files under `data_root`; no pixels are read yet.

    Raises UnknownNameError with the closest name, ConfigError for options that the data set does not take, and
    DataError for an image folder that cannot be used.
    """
    dataset = _factory(options.name)(options, Path(data_root).expanduser())
    if not isinstance(dataset, Dataset):
        got = type(dataset).__name__
        raise ConfigError(f"data set {options.name!r}: its function has to return a Dataset, and returned {got}")
    return dataset


def dataset_names() -> list[str]:
    """Names that `load_dataset` knows, sorted."""
    return DATASETS.names()


def describe(name: str) -> str:
    """One line about the data set called `name`, without importing it; raises UnknownNameError."""
    if name in _BUILTIN:
        return _BUILTIN[name][1]
    if name not in DATASETS.names():
        _factory(name)
    factory = _factory(name)
    words = (inspect.getdoc(factory) or "").strip().splitlines()
    own = words[0] if words and (not isinstance(factory, type) or "__doc__" in vars(factory)) else ""
    return own or "from a plug-in, which says nothing of it"


def know_dataset(dataset: Dataset) -> None:
    """Make a data set known by its own name, such as `folder-my-images`, for as long as this process runs.

    Records name their data set; those of somebody's own images can be checked by whoever has the images.
    """
    DATASETS.replace(dataset.name, lambda options, data_root: dataset)


def _factory(name: str) -> DatasetFactory:
    try:
        return DATASETS.get(name)
    except UnknownNameError as error:
        # `cifar10lt-0.001` and `cifar10-500` are names of results; a configuration has name and options
        options = named_options(name)
        if options["name"] != name:
            rest = " ".join(f"--set dataset.{key}={value}" for key, value in options.items() if key != "name")
            raise UnknownNameError(
                f"unknown data set {name!r}; did you mean --dataset {options['name']} {rest}?"
            ) from None
        raise error
