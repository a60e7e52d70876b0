"""The batches of a training, each a function of seed and step: which images, how they are changed, their noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ltgen_bench.core.config import NATURAL
from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.seeding import derive_seed
from ltgen_bench.datasets import ImageSet
from ltgen_bench.diffusion.augmentation import Augmentations, augment, draw_augmentations
from ltgen_bench.methods.batches import (
    DiffusionBatch,
    ImageOrder,
    ResidentImages,
    StepDraws,
    conditioning_labels,
    draw_step,
    seeded_generator,
)
from ltgen_bench.methods.class_sampling import image_weights_by_class
from ltgen_bench.methods.interface import FitContext
from ltgen_bench.methods.trainable import Trainable


class TrainingBatches:
    """Draws the batch of any step of a method's training on `train_set`.

    Raises ConfigError when the method's `image_weights` are not one finite number >= 0 for each image.
    """

    def __init__(self, method: Trainable, train_set: ImageSet, context: FitContext):
        self.config, self.schedule, self.seed = method.run.training, method.schedule, context.seed
        self.shape = (self.config.batch_size, *method.spec.image_shape)
        self.flip = self.config.horizontal_flip and method.spec.horizontal_flip
        self.channels_last = method.run.execution.channels_last
        self.images = ResidentImages(train_set, context.device)
        weights = _image_weights(method, self.images.labels.cpu())
        self.order = ImageOrder(len(train_set), self.config.batch_size, context.seed, weights)

    def draw(self, step: int) -> StepBatch:
        """All random numbers of a step, for its whole batch over all processes and parts."""
        config, device = self.config, self.images.device
        generator = seeded_generator(device, self.seed, "step", step)
        draws = draw_step(self.shape, self.schedule.steps, config.label_drop, config.label_drop_unit, generator)
        augmentations = None
        if config.augment_probability > 0:
            # from a generator of their own: the other draws are what they are without augmentation
            generator = seeded_generator(device, self.seed, "augment", step)
            augmentations = draw_augmentations(config.batch_size, config.augment_probability, generator)
        return StepBatch(self, step, self.order.indices(step), draws, augmentations)


@dataclass(frozen=True)
class StepBatch:
    """One step's whole batch, of which every process and every part of an accumulation takes some rows."""

    source: TrainingBatches
    step: int
    indices: np.ndarray  # (batch size,) int64 rows of the training set
    draws: StepDraws
    augmentations: Augmentations | None

    def part(self, rows: slice) -> DiffusionBatch:
        """The given rows of the batch, on the training device."""
        source, draws = self.source, self.draws.part(rows)
        x0, labels = self._images(rows)
        if source.channels_last:
            x0 = x0.contiguous(memory_format=torch.channels_last)
        whole = len(x0) == len(self.indices)
        return DiffusionBatch(
            x0=x0,
            noise=draws.noise,
            t=draws.t,
            x_t=source.schedule.add_noise(x0, draws.noise, draws.t),
            labels=labels,
            conditioning=conditioning_labels(labels, draws.drop),
            step=self.step,
            seed=derive_seed(source.seed, "method", self.step),
            first=rows.start,
            whole_size=len(self.indices),
            read_whole=None if whole else lambda: self._images(slice(0, len(self.indices))),
            augmentation=None if self.augmentations is None else self.augmentations.condition[rows],
        )

    def _images(self, rows: slice) -> tuple[Tensor, Tensor]:
        flip = self.draws.flip[rows] if self.source.flip else None
        x0, labels = self.source.images.batch(self.indices[rows], flip)
        return (x0 if self.augmentations is None else augment(x0, self.augmentations.part(rows))), labels


def _image_weights(method: Trainable, labels: Tensor) -> np.ndarray | None:
    """A method's weights of the training images, float64 (N,); None where every image is drawn once an epoch."""
    weights, rule = method.image_weights(labels), method.run.training.class_sampling
    if rule != NATURAL:
        if weights is not None:
            raise ConfigError(
                f"training.class_sampling {rule}: {type(method).__name__} weighs the images itself; set it to natural"
            )
        weights = image_weights_by_class(rule, labels, method.spec.class_count)
    if weights is None:
        return None
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (len(labels),) or not np.isfinite(values).all() or values.min() < 0 or values.sum() <= 0:
        raise ConfigError(
            f"{type(method).__name__}.image_weights must return one finite number >= 0 for each of the {len(labels):,} "
            f"training images, and some above 0; it returned {tuple(values.shape)}"
        )
    return values
