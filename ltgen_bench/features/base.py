"""The feature-extractor interface: images in, features (and logits) out.

A new extractor subclasses `Extractor`, gives `name`, `dim`, `info` and `compute`, and registers itself with
`@EXTRACTORS.register("my-network")`. Everything else (checking images, fixed compute batches, grey images) is here.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch

from ltgen_bench.core.devices import resolve_device
from ltgen_bench.core.errors import ConfigError, DataError, did_you_mean
from ltgen_bench.features.info import ExtractorInfo, distance_label

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class ExtractorOutput(NamedTuple):
    """What an extractor says about B images."""

    features: torch.Tensor  # (B, D) float32
    logits: torch.Tensor | None  # (B, K) float32, before the softmax; None for a network without a classifier


class Extractor(abc.ABC):
    """A frozen network from uint8 images to features.

    The network always sees batches of exactly `compute_batch` images, the last one filled up with zeros, because the
    kernels below it choose their algorithm, and with it their rounding, by the shape of the batch. So features do not
    depend on how many images a caller passes at a time, as long as an image keeps its place modulo `compute_batch`.
    """

    name: ClassVar[str]
    dim: ClassVar[int]  # D
    info: ClassVar[ExtractorInfo]
    version: ClassVar[int] = 1  # raised whenever preprocessing or network change the features
    class_names: tuple[str, ...] | None = None  # names of the logits' classes, where the logits classify these images
    image_channels: ClassVar[tuple[int, ...]] = (1, 3)  # accepted; 1 is repeated to 3
    image_size: ClassVar[int | None] = None  # the only accepted height and width; None accepts any
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "bf16")
    compute_batch_cpu: ClassVar[int] = 16
    compute_batch_gpu: ClassVar[int] = 64

    weights_sha256: str
    precision: str
    device: torch.device

    def __init__(self, *, weights_sha256: str, device: str | torch.device = "cpu", precision: str = "fp32"):
        if precision not in self.precisions:
            raise ConfigError(f"{self.name} has no precision {precision!r}; {did_you_mean(precision, self.precisions)}")
        self.weights_sha256 = weights_sha256
        self.precision = precision
        self.device = resolve_device(str(device), what="device", kinds=("cpu", "cuda"))

    @classmethod
    @abc.abstractmethod
    def load(cls, weights: Path, *, weights_sha256: str, device: str, precision: str) -> Extractor:
        """The extractor with the weights in the file `weights`; raises CheckpointError when they do not fit."""

    @abc.abstractmethod
    def compute(self, images: torch.Tensor) -> ExtractorOutput:
        """Features of exactly `compute_batch` checked images, uint8 (B, C, H, W), on the extractor's device."""

    @property
    def official(self) -> bool:
        """Whether the weights are the published ones, by their sha256."""
        return self.weights_sha256 == self.info.sha256

    @property
    def fid_label(self) -> str:
        """The name of a Fréchet distance in these features: FID, or FD[...] (`distance_label`)."""
        return distance_label(self.info, self.weights_sha256, self.precision)

    @property
    def compute_batch(self) -> int:
        """The number of images that the network sees at a time on this device."""
        return self.compute_batch_cpu if self.device.type == "cpu" else self.compute_batch_gpu

    def check(self, shape: tuple[int, ...], dtype: object) -> None:
        """Raise DataError, in one line, unless images of this shape (N, C, H, W) and dtype can be used."""
        size = self.image_size
        channels = " or ".join(map(str, self.image_channels))
        wanted = f"{self.name} takes uint8 images of shape (N, {channels}, {size or 'H'}, {size or 'W'})"
        if str(dtype).removeprefix("torch.") != "uint8":
            raise DataError(f"{wanted}; these are {str(dtype).removeprefix('torch.')}")
        good = len(shape) == 4 and shape[1] in self.image_channels and min(shape[2:]) > 0
        if not good or (size is not None and tuple(shape[2:]) != (size, size)):
            raise DataError(f"{wanted}; these have shape {tuple(shape)}")

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> ExtractorOutput:
        """Features float32 (B, D) and logits float32 (B, K) or None of images uint8 (B, C, H, W), on the device.

        Raises DataError for another dtype or shape.
        """
        self.check(tuple(images.shape), images.dtype)
        images = images.to(self.device, non_blocking=True)
        step = self.compute_batch
        outputs = []
        with full_precision():
            for start in range(0, len(images), step):
                batch = images[start : start + step]
                n = len(batch)
                if n < step:
                    batch = torch.cat([batch, batch.new_zeros(step - n, *batch.shape[1:])])
                features, logits = self.compute(batch)
                outputs.append((features[:n].float(), None if logits is None else logits[:n].float()))
        if not outputs:
            return ExtractorOutput(torch.empty(0, self.dim, device=self.device), None)
        logits_parts = [part for _, part in outputs if part is not None]
        return ExtractorOutput(
            torch.cat([part for part, _ in outputs]), torch.cat(logits_parts) if logits_parts else None
        )


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Keep TF32 and reduced-precision float32 products out, whatever the process uses for training."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def as_rgb(images: torch.Tensor) -> torch.Tensor:
    """Images (B, 1 or 3, H, W) with grey ones repeated to three channels."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
