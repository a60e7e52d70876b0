"""The sampling stage: uniform labels, one random stream a sample, shards on disk, one samples file at the end."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltgen_bench.core.devices import memory_errors
from ltgen_bench.core.distributed import World
from ltgen_bench.core.errors import SamplesError
from ltgen_bench.core.plugins import author_code, where_defined
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.seeding import labels_by_policy, sample_seeds
from ltgen_bench.evaluation.samples import Samples, read_samples, write_samples
from ltgen_bench.methods import Method

_SHARD = re.compile(r"(\d{8})-(\d{8})\.npz")


def sample_to_file(
    method: Method,
    path: Path,
    *,
    count: int,
    seed: int,
    key: str,
    batch_size: int,
    labelled: bool = True,
    label_policy: str = "uniform",
    progress: Progress | None = None,
    world: World | None = None,
    advice: str = "try a smaller --set execution.sampling_batch_size",
) -> Samples:
    """Draw `count` images with labels by `label_policy` into `path`, resuming from the shards of an interrupted run.

    Labels and images depend on the seed and the sample's index only: not on `batch_size`, not on the number of
    processes (exactly so on the CPU; on a GPU up to its choice of kernels). `key` names the model and the sampler's
    settings: shards of another key are not touched. Every process draws its share; the first one merges the shards.
    Unless `labelled`, the images are unconditional and the file has no labels.
    """
    world = world or World()
    progress = progress or Progress()
    shards = path.parent / f".{path.stem}-shards-{key}"
    labels = labels_by_policy(label_policy, count, method.spec.class_count, seed)
    todo = _gaps(_done(shards), count)
    batches = [
        range(start, min(start + batch_size, gap.stop))
        for gap in todo
        for start in range(gap.start, gap.stop, batch_size)
    ]
    world.barrier()  # all have read the same list of shards before the first one adds to it
    with progress, memory_errors(advice), torch.inference_mode():
        remaining = sum(map(len, batches))
        progress.start("sampling", count, "images", count - remaining)
        done = count - remaining
        for number, batch in enumerate(batches):
            if number % world.size == world.rank:
                part = labels[batch.start : batch.stop]
                with author_code(type(method), "sample"):
                    images = method.sample(torch.from_numpy(part), sample_seeds(seed, batch))
                check_images(method, images, len(batch))
                shard = shards / f"{batch.start:08d}-{batch.stop:08d}.npz"
                write_samples(shard, Samples(images.cpu().numpy(), part if labelled else None))
            done += len(batch)
            progress.update(done)
    world.barrier()
    if world.is_main:
        merged = _merge(shards, count, method.spec.image_shape)
        write_samples(path, Samples(merged, labels if labelled else None))
        shutil.rmtree(shards)
    world.barrier()
    return read_samples(path, labelled=labelled)


def check_images(method: Method, images: Any, count: int) -> None:
    """Raise SamplesError, with file, line and class, unless `images` are what `sample` has to return."""
    wanted = (count, *method.spec.image_shape)
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or tuple(images.shape) != wanted:
        got = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        where = where_defined(type(method), type(method).sample)
        raise SamplesError(f"{where}: sample has to return a uint8 tensor {wanted}, and returned {got}")


def _done(shards: Path) -> list[range]:
    """The index ranges of the shards on disk."""
    matches = [_SHARD.fullmatch(file.name) for file in shards.glob("*.npz")] if shards.is_dir() else []
    return sorted((range(int(m[1]), int(m[2])) for m in matches if m), key=lambda r: r.start)


def _gaps(done: list[range], count: int) -> list[range]:
    """The index ranges of [0, count) that no shard covers."""
    gaps, position = [], 0
    for span in done:
        if span.start > position:
            gaps.append(range(position, min(span.start, count)))
        position = max(position, span.stop)
    if position < count:
        gaps.append(range(position, count))
    return [gap for gap in gaps if len(gap)]


def _merge(shards: Path, count: int, image_shape: tuple[int, int, int]) -> np.ndarray:
    """The images of all shards, uint8 (count, C, H, W)."""
    spans = _done(shards)
    if gaps := _gaps(spans, count):
        first = gaps[0]
        raise SamplesError(f"{shards} lacks the samples {first.start} to {first.stop - 1}; the same command draws them")
    images = np.empty((count, *image_shape), np.uint8)
    for span in spans:
        if span.start >= count:
            continue
        shard = read_samples(shards / f"{span.start:08d}-{span.stop:08d}.npz", labelled=False)
        images[span.start : span.stop] = shard.images[: count - span.start]
    return images
