"""What recognition would train, and how long that takes here, before any of it is trained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ltgen_bench.evaluation.recognition.mixtures import Mixture
from ltgen_bench.evaluation.recognition.recognize import FILLED, REAL, RecognitionTask, labelled, training_sets
from ltgen_bench.evaluation.samples import Samples

_TIMED_STEPS = 3
_UNSURE = 1.3  # the range is that of the steps, and so much wider on either side


def recognition_plan(task: RecognitionTask, sets: Sequence[Samples]) -> dict[str, Any]:
    """As JSON values: the training sets, the classifiers that are not kept yet, and the hours of training them.

    A few steps are timed on an untrained classifier. With a filter the filled sets are known only once the classifier
    that filters is trained: their images are those before it, and none of their classifiers counts as kept.
    """
    filtered, seeds = task.settings.filtered, task.settings.seeds
    unfiltered = replace(task, settings=replace(task.settings, filtered=False))
    wanted: set[str] = set()
    kept: set[str] = set()
    rows = []
    for number, samples in enumerate(sets):
        missing: dict[str, int] = {}
        for arm, make in training_sets(unfiltered, labelled(samples), missing):
            mixture = make(seeds[0])
            for seed in seeds:
                key = task.key(mixture, seed)
                unknown = filtered and arm == FILLED
                wanted.add(f"{key}, filtered" if unknown else key)
                if not unknown and task.is_kept(key) and not (filtered and arm == REAL):
                    kept.add(key)
            rows.append({"set": number, "arm": arm, "images": len(mixture), "missing": missing.get(arm, 0)})
    steps = task.settings.recipe.steps(len(task.train))
    left = len(wanted) - len(kept)
    fastest, slowest = _step_seconds(task) if left else (0.0, 0.0)
    hours = steps * left / 3600
    return {
        "dataset": task.dataset.name,
        "settings": task.settings.to_dict(),
        "real_images": len(task.train),
        "test_images": len(task.test),
        "rows": rows,
        "steps": steps,
        "classifiers": len(wanted),
        "kept": len(kept),
        "device": str(task.device),
        "hours_here": [round(fastest / _UNSURE * hours, 3), round(slowest * _UNSURE * hours, 3)],
    }


def _step_seconds(task: RecognitionTask) -> tuple[float, float]:
    """The shortest and the longest of a few steps, in seconds, after an untimed one."""
    classifier = task.classifier(Mixture.of(task.train, None), 0)
    found = []
    for step in range(1 + _TIMED_STEPS):
        began = time.perf_counter()
        classifier.step(step)
        if task.device.type == "cuda":
            torch.cuda.synchronize(task.device)
        found.append(time.perf_counter() - began)
    return min(found[1:]), max(found[1:])
