"""The evaluation stage: images and labels in, every number of the protocol out. Needs no model and no checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.devices import measuring_device, memory_errors, resolve_device
from ltgen_bench.core.errors import MissingFileError
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.protocol import Protocol, custom_protocol, get_protocol
from ltgen_bench.core.storage import sha256_json
from ltgen_bench.datasets import Dataset, load_dataset
from ltgen_bench.datasets.overlap import not_trained_on, rows_of_equal_images
from ltgen_bench.evaluation.parts import (
    class_mix_differs,
    dataset_part,
    extractor_part,
    memorisation_inputs,
    metric_settings,
)
from ltgen_bench.evaluation.places import EvaluationPlaces, missing_weights, refuse_unused_weights
from ltgen_bench.evaluation.record import DatasetPart, ExtractorPart, SamplesPart
from ltgen_bench.evaluation.samples import Samples, as_samples, check_samples
from ltgen_bench.features import (
    ExtractedFeatures,
    Extractor,
    FeatureCache,
    extract_features,
    feature_key,
    load_extractor,
)
from ltgen_bench.metrics import FeatureArrays, GaussianStatistics, MetricReport, compute_metrics, gaussian_statistics
from ltgen_bench.metrics.label_check import label_warning


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found; the parts of a record that it can fill."""

    report: MetricReport
    protocol: Protocol
    dataset: DatasetPart
    samples: SamplesPart
    extractors: dict[str, ExtractorPart]
    labels: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The metrics, as JSON values."""
        return self.report.to_dict()


def evaluate(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    dataset: str | Dataset,
    protocol: str | Protocol | None = None,
    places: EvaluationPlaces | None = None,
    device: str = "auto",
    batch_size: int = 128,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure generated images, uint8 (N, H, W, C) or (N, C, H, W), with integer labels (N,), by a data set's protocol.

    `protocol` is a published one by name, one of your own, or None for the data set's default with as many samples as
    are given (`+custom` where that is another number). Raises SamplesError for images or labels that do not fit the
    data set, MissingFileError when the data set's images or the extractor's weights are not there.
    """
    places = places or EvaluationPlaces()
    if isinstance(dataset, str):
        dataset = load_dataset(DatasetConfig(name=dataset), places.data_root)
    if protocol is None:
        protocol = get_protocol(dataset.default_protocol)
    elif isinstance(protocol, str):
        protocol = get_protocol(protocol)
    samples = as_samples(images, labels, dataset)
    if len(samples) != protocol.samples:
        protocol = custom_protocol(protocol, samples=len(samples))
    return evaluate_samples(
        samples,
        dataset,
        protocol,
        places=places,
        device=resolve_device(device),
        batch_size=batch_size,
        progress=progress,
    )


def evaluate_samples(
    samples: Samples,
    dataset: Dataset,
    protocol: Protocol,
    *,
    places: EvaluationPlaces,
    device: torch.device,
    batch_size: int,
    progress: Progress | None = None,
    resized_from: int | None = None,
    labelled: bool = True,
) -> Evaluation:
    """Measure samples by a protocol; the work behind `evaluate` and the pipeline.

    Without `labelled` the samples are unconditional: their labels are not looked at, and nothing is said of classes.
    """
    progress = progress or Progress()
    check_samples(samples, dataset)
    refuse_unused_weights(protocol, places)
    if missing := missing_weights(protocol, places):
        raise MissingFileError("; ".join(f"{protocol.name} needs {file}" for file in missing.values()))
    device = measuring_device(device)
    with memory_errors("try a smaller --set execution.evaluation_batch_size"):
        return _evaluate(samples, dataset, protocol, places, device, batch_size, progress, resized_from, labelled)


