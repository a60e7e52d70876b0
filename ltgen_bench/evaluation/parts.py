"""The inputs and outputs of an evaluation: metric settings in, parts of a record out."""

from __future__ import annotations

import numpy as np

from ltgen_bench.core.choices import Group
from ltgen_bench.core.protocol import Protocol
from ltgen_bench.datasets import Dataset, ImageSet
from ltgen_bench.datasets.base import ReferenceInfo
from ltgen_bench.evaluation.record import DatasetPart, ExtractorPart, ReferencePart, SamplesPart
from ltgen_bench.evaluation.samples import Samples
from ltgen_bench.features import Extractor
from ltgen_bench.metrics import MetricSettings


def class_mix_differs(labels: np.ndarray | None, others: np.ndarray, classes: int) -> bool:
    """Whether more than a tenth of one set would have to change its class to have the other's class shares.

    Images without labels have no shares that could differ.
    """
    if labels is None:
        return False
    shares = [np.bincount(values, minlength=classes) / len(values) for values in (labels, others)]
    return bool(np.abs(shares[0] - shares[1]).sum() / 2 > 0.1)


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
        fixed_class_counts=protocol.label_policy == "equal",
        by_content=protocol.random_parts is not None,
        equal_numbers=protocol.group_distances is not None,
        real_vs_real=protocol.ceilings is not None,
        label_probe=protocol.label_probe is not None,
    )


def dataset_part(dataset: Dataset, unseen: tuple[ReferenceInfo, ImageSet] | None = None) -> DatasetPart:
    """A data set as it stands in a record; reads the pixels for the fingerprints.

    `unseen` is the reference that the samples were compared with, where it is not the one that the data set names.
    """
    fingerprint, reference_fingerprint = dataset.fingerprint(), dataset.reference_fingerprint()
    assert fingerprint is not None  # the images were just read
    assert reference_fingerprint is not None
    papers = ReferencePart(
        name=dataset.reference.name,
        class_counts=list(dataset.reference.class_counts),
        fingerprint=reference_fingerprint,
    )
    own = None
    if unseen is not None:
        info, images = unseen
        own = ReferencePart(name=info.name, class_counts=list(info.class_counts), fingerprint=images.fingerprint())
    return DatasetPart(
        name=dataset.name,
        image_shape=list(dataset.image_shape),
        class_names=list(dataset.class_names),
        class_counts=list(dataset.class_counts),
        total=dataset.total,
        groups={Group(key): list(classes) for key, classes in dataset.groups.as_dict().items()},
        fingerprint=fingerprint,
        reference=own or papers,
        papers_reference=None if own is None else papers,
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


def samples_part(samples: Samples, dataset: Dataset, resized_from: int | None) -> SamplesPart:
    """Samples as they stand in a record."""
    return SamplesPart(
        count=len(samples),
        class_counts=samples.class_counts(dataset.class_count),
        sha256=samples.sha256(),
        labelled=samples.labels is not None,
        resized_from=resized_from,
    )
