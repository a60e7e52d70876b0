"""The evaluation stage: images and labels in, every number of the protocol out. Needs no model and no checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltgen_bench.config import DatasetConfig
from ltgen_bench.datasets import Dataset, ImageSet, load_dataset
from ltgen_bench.datasets.base import take
from ltgen_bench.devices import measuring_device, memory_errors, resolve_device
from ltgen_bench.errors import ConfigError, MissingFileError, SamplesError
from ltgen_bench.features import (
    ExtractedFeatures,
    Extractor,
    FeatureCache,
    extract_features,
    feature_key,
    load_extractor,
)
from ltgen_bench.features import missing_weights as missing_extractor_weights
from ltgen_bench.label_check import label_warning
from ltgen_bench.metrics import (
    FeatureArrays,
    GaussianStatistics,
    MemorisationInputs,
    MetricReport,
    MetricSettings,
    compute_metrics,
    gaussian_statistics,
)
from ltgen_bench.progress import Progress
from ltgen_bench.protocol import Protocol, get_protocol
from ltgen_bench.record import DatasetPart, ExtractorPart, ReferencePart, SamplesPart
from ltgen_bench.samples import Samples
from ltgen_bench.storage import MissingFile, sha256_arrays, sha256_json


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


@dataclass(frozen=True)
class EvaluationPlaces:
    """Where weights and caches live."""

    data_root: Path = Path("data")
    weights: dict[str, Path] = field(default_factory=dict)  # extractor name -> file, for weights kept elsewhere
    cache: bool = True

    @property
    def weights_root(self) -> Path:
        """The folder of downloaded weights."""
        return self.data_root / "weights"

    def feature_cache(self, progress: Progress) -> FeatureCache | None:
        """The cache of extracted features, keyed by content; when it cannot be written, `progress` hears it."""
        if not self.cache:
            return None
        return FeatureCache(self.data_root / ".cache" / "features", lambda text: progress.say(f"warning: {text}"))


def missing_weights(protocol: Protocol, places: EvaluationPlaces) -> dict[str, MissingFile]:
    """The extractors whose weights a protocol needs and that are not there; cheap, so asked before any training."""
    found = {
        name: missing_extractor_weights(name, weights=places.weights.get(name), weights_root=places.weights_root)
        for name in dict.fromkeys((protocol.extractor, protocol.manifold_extractor))
    }
    return {name: missing for name, missing in found.items() if missing is not None}


def refuse_unused_weights(protocol: Protocol, places: EvaluationPlaces) -> None:
    """Raise ConfigError for weights of an extractor that `protocol` does not use: they were meant to count."""
    used = dict.fromkeys((protocol.extractor, protocol.manifold_extractor))
    for name, file in places.weights.items():
        if name not in used:
            raise ConfigError(
                f"weights of {name} are given ({file}) and protocol {protocol.name} uses {' and '.join(used)}; "
                "leave them out, or choose the extractor with --features"
            )


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


def custom_protocol(protocol: Protocol, **changes: Any) -> Protocol:
    """`protocol` with other settings, under a name that says so."""
    base = protocol.name.removesuffix("+custom")
    return protocol.model_copy(update={**changes, "name": f"{base}+custom", "summary": f"{base} with other settings."})


def as_samples(images: np.ndarray, labels: np.ndarray, dataset: Dataset) -> Samples:
    """Check arrays given in Python; the channels may come first or last."""
    images, labels = np.asarray(images), np.asarray(labels)
    channels, height, width = dataset.image_shape
    if images.ndim != 4:
        raise SamplesError(f"images have the shape {images.shape}; they must be (N, H, W, C) or (N, C, H, W)")
    if images.shape[1:] == (height, width, channels) != (channels, height, width):
        images = images.transpose(0, 3, 1, 2)
    if images.dtype != np.uint8:
        raise SamplesError(f"images have the dtype {images.dtype}; they must be uint8, 0 ... 255")
    if labels.ndim != 1 or len(labels) != len(images) or labels.dtype.kind not in "iu":
        raise SamplesError(f"labels are {labels.dtype} {labels.shape}; {len(images)} images need as many integers")
    return Samples(np.ascontiguousarray(images), labels.astype(np.int64))


def check_samples(samples: Samples, dataset: Dataset, source: str = "the samples") -> None:
    """Refuse samples that do not fit a data set, before anything is computed."""
    shape = samples.images.shape
    if shape[1:] != dataset.image_shape:
        channels, height, width = shape[1], shape[2], shape[3]
        wanted = dataset.image_shape
        raise SamplesError(
            f"{source} are {height}x{width} px with {channels} channel(s); "
            f"{dataset.name} has {wanted[1]}x{wanted[2]} px with {wanted[0]}"
            + _resize_hint(channels == wanted[0], height == width)
        )
    if len(samples) == 0:
        raise SamplesError(f"{source} are empty")
    low, high = int(samples.labels.min()), int(samples.labels.max())
    if low < 0 or high >= dataset.class_count:
        raise SamplesError(
            f"{source} have labels from {low} to {high}; {dataset.name} has {dataset.class_count} classes, "
            f"so labels go from 0 to {dataset.class_count - 1}"
        )


def _resize_hint(same_channels: bool, square: bool) -> str:
    if not same_channels:
        return ""
    return "; give --resize antialias to resize them" if square else "; only square samples can be resized"


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
    held_out = _not_trained_on(dataset.held_out(), train)
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
        training=_memorisation_inputs(samples, train, held_out, of_real_images, main),
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
    if held_out is not None and _class_mix_differs(samples.labels, held_out.labels, dataset.class_count):
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


def rows_of_equal_images(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each of `images` (N, ...) the row of one of `others` with the same pixels, or -1; int64 (N,)."""
    row_of = {sha256_arrays(image=image): row for row, image in enumerate(others)}
    return np.array([row_of.get(sha256_arrays(image=image), -1) for image in images], np.int64)


