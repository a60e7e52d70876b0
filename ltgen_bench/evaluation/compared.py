"""The two sides of a measurement: features of samples and of the real images that they are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ltgen_bench.core.protocol import Protocol
from ltgen_bench.datasets import Dataset, ImageSet
from ltgen_bench.datasets.base import ReferenceInfo
from ltgen_bench.datasets.overlap import not_trained_on
from ltgen_bench.datasets.unseen import unseen_reference
from ltgen_bench.evaluation.feature_sets import FeatureSets
from ltgen_bench.evaluation.samples import Samples
from ltgen_bench.metrics import FeatureArrays, MemorisationInputs


@dataclass(frozen=True)
class Compared:
    """The features that a measurement compares, and the real images that some of them are of."""

    generated: FeatureArrays
    real: FeatureArrays
    reference: ImageSet  # what `real` are the features of
    papers: FeatureArrays | None  # the data set's usual reference, where `real` is the unseen one
    training: MemorisationInputs
    held_out: ImageSet | None


def reference_of(dataset: Dataset, protocol: Protocol) -> tuple[ReferenceInfo, ImageSet]:
    """The real images that `protocol` compares with; raises DataError where it wants unseen ones and there are none."""
    if protocol.reference == "unseen":
        return unseen_reference(dataset)
    return dataset.reference, dataset.reference_set()


def compared_sides(samples: Samples, dataset: Dataset, protocol: Protocol, sets: FeatureSets) -> Compared:
    """Extract all that a protocol compares; raises as `Evaluator.measure` does."""
    info, reference = reference_of(dataset, protocol)
    train = dataset.train()
    held_out = not_trained_on(dataset.held_out(), train)
    generated = sets.arrays("samples", samples.images, samples.labels)
    real = sets.arrays(f"reference {info.name}", reference.images, reference.labels)
    papers = None
    if protocol.reference == "unseen":
        theirs = dataset.reference_set()
        papers = sets.arrays(f"reference {dataset.reference.name}", theirs.images, theirs.labels)
    mirror = protocol.copies == "mirrored" and dataset.horizontal_flip  # as training may have seen them
    training = _memorisation_inputs(samples, train, held_out, reference, real, sets, mirror)
    return Compared(generated, real, reference, papers, training, held_out)


def _memorisation_inputs(
    samples: Samples,
    train: ImageSet,
    held_out: ImageSet | None,
    reference: ImageSet,
    real: FeatureArrays,
    sets: FeatureSets,
    mirror: bool,
) -> MemorisationInputs:
    """What the search for copies compares: features, and pixels (N, H, W, C), of generated and of real images."""

    def channels_last(images: np.ndarray) -> np.ndarray:
        return images.transpose(0, 2, 3, 1)

    training = sets.real_images("training images", train, reference, real)
    mirrored = None
    if mirror:
        mirrored = sets.of_images("mirrored training images", np.ascontiguousarray(train.images[..., ::-1]))
    unseen = None if held_out is None else sets.real_images("held-out images", held_out, reference, real)
    return MemorisationInputs(
        training_features=training,
        mirrored_features=mirrored,
        held_out_features=unseen,
        generated_pixels=channels_last(samples.images),
        training_pixels=channels_last(train.images),
        held_out_pixels=None if held_out is None else channels_last(held_out.images),
        training_labels=train.labels,
        held_out_labels=None if held_out is None else held_out.labels,
    )
