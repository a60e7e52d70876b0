"""Which images a trained model is shown, and how: at which noise levels, with or without their class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.seeding import derive_seed
from ltgen_bench.datasets import Dataset, ImageSet
from ltgen_bench.datasets.base import take
from ltgen_bench.datasets.unseen import unseen_reference

MOST_ANALYSED = 20_000
_CHOICES = {"images": ("reference", "train", "unseen"), "labels": ("withheld", "given")}


@dataclass(frozen=True)
class AnalysisSettings:
    """The defaults are what says something of the images: their class withheld, noise of level t added."""

    images: str = "reference"  # balanced real images; "train": the long-tailed set; "unseen": that nobody trained on
    t: tuple[int, ...] = (11, 100, 300, 500)  # noise levels, 1 ... T
    labels: tuple[str, ...] = ("withheld",)
    noise: bool = True

    def __post_init__(self) -> None:
        for key, given in (("images", (self.images,)), ("labels", self.labels)):
            for value in given:
                if value not in _CHOICES[key]:
                    raise ConfigError(f"{key} is one of {', '.join(_CHOICES[key])}; got {value!r}")
        if not self.t or not self.labels:
            raise ConfigError("give at least one noise level and one of withheld and given")
        object.__setattr__(self, "t", tuple(sorted(set(self.t))))
        object.__setattr__(self, "labels", tuple(dict.fromkeys(self.labels)))

    def check_levels(self, timesteps: int) -> None:
        """Raise ConfigError for a noise level that the model does not know."""
        for t in self.t:
            if not 1 <= t <= timesteps:
                raise ConfigError(f"t is a noise level from 1 to {timesteps} (diffusion.timesteps); got {t}")

    def caption(self) -> str:
        """What a number or a map of these settings shows, in one line."""
        of = {
            "reference": "balanced reference images",
            "train": "long-tailed training images",
            "unseen": "unseen images",
        }
        levels = ", ".join(map(str, self.t))
        withheld = ", the class withheld" if self.labels == ("withheld",) else ""
        added = "with its noise added" if self.noise else "without noise"
        told = "; the true class is fed in, so that clusters show the label and not the image" * (
            "given" in self.labels
        )
        return f"{of[self.images]}, t = {levels}, {added}{withheld}{told}"


def as_published() -> AnalysisSettings:
    """CORAL's maps as its released code makes them: clean long-tailed training images at t = 100, class fed in."""
    return AnalysisSettings(images="train", t=(100,), labels=("given",), noise=False)


@dataclass(frozen=True)
class AnalysisImages:
    """The images that all models are shown, and how many there were to draw them from."""

    images: ImageSet
    available: int

    @classmethod
    def of(cls, dataset: Dataset, which: str) -> AnalysisImages:
        """Those of a data set: all, or `MOST_ANALYSED` of them drawn by a fixed seed."""
        if which == "train":
            found = dataset.train()
        elif which == "unseen":
            found = unseen_reference(dataset)[1]
        else:
            found = dataset.reference_set()
        if len(found) <= MOST_ANALYSED:
            return cls(found, len(found))
        chosen = np.random.default_rng(derive_seed(0, "analysis images")).permutation(len(found))[:MOST_ANALYSED]
        return cls(take(found.images, found.labels, np.sort(chosen)), len(found))

    def to_dict(self) -> dict[str, Any]:
        """For the file of results."""
        return {"count": len(self.images), "of": self.available, "fingerprint": self.images.fingerprint()}


def one_setting(settings: AnalysisSettings, t: int, label: str) -> AnalysisSettings:
    """The settings of one noise level, with or without labels."""
    return replace(settings, t=(t,), labels=(label,))