def _not_trained_on(held_out: ImageSet | None, train: ImageSet) -> ImageSet | None:
    """The held-out images whose pixels are those of no training image; None where none is left.

    A data set's files may hold an image on both sides, and its distance of 0 would pull the threshold of memorisation
    down. The images are copied only where some are left out.
    """
    if held_out is None:
        return None
    new = np.flatnonzero(rows_of_equal_images(held_out.images, train.images) < 0)
    if len(new) == len(held_out):
        return held_out
    return take(held_out.images, held_out.labels, new) if len(new) else None


def _class_mix_differs(labels: np.ndarray, others: np.ndarray, classes: int) -> bool:
    """Whether more than a tenth of one set would have to change its class to have the other's class shares."""
    shares = [np.bincount(values, minlength=classes) / len(values) for values in (labels, others)]
    return bool(np.abs(shares[0] - shares[1]).sum() / 2 > 0.1)


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


def _memorisation_inputs(
    samples: Samples,
    train: ImageSet,
    held_out: ImageSet | None,
    features: Callable[[str, np.ndarray, Extractor], np.ndarray],
    extractor: Extractor,
) -> MemorisationInputs:
    def channels_last(images: np.ndarray) -> np.ndarray:
        return images.transpose(0, 2, 3, 1)

    return MemorisationInputs(
        training_features=features("training images", train.images, extractor),
        held_out_features=None if held_out is None else features("held-out images", held_out.images, extractor),
        generated_pixels=channels_last(samples.images),
        training_pixels=channels_last(train.images),
        held_out_pixels=None if held_out is None else channels_last(held_out.images),
        training_labels=train.labels,
    )


def metric_settings(protocol: Protocol) -> MetricSettings:
    """A protocol's metric settings."""
    return MetricSettings(
        k=protocol.neighbours,
        prd_clusters_per_class=protocol.prd_clusters_per_class,
        prd_angles=protocol.prd_angles,
        prd_runs=protocol.prd_runs,
        prd_beta=protocol.prd_beta,
        prd_clustering=protocol.prd_clustering,
        inception_score_splits=protocol.inception_score_splits,
        kid_subset_size=protocol.kid_subset_size,
        kid_subsets=protocol.kid_subsets,
        seed=protocol.metric_seed,
    )


def dataset_part(dataset: Dataset) -> DatasetPart:
    """A data set as it stands in a record; reads the pixels for the fingerprints."""
    fingerprint, reference_fingerprint = dataset.fingerprint(), dataset.reference_fingerprint()
    assert fingerprint is not None  # the images were just read
    assert reference_fingerprint is not None
    return DatasetPart(
        name=dataset.name,
        image_shape=list(dataset.image_shape),
        class_names=list(dataset.class_names),
        class_counts=list(dataset.class_counts),
        total=dataset.total,
        groups={key: list(classes) for key, classes in dataset.groups.as_dict().items()},  # type: ignore[misc]
        fingerprint=fingerprint,
        reference=ReferencePart(
            name=dataset.reference.name,
            class_counts=list(dataset.reference.class_counts),
            fingerprint=reference_fingerprint,
        ),
    )


def extractor_part(extractor: Extractor, protocol: Protocol) -> ExtractorPart:
    """An extractor as it stands in a record."""
    return ExtractorPart(
        name=extractor.name,
        version=extractor.version,
        dim=extractor.dim,
        weights_sha256=extractor.weights_sha256,
        precision=protocol.extractor_precision,
        label=extractor.fid_label,
    )
