"""Recognition as a part of an evaluation and of its record: what a protocol asks for by name."""

from __future__ import annotations

from typing import Any

import torch

from ltgen_bench.core.progress import Progress
from ltgen_bench.core.protocol import Protocol
from ltgen_bench.datasets import Dataset
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.recognition.recipes import recognition_recipe
from ltgen_bench.evaluation.recognition.recognize import ARMS, RecognitionSettings, RecognitionTask, recognize
from ltgen_bench.evaluation.record import RecognitionPart, RecognitionRow
from ltgen_bench.evaluation.samples import Samples

UNLABELLED = "recognition trains a classifier on the samples' labels, and these have none"


def recognised(
    samples: Samples,
    dataset: Dataset,
    protocol: Protocol,
    places: EvaluationPlaces,
    device: torch.device,
    progress: Progress,
) -> RecognitionPart | None:
    """What the protocol asks for: None where it does not, or where the samples have no labels (`UNLABELLED`).

    cas.v1 is the recipe of the image size and three classifiers for every training set; real images are filled up to
    the largest class with generated ones of weight 1, none of which is filtered out. Classifiers that were trained
    before are read from the cache. Raises DataError for a data set without real images that nobody trained on.
    """
    if protocol.recognition is None or samples.labels is None:
        return None
    settings = RecognitionSettings(*recognition_recipe(None, dataset.image_shape[1]))
    task = RecognitionTask(dataset, settings, places.recognition_cache, device, progress)
    with task.computing():
        return recognition_part(recognize(task, samples))


def classifiers_cost(dataset: Dataset) -> dict[str, int]:
    """What cas.v1 trains on a data set: classifiers, and the images that all of them see."""
    recipe = recognition_recipe(None, dataset.image_shape[1])[1]
    settings = RecognitionSettings("", recipe)
    classifiers = len(ARMS) * len(settings.seeds)
    images = classifiers * recipe.steps(dataset.total) * recipe.batch_size
    return {"recognition_classifiers": classifiers, "recognition_images_seen": images}


def recognition_part(result: dict[str, Any]) -> RecognitionPart:
    """The part of a record that holds what `recognize` found."""
    settings, rows = result["settings"], result["rows"]
    return RecognitionPart(
        recipe=settings["recipe"],
        steps=rows[0]["steps"],
        fill=settings["fill"],
        weight=settings["weight"],
        filter=settings["filter"],
        real_images=result["real_images"],
        test_images=result["test_images"],
        missing=result["missing"],
        rows=[RecognitionRow(**{key: row.get(key) for key in RecognitionRow.model_fields}) for row in rows],
    )
