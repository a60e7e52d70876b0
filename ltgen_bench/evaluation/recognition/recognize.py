"""Three kinds of training set, one recipe, real test images: is what was generated useful?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import nn

from ltgen_bench.core.devices import cpu_threads, cuda_formats
from ltgen_bench.core.errors import DataError, SamplesError
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.storage import read_json_object, sha256_arrays, sha256_json, write_json
from ltgen_bench.datasets import Dataset, ImageSet, not_trained_on
from ltgen_bench.evaluation.recognition.filtering import QUANTILE, kept_by
from ltgen_bench.evaluation.recognition.mixtures import Fill, Mixture, even_counts, first_of_each_class
from ltgen_bench.evaluation.recognition.recipes import RecognitionRecipe
from ltgen_bench.evaluation.recognition.training import FEW_PIXELS, Classifier, accuracy_by_class
from ltgen_bench.evaluation.samples import Samples

REAL, ONLY_GENERATED, GENERATED_BALANCED, FILLED = "real", "generated", "generated-balanced", "filled"
ARMS = {
    REAL: "long-tailed real images only",
    ONLY_GENERATED: "generated images only, as many as the real ones",
    GENERATED_BALANCED: "generated images only, as many as a balanced set of the largest class",
    FILLED: "real images, filled up with generated ones",
}


@dataclass(frozen=True)
class RecognitionSettings:
    """What is compared."""

    recipe_name: str
    recipe: RecognitionRecipe
    fill: Fill = field(default_factory=Fill)
    weight: float = 1.0  # of a generated image's loss among real ones
    filtered: bool = False
    seeds: tuple[int, ...] = (0, 1, 2)  # of the classifiers
    show_best: bool = False  # also the best epoch by the test images, which is optimistic

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "recipe": self.recipe_name,
            "fill": self.fill.words(),
            "weight": self.weight,
            "filter": f"own class most likely, and above the {QUANTILE:g} quantile of real images"
            if self.filtered
            else None,
            "seeds": list(self.seeds),
            "counted": "last epoch",
        }


@dataclass
class RecognitionTask:
    """A data set's real images and where results are kept; the same for every method that is compared on it."""

    dataset: Dataset
    settings: RecognitionSettings
    cache: Path
    device: torch.device
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.train = self.dataset.train()
        self.test = test = images_to_test_with(self.dataset)
        self.counts = self.train.counts(self.dataset.class_count)
        self._trained: dict[str, nn.Module] = {}
        self._test_hash = sha256_arrays(images=test.images, labels=test.labels)

    def result(self, mixture: Mixture, seed: int, title: str, *, keep: bool = False) -> dict[str, Any]:
        """A classifier's accuracy by class, from the cache or by training it; `keep` it for `network`."""
        key = self.key(mixture, seed)
        path = self.cache / f"{key}.json"
        found = read_json_object(path)
        if found is None:
            classifier = self._begun(mixture, seed, key, title)
            watch = (lambda: self.overall(self._tested(classifier.network))) if self.settings.show_best else None
            network = classifier.train(watch)
            self.progress.finish()
            if keep:
                self._trained[key] = network
            found = {"by_class": self._tested(network), "images": len(mixture), "steps": classifier.steps}
            if watch is not None:
                found["best_epoch"] = max(classifier.watched)
            write_json(path, found)
        return found

    def network(self, mixture: Mixture, seed: int, title: str) -> nn.Module:
        """A trained classifier itself: that of `result`, where it was trained here."""
        key = self.key(mixture, seed)
        if key not in self._trained:
            self._trained[key] = self._begun(mixture, seed, key, title).train()
            self.progress.finish()
        return self._trained[key]

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Threads and number formats: networks of a few pixels are faster on one thread."""
        with cpu_threads(1 if self.dataset.image_shape[1] <= FEW_PIXELS else 0), cuda_formats(False, True):
            yield

    def overall(self, by_class: list[float | None]) -> float:
        """Top-1 over the test images as if every class had as many."""
        return fmean(value for value in by_class if value is not None)

    def classifier(self, mixture: Mixture, seed: int) -> Classifier:
        """An untrained one, without a file to resume from."""
        return Classifier(
            self.settings.recipe,
            mixture,
            self.dataset.class_count,
            len(self.train),
            self.dataset.horizontal_flip,
            seed,
            self.device,
        )

    def _begun(self, mixture: Mixture, seed: int, key: str, title: str) -> Classifier:
        classifier = self.classifier(mixture, seed)
        classifier.state, classifier.tick = self.cache / f"{key}.safetensors", self.progress.update
        self.progress.start(title, classifier.steps, "steps")
        return classifier

    def _tested(self, network: nn.Module) -> list[float | None]:
        return accuracy_by_class(network, self.test, self.dataset.class_count, self.device)

    def is_kept(self, key: str) -> bool:
        """Whether the result of a classifier is in the cache."""
        return read_json_object(self.cache / f"{key}.json") is not None

    def key(self, mixture: Mixture, seed: int) -> str:
        """What a classifier's result is kept under: all that it depends on."""
        return sha256_json(
            {
                "mixture": mixture.sha256(),
                "recipe": self.settings.recipe.model_dump(mode="json"),
                "real_images": len(self.train),
                "flip": self.dataset.horizontal_flip,
                "seed": seed,
                "test": self._test_hash,
                "best": self.settings.show_best,
            }
        )[:24]


