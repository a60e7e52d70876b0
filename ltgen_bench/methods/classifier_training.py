"""Training the classifier of noisy images, with the shared trainer: resumable, on any number of processes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ltgen_bench.core.config import RunConfig
from ltgen_bench.core.distributed import join_world
from ltgen_bench.core.seeding import derive_seed
from ltgen_bench.core.storage import atomic_path
from ltgen_bench.datasets import ImageSet
from ltgen_bench.methods.interface import DataSpec, FitContext
from ltgen_bench.methods.noise_classifier import ClassifierConfig, NoiseClassifier
from ltgen_bench.methods.trainer import Trainer

CLASSIFIER_FILE = "classifier.safetensors"


def fit_classifier(
    spec: DataSpec, run: RunConfig, config: ClassifierConfig, train_set: ImageSet, context: FitContext
) -> NoiseClassifier:
    """The classifier of a run, on the context's device: read if it was trained before, else trained; collective.

    It is written to `classifier.safetensors` in the context's folder; its state and its log stand in `classifier/`.
    """
    classifier = NoiseClassifier(spec, run, config)
    path, folder = context.folder / CLASSIFIER_FILE, context.folder / "classifier"
    world = join_world()
    if not path.exists():
        if world.is_main:
            folder.mkdir(parents=True, exist_ok=True)
        world.barrier()
        context.progress.say(f"the classifier of noisy images: {classifier.run.training.steps:,} steps")
        # draws of its own: the same steps of the model see other images, levels and noise
        seed = derive_seed(context.seed, "classifier")
        own = replace(context, folder=folder, seed=seed, log=lambda row: _append(folder / "stats.jsonl", row))
        Trainer(classifier, train_set, own).run()
        if world.is_main:
            with atomic_path(path) as temporary:
                classifier.save(temporary)
        world.barrier()
    classifier.load(path)
    classifier.to(context.device)
    return classifier


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
