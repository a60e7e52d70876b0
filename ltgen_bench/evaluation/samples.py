"""Samples as files: ADM-style `.npz` with `arr_0` uint8 (N, H, W, C) and `labels` (or `arr_1`) integers (N,).

A samples file comes from anywhere, so nothing in it is trusted: headers, sizes and dtypes are checked before any array
is read, and pickled objects are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.core.npz import npz_headers, read_npz
from ltgen_bench.core.protocol import Protocol
from ltgen_bench.core.seeding import equal_labels
from ltgen_bench.core.storage import atomic_path, sha256_arrays
from ltgen_bench.datasets import Dataset

MAX_SAMPLES = 10_000_000
MAX_SIDE = 4096  # pixels


@dataclass(frozen=True)
class Samples:
    """Generated images uint8 (N, C, H, W) and their labels int64 (N,), None for unconditional images."""

    images: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.images)

    def sha256(self) -> str:
        """Hash of pixels and labels, independent of the file they came from."""
        labels = {} if self.labels is None else {"labels": self.labels}
        return sha256_arrays(images=self.images, **labels)

    def class_counts(self, class_count: int) -> list[int]:
        """Images of each class; all 0 for unconditional images, which belong to none."""
        return np.bincount([] if self.labels is None else self.labels, minlength=class_count).tolist()  # type: ignore[no-any-return]


def write_samples(path: Path, samples: Samples) -> None:
    """Write an ADM-style `.npz`, uncompressed, atomically; without `labels` where the images are unconditional."""
    arrays: dict[str, Any] = {"arr_0": samples.images.transpose(0, 2, 3, 1)}
    if samples.labels is not None:
        arrays["labels"] = samples.labels
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def read_samples(path: Path, *, labelled: bool = True) -> Samples:
    """Read an ADM-style `.npz`; raises SamplesError, one line, for anything that is not one.

    Unless `labelled`, the images are unconditional: labels that the file may hold are not read.
    """
    path = Path(path)
    if not path.is_file():
        raise SamplesError(f"there is no samples file {path}")
    headers = npz_headers(path)
    if "arr_0" not in headers:
        raise SamplesError(f"{path} has no array 'arr_0' with the images; it has {sorted(headers) or 'none'}")
    label_key = next((key for key in ("labels", "arr_1") if key in headers), None)
    if label_key is None and labelled:
        raise SamplesError(
            f"{path} has no labels: an integer array 'labels' or 'arr_1' of shape (N,) is needed; "
            "unconditional samples are measured with --set sampling.conditioning=none"
        )
    check_image_header(path, "arr_0", *headers["arr_0"])
    if label_key is None or not labelled:
        return make_samples(read_npz(path, ("arr_0",))["arr_0"], None, str(path))
    count = headers["arr_0"][0][0]
    shape, dtype = headers[label_key]
    if shape != (count,):
        raise SamplesError(f"{path}: {label_key!r} has the shape {shape}; {count} images need ({count},)")
    if dtype.kind not in "iu":
        raise SamplesError(f"{path}: {label_key!r} has the dtype {dtype}; labels are integers")
    arrays = read_npz(path, ("arr_0", label_key))
    return make_samples(arrays["arr_0"], arrays[label_key], str(path))


def make_samples(images: np.ndarray, labels: np.ndarray | None, source: str) -> Samples:
    """Check images uint8 (N, H, W, C) and integer labels (N,) or None, and put the channels first."""
    if labels is not None and labels.size and int(labels.min()) < 0:
        raise SamplesError(f"{source}: label {int(labels.min())} is negative; labels are class indices from 0")
    return Samples(
        np.ascontiguousarray(images.transpose(0, 3, 1, 2)), None if labels is None else labels.astype(np.int64)
    )


def check_image_header(path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an image array by its shape and dtype, before it is read."""
    if dtype != np.uint8:
        hint = "; scale to 0 ... 255 and convert to uint8" if dtype.kind == "f" else ""
        raise SamplesError(f"{path}: {key!r} has the dtype {dtype}; images are uint8{hint}")
    if len(shape) != 4 or shape[3] not in (1, 3):
        hint = "; the channels come last" if len(shape) == 4 and shape[1] in (1, 3) else ""
        raise SamplesError(f"{path}: {key!r} has the shape {shape}; images are (N, H, W, C) with C = 1 or 3{hint}")
    if shape[0] == 0:
        raise SamplesError(f"{path}: {key!r} is empty")
    if shape[0] > MAX_SAMPLES or max(shape[1:3]) > MAX_SIDE or min(shape[1:3]) == 0:
        raise SamplesError(f"{path}: {key!r} has the shape {shape}, which is beyond what is read here")


