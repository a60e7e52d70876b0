"""How recognition's classifiers are trained: recipes as data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ltgen_bench.core.config import Section, build
from ltgen_bench.core.errors import UnknownNameError, did_you_mean
from ltgen_bench.core.mappings import read_toml

_DATA = Path(__file__).parent / "data"
_BY_SIZE = {8: "cnn-8px", 32: "resnet32-32px", 64: "resnet10-64px"}


class RecognitionRecipe(Section):
    """SGD with momentum and step-wise learning rates; epochs are those of the long-tailed real training set.

    All classifiers of a comparison do the same number of steps, whatever they are trained on.
    """

    network: Literal["cnn", "resnet32", "resnet10", "resnet18"]
    """cnn (8 px), resnet32 (CIFAR's), resnet10 or resnet18 (torchvision's blocks, with CIFAR's stem)."""
    epochs: int = Field(gt=0)
    """Passes over as many images as the long-tailed real training set has."""
    batch_size: int = Field(gt=0)
    """Images a step."""
    learning_rate: float = Field(gt=0)
    """After the warm-up."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Of SGD."""
    weight_decay: float = Field(ge=0)
    """Of SGD."""
    warmup_epochs: int = Field(0, ge=0)
    """Epochs over which the learning rate rises from 0."""
    decay_at: tuple[int, ...] = ()
    """Epochs after which it is multiplied by the factor of the same place in decay_factors."""
    decay_factors: tuple[float, ...] = ()
    """See decay_at."""
    crop_padding: int = Field(0, ge=0)
    """Random crops from images padded by so many pixels with black."""

    @model_validator(mode="after")
    def _one_factor_a_decay(self) -> RecognitionRecipe:
        if len(self.decay_at) != len(self.decay_factors) or list(self.decay_at) != sorted(set(self.decay_at)):
            raise ValueError("decay_at has to rise, with one of decay_factors for each")
        return self

    def steps(self, real_images: int) -> int:
        """Optimiser steps of every classifier, where the long-tailed set has so many images."""
        return self.epochs * self.steps_an_epoch(real_images)

    def steps_an_epoch(self, real_images: int) -> int:
        """Steps that see as many images as the long-tailed set has, the last batch whole."""
        return max(1, -(-real_images // self.batch_size))

    def rate(self, step: int, real_images: int) -> float:
        """The learning rate of step 0, 1, ...: it changes with epochs, as in LDAM-DRW's code."""
        epoch = step // self.steps_an_epoch(real_images) + 1
        rate = self.learning_rate
        if epoch <= self.warmup_epochs:
            rate *= epoch / self.warmup_epochs
        for after, factor in zip(self.decay_at, self.decay_factors, strict=True):
            rate *= factor if epoch > after else 1.0
        return rate


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in _DATA.glob("*.toml"))


def recognition_recipe(name: str | None, image_size: int) -> tuple[str, RecognitionRecipe]:
    """A recipe and its name: that of a name or a .toml file, or the one for the image size.

    Raises UnknownNameError with the closest name, ConfigError for a file that is none.
    """
    if name is None:
        name = next((own for size, own in _BY_SIZE.items() if image_size <= size), _BY_SIZE[64])
    path = Path(name) if name.endswith(".toml") else _DATA / f"{name}.toml"
    if not name.endswith(".toml") and name not in recipe_names():
        raise UnknownNameError(
            f"no recognition recipe {name!r}; {did_you_mean(name, recipe_names())}; or give a .toml file"
        )
    recipe: RecognitionRecipe = build(RecognitionRecipe, read_toml(path), path.name)
    return path.stem, recipe
