"""The inputs and outputs of an evaluation: metric settings in, parts of a record out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ltgen_bench.core.protocol import Protocol
from ltgen_bench.datasets import Dataset, ImageSet
from ltgen_bench.evaluation.record import DatasetPart, ExtractorPart, ReferencePart
from ltgen_bench.evaluation.samples import Samples
from ltgen_bench.features import Extractor
from ltgen_bench.metrics import MemorisationInputs, MetricSettings


def class_mix_differs(labels: np.ndarray, others: np.ndarray, classes: int) -> bool:
    """Whether more than a tenth of one set would have to change its class to have the other's class shares."""
    shares = [np.bincount(values, minlength=classes) / len(values) for values in (labels, others)]
    return bool(np.abs(shares[0] - shares[1]).sum() / 2 > 0.1)


def memorisation_inputs(
    samples: Samples,
    train: ImageSet,
    held_out: ImageSet | None,
    features: Callable[[str, np.ndarray, Extractor], np.ndarray],
    extractor: Extractor,
) -> MemorisationInputs:
    """What the search for copies compares: features and pixels of samples, training images and held-out images."""

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