def images_to_test_with(dataset: Dataset) -> ImageSet:
    """Real images that nobody trained on; raises DataError where there are none."""
    test = not_trained_on(dataset.held_out(), dataset.train())
    if test is None:
        raise DataError(f"data set {dataset.name} has no real images that nobody trained on, to test classifiers with")
    return test


def labelled(samples: Samples) -> ImageSet:
    """Samples as a training set; raises SamplesError for unlabelled ones."""
    if samples.labels is None:
        raise SamplesError("recognition trains a classifier on the samples' labels, and these have none")
    return ImageSet(samples.images, samples.labels)


def recognize(task: RecognitionTask, samples: Samples) -> dict[str, Any]:
    """The results of one set of samples, as JSON values: every arm and seed, and what each was trained on.

    Raises SamplesError for unlabelled samples.
    """
    generated = labelled(samples)
    rows: list[dict[str, Any]] = []
    missing: dict[str, int] = {}
    for seed in task.settings.seeds:
        for arm, make in training_sets(task, generated, missing):
            mixture = make(seed)
            judges = task.settings.filtered and arm == REAL
            result = task.result(mixture, seed, f"{arm}, classifier {seed}", keep=judges)
            rows.append({"arm": arm, "seed": seed, **_numbers(task, result["by_class"]), **result})
    return {
        "dataset": task.dataset.name,
        "settings": task.settings.to_dict(),
        "test_images": len(task.test),
        "real_images": len(task.train),
        "samples_sha256": samples.sha256(),
        "missing": missing,
        "rows": rows,
    }


def training_sets(
    task: RecognitionTask, generated: ImageSet, missing: dict[str, int]
) -> Iterator[tuple[str, Callable[[int], Mixture]]]:
    """Every arm, and a function that makes its training set for a classifier seed.

    `missing` takes in how many images an arm wants and the generated ones are too few for.
    """
    classes, top = task.dataset.class_count, int(task.counts.max())

    def only(arm: str, total: int) -> Callable[[int], Mixture]:
        chosen, lacking = first_of_each_class(generated, even_counts(total, classes))
        missing[arm] = int(lacking.sum())
        return lambda seed: Mixture.of(None, chosen)

    def filled(seed: int) -> Mixture:
        usable: ImageSet | None = generated
        if task.settings.filtered:
            judge = task.network(Mixture.of(task.train, None), seed, f"filter, classifier {seed}")
            kept = kept_by(judge, generated, task.train, task.device)
            usable = ImageSet(generated.images[kept], generated.labels[kept]) if kept.any() else None
        chosen, lacking = first_of_each_class(usable, task.settings.fill.wanted(task.counts))
        missing[FILLED] = max(missing.get(FILLED, 0), int(lacking.sum()))
        return Mixture.of(task.train, chosen, task.settings.weight)

    yield REAL, lambda seed: Mixture.of(task.train, None)
    yield ONLY_GENERATED, only(ONLY_GENERATED, len(task.train))
    yield GENERATED_BALANCED, only(GENERATED_BALANCED, classes * top)
    yield FILLED, filled


def _numbers(task: RecognitionTask, by_class: list[float | None]) -> dict[str, float | None]:
    """Top-1 over classes, and over those of each group."""
    found: dict[str, float | None] = {"all": task.overall(by_class)}
    for group, members in task.dataset.groups.as_dict().items():
        values = [value for label in members if (value := by_class[label]) is not None]
        found[str(group)] = float(np.mean(values)) if values else None
    return found
