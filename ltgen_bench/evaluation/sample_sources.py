"""Samples in whatever form people have them: `.npz`, shards of it, a pair of `.npy`, a folder of class folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ltgen_bench.core.errors import DataError, SamplesError, did_you_mean
from ltgen_bench.core.npz import npy_header, read_npy
from ltgen_bench.datasets.decoding import load_images
from ltgen_bench.datasets.image_folders import plain, scan
from ltgen_bench.evaluation.samples import Samples, check_image_header, make_samples, read_samples

_RESIZE_BLOCK = 256  # images resized at a time


def load_samples(paths: Sequence[Path], class_names: Sequence[str], cache: Path, *, labelled: bool = True) -> Samples:
    """Read samples from `paths`: one `.npz` or several (shards, in this order), two `.npy` (images and labels),
    a folder of `.npz` shards (in the order of their names), or a folder of class folders of PNG, JPEG or WebP images.

    Class folders are all named as the data set's classes, or all by index. Decoded images are kept in `cache`. Unless
    `labelled`, the images are unconditional: labels are not needed, and those that are there are not looked at.
    Raises SamplesError or DataError, one line, for anything else.
    """
    if len(paths) == 1 and paths[0].is_dir():
        shards = sorted(path for path in paths[0].glob("*.npz") if not path.name.startswith("."))
        if shards:
            return _concatenate(shards, labelled)
        return _read_folder(paths[0], class_names if labelled else None, cache)
    suffixes = {path.suffix.lower() for path in paths}
    if suffixes == {".npz"}:
        return _concatenate(paths, labelled)
    if suffixes == {".npy"} and len(paths) == 2:
        return _read_pair(paths[0], paths[1], labelled)
    if suffixes == {".npy"} and len(paths) == 1 and not labelled:
        check_image_header(paths[0], "images", *npy_header(paths[0]))
        return make_samples(read_npy(paths[0]), None, plain(paths[0]))
    if suffixes == {".npy"}:
        raise SamplesError("images in .npy need their labels: give two files, images.npy and labels.npy")
    raise SamplesError(
        f"{', '.join(map(plain, paths))}: samples are one .npz, several .npz shards, two .npy files (images, labels), "
        "or a folder of class folders"
    )


def resize_samples(samples: Samples, size: int) -> Samples:
    """Bring square images to `size` pixels with an antialiased bicubic filter, rounded to uint8."""
    import torch
    from torch.nn.functional import interpolate

    resized = np.empty((len(samples), samples.images.shape[1], size, size), np.uint8)
    for start in range(0, len(samples), _RESIZE_BLOCK):
        block = torch.from_numpy(samples.images[start : start + _RESIZE_BLOCK]).float()
        out = interpolate(block, size=(size, size), mode="bicubic", antialias=True, align_corners=False)
        resized[start : start + _RESIZE_BLOCK] = out.round().clamp(0, 255).to(torch.uint8).numpy()
    return Samples(resized, samples.labels)


def _concatenate(shards: Sequence[Path], labelled: bool) -> Samples:
    parts = [read_samples(shard, labelled=labelled) for shard in shards]
    if len(parts) == 1:
        return parts[0]
    for shard, part in zip(shards, parts, strict=True):
        if part.images.shape[1:] != parts[0].images.shape[1:]:
            raise SamplesError(
                f"{plain(shard)} has images of {part.images.shape[1:]} where {plain(shards[0])} has "
                f"{parts[0].images.shape[1:]}; shards hold images of one shape"
            )
    labels = [part.labels for part in parts if part.labels is not None]
    return Samples(np.concatenate([part.images for part in parts]), np.concatenate(labels) if labels else None)


def _read_pair(first: Path, second: Path, labelled: bool) -> Samples:
    headers = {path: npy_header(path) for path in (first, second)}
    images = next((path for path, (shape, _) in headers.items() if len(shape) == 4), None)
    if images is None:
        raise SamplesError(f"neither {plain(first)} nor {plain(second)} holds images (N, H, W, C)")
    labels = second if images == first else first
    check_image_header(images, "images", *headers[images])
    shape, dtype = headers[labels]
    count = headers[images][0][0]
    if shape != (count,) or dtype.kind not in "iu":
        raise SamplesError(
            f"{plain(labels)} holds {dtype} {shape}; the labels of {count} images are integers ({count},)"
        )
    return make_samples(read_npy(images), read_npy(labels) if labelled else None, plain(images))


def _read_folder(root: Path, class_names: Sequence[str] | None, cache: Path) -> Samples:
    try:
        classes = scan(root)
    except DataError as error:
        raise SamplesError(f"{error} (a folder of samples holds class folders of images, or .npz shards)") from error
    if class_names is None:
        every = [file for members in classes.values() for file in members]
        return Samples(np.asarray(load_images(every, None, cache)), None)
    members_of: dict[int, tuple[Path, ...]] = {}
    for name, index in _class_indices(root, list(classes), class_names).items():
        members_of[index] = (*members_of.get(index, ()), *classes[name])
    files = [file for index in sorted(members_of) for file in members_of[index]]
    labels = [index for index in sorted(members_of) for _ in members_of[index]]
    return Samples(np.asarray(load_images(files, None, cache)), np.asarray(labels, np.int64))


def _class_indices(root: Path, folders: Sequence[str], class_names: Sequence[str]) -> dict[str, int]:
    """The class of every folder: all are named as classes, or else all by index.

    Never some one way and some the other: of classes that are called "1" ... "10", the folder "1" could be either.
    """
    by_name = {name: index for index, name in enumerate(class_names)}
    by_index = {name: int(name) for name in folders if re.fullmatch(r"[0-9]{1,6}", name)}
    by_index = {name: index for name, index in by_index.items() if index < len(class_names)}
    for meaning in (by_name, by_index):
        if all(name in meaning for name in folders):
            return {name: meaning[name] for name in folders}
    for name in folders:
        if name not in by_name and name not in by_index:
            raise SamplesError(
                f"class folder {plain(root / name)} is neither a class of the data set nor an index below "
                f"{len(class_names)}; "
                f"{did_you_mean(name, class_names)}"
            )
    unnamed = next(name for name in folders if name not in by_name)
    unnumbered = next(name for name in folders if name not in by_index)
    raise SamplesError(
        f"{plain(root)} mixes class names and indices: {plain(root / unnamed)} is not a class of the data set and "
        f"{plain(root / unnumbered)} is not an index below {len(class_names)}; name all folders in one of the two ways"
    )