def _evaluate(
    samples: Samples,
    dataset: Dataset,
    protocol: Protocol,
    places: EvaluationPlaces,
    device: torch.device,
    batch_size: int,
    progress: Progress,
    resized_from: int | None,
    labelled: bool,
) -> Evaluation:
    reference = dataset.reference_set()
    train = dataset.train()
    held_out = not_trained_on(dataset.held_out(), train)
    loaded: dict[str, Extractor] = {}
    for name in dict.fromkeys((protocol.extractor, protocol.manifold_extractor)):
        loaded[name] = load_extractor(
            name,
            device=str(device),
            weights=places.weights.get(name),
            weights_root=places.weights_root,
            precision=protocol.extractor_precision,
        )
    main, manifold = loaded[protocol.extractor], loaded[protocol.manifold_extractor]
    cache = places.feature_cache(progress)

    def features(what: str, images: np.ndarray, extractor: Extractor) -> ExtractedFeatures:
        def found_in_cache(count: int) -> None:
            if count:
                progress.say(f"{extractor.name} of {what}: {count:,} of {len(images):,} images were in the cache")

        with progress:
            progress.start(f"{extractor.name} of {what}", len(images), "images")
            return extract_features(
                images,
                extractor,
                batch_size=batch_size,
                cache=cache,
                progress=lambda done, total: progress.update(done),
                found_in_cache=found_in_cache,
            )

    def arrays(what: str, images: np.ndarray, labels: np.ndarray | None) -> FeatureArrays:
        own = features(what, images, main)
        second = own.features if manifold is main else features(what, images, manifold).features
        return FeatureArrays(own.features, labels, own.probabilities, second)

    def of_real_images(what: str, images: np.ndarray, extractor: Extractor) -> np.ndarray:
        """Features of training or held-out images, which are often reference images as well."""
        found = rows_of_equal_images(images, reference.images)
        result = np.empty((len(images), extractor.dim), np.float32)
        result[found >= 0] = real.features[found[found >= 0]]
        new = np.flatnonzero(found < 0)
        if len(new):
            result[new] = features(what, images if len(new) == len(images) else images[new], extractor).features
        return result

    generated = arrays("samples", samples.images, samples.labels if labelled else None)
    real = arrays(f"reference {dataset.reference.name}", reference.images, reference.labels)
    warning = label_warning(generated, real, dataset.class_names) if labelled else None
    if warning is not None:
        progress.say(f"warning: {warning}")
    classifier = main if labelled and main.class_names == tuple(dataset.class_names) else None
    report = compute_metrics(
        generated,
        real,
        settings=metric_settings(protocol),
        class_count=dataset.class_count,
        groups=dataset.groups.as_dict(),
        classifier_probabilities=generated.probabilities if classifier is not None else None,
        reference_statistics=_reference_statistics(real, reference.images, len(samples), main, cache),
        training=memorisation_inputs(samples, train, held_out, of_real_images, main),
        progress=progress.say,
        device=str(device),
    )
    notes = {"labels": warning} if warning is not None else {}
    class_counts = np.bincount(samples.labels[: len(samples) * labelled], minlength=dataset.class_count).tolist()
    if not labelled:
        notes["per_class"] = "unconditional samples belong to no class"
        report = replace(report, per_class={**(report.per_class or {}), "n_generated": class_counts})
    if report.fid is not None and len(samples) <= main.dim:
        notes["fid"] = (
            f"{len(samples):,} samples are fewer than the {main.dim:,} features: its bias dominates, so compare it "
            "with numbers from exactly as many samples only"
        )
    if held_out is not None and class_mix_differs(samples.labels, held_out.labels, dataset.class_count):
        notes["memorisation"] = (
            "the held-out images have other class shares than the samples (reference images that were trained on are "
            "left out), so an honest generator need not have the threshold's share of suspiciously near samples"
        )
    report = replace(report, notes={**report.notes, **notes})
    return Evaluation(
        report=report,
        protocol=protocol,
        dataset=dataset_part(dataset),
        samples=SamplesPart(
            count=len(samples),
            class_counts=class_counts,
            sha256=samples.sha256(),
            labelled=labelled,
            resized_from=resized_from,
        ),
        extractors={
            "features": extractor_part(main, protocol),
            "manifold": extractor_part(manifold, protocol),
        },
    )


def _reference_statistics(
    real: FeatureArrays, images: np.ndarray, samples: int, extractor: Extractor, cache: FeatureCache | None
) -> GaussianStatistics | None:
    """The reference's mean and covariance, from the cache where they are known; keyed by content, like the features.

    None where there are too few images for a covariance of full rank: then FID works on the features themselves.
    """
    if min(samples, len(images)) <= extractor.dim or cache is None:
        return None
    key = sha256_json({"statistics of": feature_key(images, extractor)})
    stored = cache.get(key)
    if stored is not None:
        return GaussianStatistics(stored["mu"], stored["sigma"], len(images))
    statistics = gaussian_statistics(real.features)
    cache.put(key, {"mu": statistics.mean, "sigma": statistics.covariance}, extractor=extractor.name)
    return statistics
