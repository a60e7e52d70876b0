"""Classifiers of noisy images in files of their own, for `sampling.classifier` of any diffusion method."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from ltgen_bench.core.config import build
from ltgen_bench.core.devices import cpu_threads, cuda_formats, resolve_device
from ltgen_bench.core.distributed import join_world
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.seeding import derive_seed
from ltgen_bench.core.storage import atomic_path, locked_folder, sha256_file, sha256_json
from ltgen_bench.datasets import ImageSet
from ltgen_bench.methods import ClassifierConfig, FitContext, NoiseClassifier, fit_classifier
from ltgen_bench.runs.resolve import ResolvedRun

_MOST_IMAGES = 2000  # that accuracy is measured on
_LEVELS = (0.0, 0.1, 0.25, 0.5)  # shares of the noise levels


def train_classifier(resolved: ResolvedRun, runs_dir: Path, progress: Progress, out: Path | None) -> dict[str, Any]:
    """Train the classifier of a run of `ddpm-cg`, resuming; returns where it is, and how often it is right.

    It is kept under `runs_dir` in a folder of its settings and seed, and copied to `out`. Collective.
    """
    config, world = resolved.config, join_world()
    options: ClassifierConfig = build(ClassifierConfig, config.method["classifier"], "method.classifier")
    untrained = NoiseClassifier(resolved.spec, config, options)
    key = sha256_json({**untrained.identity(), "training": untrained.run.training_identity()})[:10]
    folder = runs_dir / resolved.dataset.name / "classifiers" / f"{key}-s{config.seed}"
    device = resolve_device(config.execution.device, world.local_rank)
    execution = config.execution
    with cpu_threads(execution.threads), cuda_formats(execution.tf32, execution.compile):
        if world.is_main:
            folder.mkdir(parents=True, exist_ok=True)
            with locked_folder(folder, f"another process is working in {folder}; wait for it or choose another seed"):
                classifier = _fit(resolved, options, folder, device, progress)
        else:
            classifier = _fit(resolved, options, folder, device, progress)
        path = folder / "classifier.safetensors"
        if out is not None and world.is_main:
            with atomic_path(out) as temporary:
                shutil.copyfile(path, temporary)
        accuracy = noisy_accuracy(classifier, resolved.dataset.reference_set(), config.seed) if world.is_main else {}
    world.barrier()
    return {
        "classifier": str(out or path),
        "sha256": sha256_file(path),
        "parameters": sum(parameter.numel() for parameter in classifier.network.parameters()),
        "steps": classifier.run.training.steps,
        "class_sampling": options.class_sampling,
        "reference_accuracy": accuracy,
    }


def _fit(
    resolved: ResolvedRun, options: ClassifierConfig, folder: Path, device: torch.device, progress: Progress
) -> NoiseClassifier:
    context = FitContext(folder, device, resolved.config.seed, progress)
    return fit_classifier(resolved.spec, resolved.config, options, resolved.dataset.train(), context)


@torch.inference_mode()
def noisy_accuracy(classifier: NoiseClassifier, images: ImageSet, seed: int) -> dict[str, float]:
    """The share of images, evenly over all, whose class is found under noise of some levels t (0 is almost none)."""
    rows = torch.arange(len(images))[:: max(1, len(images) // _MOST_IMAGES)]
    labels = torch.from_numpy(images.labels)[rows]
    x0 = torch.from_numpy(images.images)[rows].float() / 127.5 - 1
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(derive_seed(seed, "classifier accuracy")))
    found = {}
    for share in _LEVELS:
        level = round(share * (classifier.schedule.steps - 1))
        t = torch.full((len(rows),), level)
        x_t = classifier.schedule.add_noise(x0, noise, t)
        right = 0
        for part in (slice(first, first + 256) for first in range(0, len(rows), 256)):
            scores = classifier.network(x_t[part].to(classifier.device), t[part].to(classifier.device))
            right += int((scores.argmax(dim=1).cpu() == labels[part]).sum())
        found[str(level)] = round(right / len(rows), 4)
    return found
