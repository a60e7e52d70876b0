"""From many images to their features: chunk by chunk, resumable, in bounded memory.

Images are cut into chunks of `CHUNK`. With a cache, each chunk is looked up by its content and stored as soon as it is
computed, so that an extraction that was killed resumes where it stopped, and a set that grew pays for its new part
only. Images may be a memory map: only a batch at a time comes into memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ltgen_bench.core.errors import ConfigError, DataError
from ltgen_bench.features.cache import FeatureCache, feature_key

if TYPE_CHECKING:
    import torch

    from ltgen_bench.features.base import Extractor

CHUNK = 512  # images stored together: seconds of work that a kill may lose, megabytes in a file


class ExtractedFeatures(NamedTuple):
    """What the metrics start from."""

    features: np.ndarray  # (N, D) float32
    probabilities: np.ndarray | None  # (N, K) float32, the softmax of the logits; None without a classifier


def extract_features(
    images: np.ndarray,
    extractor: Extractor,
    *,
    batch_size: int = 64,
    cache: FeatureCache | None = None,
    progress: Callable[[int, int], None] | None = None,
    found_in_cache: Callable[[int], None] | None = None,
) -> ExtractedFeatures:
    """Features (and class probabilities) of uint8 images (N, C, H, W), in their order.

    `batch_size` is how many images go to the device at a time, rounded up to a multiple of the extractor's
    `compute_batch`; it changes memory and speed, and not one bit of the result. `progress(done, total)` gets images,
    `found_in_cache` at the end the number of those that were not computed. Raises DataError for an empty or unsuitable
    array (before anything is computed), ConfigError for a batch size below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, and is {batch_size}")
    extractor.check(images.shape, images.dtype)
    total = len(images)
    if total == 0:
        raise DataError(f"no images to extract {extractor.name} features from")
    features = np.empty((total, extractor.dim), np.float32)
    probabilities: np.ndarray | None = None
    found = 0
    for start in range(0, total, CHUNK):
        chunk = images[start : start + CHUNK]
        stop = start + len(chunk)
        key = feature_key(chunk, extractor) if cache is not None else ""
        arrays = cache.get(key) if cache is not None else None
        if arrays is None:
            report = None if progress is None else _shifted(progress, start, total)
            arrays = _compute(chunk, extractor, batch_size, report)
            if cache is not None:
                cache.put(key, arrays, extractor=extractor.name)
        else:
            found += len(chunk)
            if progress is not None:
                progress(stop, total)
        features[start:stop] = arrays["features"]
        if "probabilities" in arrays:
            if probabilities is None:
                probabilities = np.empty((total, arrays["probabilities"].shape[1]), np.float32)
            probabilities[start:stop] = arrays["probabilities"]
    if found_in_cache is not None:
        found_in_cache(found)
    return ExtractedFeatures(features, probabilities)


def extract_share(
    images: np.ndarray, extractor: Extractor, cache: FeatureCache, *, rank: int, size: int, batch_size: int = 64
) -> None:
    """Put every `size`-th chunk of `images`, from the `rank`-th on, into the cache: one process's share of the work.

    When all processes have done theirs, `extract_features` finds the whole there, with the bits that it would have
    computed itself. Raises as `extract_features` does.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, and is {batch_size}")
    extractor.check(images.shape, images.dtype)
    for start in range(rank * CHUNK, len(images), size * CHUNK):
        chunk = images[start : start + CHUNK]
        key = feature_key(chunk, extractor)
        if cache.get(key) is None:
            cache.put(key, _compute(chunk, extractor, batch_size, None), extractor=extractor.name)


def _shifted(progress: Callable[[int, int], None], start: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(start + done, total)


def _compute(
    chunk: np.ndarray, extractor: Extractor, batch_size: int, report: Callable[[int], None] | None
) -> dict[str, np.ndarray]:
    """Features (and probabilities) of one chunk.

    On a GPU nothing here waits: batches go from pinned memory to the device while earlier ones are computed, and the
    results are fetched once, at the end.
    """
    import torch

    step = -(-batch_size // extractor.compute_batch) * extractor.compute_batch
    features: list[torch.Tensor] = []
    probabilities: list[torch.Tensor] = []
    for start in range(0, len(chunk), step):
        batch = torch.from_numpy(np.array(chunk[start : start + step]))  # a copy: memory maps may be read-only
        if extractor.device.type == "cuda":
            batch = batch.pin_memory()
        output = extractor(batch)
        features.append(output.features)
        if output.logits is not None:
            probabilities.append(output.logits.double().softmax(1).float())
        if report is not None:
            report(start + len(batch))
    arrays = {"features": torch.cat(features).cpu().numpy()}
    if probabilities:
        arrays["probabilities"] = torch.cat(probabilities).cpu().numpy()
    return arrays