def as_samples(images: np.ndarray, labels: np.ndarray | None, dataset: Dataset) -> Samples:
    """Check arrays given in Python; the channels may come first or last, and unconditional images have no labels."""
    images = np.asarray(images)
    channels, height, width = dataset.image_shape
    if images.ndim != 4:
        raise SamplesError(f"images have the shape {images.shape}; they must be (N, H, W, C) or (N, C, H, W)")
    if images.shape[1:] == (height, width, channels) != (channels, height, width):
        images = images.transpose(0, 3, 1, 2)
    if images.dtype != np.uint8:
        raise SamplesError(f"images have the dtype {images.dtype}; they must be uint8, 0 ... 255")
    if labels is None:
        return Samples(np.ascontiguousarray(images), None)
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) != len(images) or labels.dtype.kind not in "iu":
        raise SamplesError(f"labels are {labels.dtype} {labels.shape}; {len(images)} images need as many integers")
    return Samples(np.ascontiguousarray(images), labels.astype(np.int64))


def check_samples(samples: Samples, dataset: Dataset, source: str = "the samples") -> None:
    """Refuse samples that do not fit a data set, before anything is computed."""
    shape = samples.images.shape
    if shape[1:] != dataset.image_shape:
        channels, height, width = shape[1], shape[2], shape[3]
        wanted = dataset.image_shape
        raise SamplesError(
            f"{source} are {height}x{width} px with {channels} channel(s); "
            f"{dataset.name} has {wanted[1]}x{wanted[2]} px with {wanted[0]}"
            + _resize_hint(channels == wanted[0], height == width)
        )
    if len(samples) == 0:
        raise SamplesError(f"{source} are empty")
    if samples.labels is None:
        return
    low, high = int(samples.labels.min()), int(samples.labels.max())
    if low < 0 or high >= dataset.class_count:
        raise SamplesError(
            f"{source} have labels from {low} to {high}; {dataset.name} has {dataset.class_count} classes, "
            f"so labels go from 0 to {dataset.class_count - 1}"
        )


def check_class_counts(samples: Samples, dataset: Dataset, protocol: Protocol) -> None:
    """Refuse samples whose class counts are not the equal ones that a protocol fixes; raises SamplesError.

    Equal counts are an advantage over counts drawn at random, so nobody may have others.
    """
    if samples.labels is None or protocol.label_policy != "equal":
        return
    counts = samples.class_counts(dataset.class_count)
    wanted = np.bincount(equal_labels(len(samples), dataset.class_count), minlength=dataset.class_count).tolist()
    if counts != wanted:
        index = next(i for i, (ours, theirs) in enumerate(zip(counts, wanted, strict=True)) if ours != theirs)
        raise SamplesError(
            f"the samples hold {counts[index]:,} of class {index}; protocol {protocol.name} wants {wanted[index]:,} of "
            "it, as many as of every class (a remainder goes to the first ones); draw them so, or choose a version 1"
        )


def _resize_hint(same_channels: bool, square: bool) -> str:
    if not same_channels:
        return ""
    return "; give --resize antialias to resize them" if square else "; only square samples can be resized"
