"""A private half of the reference: real images that no submitter has, which the maintainers of a board keep."""

from __future__ import annotations

from pathlib import Path

from ltgen_bench.core.errors import DataError
from ltgen_bench.core.protocol import Protocol
from ltgen_bench.datasets import Dataset, ImageSet
from ltgen_bench.datasets.overlap import rows_of_equal_images
from ltgen_bench.datasets.unseen import unseen_images
from ltgen_bench.evaluation.feature_sets import FeatureSets
from ltgen_bench.evaluation.sample_sources import load_samples
from ltgen_bench.evaluation.samples import Samples, check_samples
from ltgen_bench.metrics.private_half import FEWEST_IMAGES, HalfTest, private_half_test

MOST_PRIVATE_Z = 3.5  # honest samples have 0 +- 1


def load_private(path: Path, dataset: Dataset, cache: Path) -> ImageSet:
    """The private images of a data set: class folders, or an `.npz` with labels, in its size.

    Raises SamplesError or DataError for other files, and for images that are public: in the reference or trained on.
    """
    found = load_samples([path], dataset.class_names, cache)
    check_samples(found, dataset)
    assert found.labels is not None
    private = ImageSet(found.images, found.labels)
    for what, public in (("training set", dataset.train()), ("public reference", dataset.reference_set())):
        if equal := int((rows_of_equal_images(private, public) >= 0).sum()):
            raise DataError(f"{path}: {equal:,} of {len(private):,} private images are in the {what} of {dataset.name}")
    return private


def compare_halves(
    samples: Samples, dataset: Dataset, private: ImageSet, sets: FeatureSets, *, protocol: Protocol, seed: int
) -> HalfTest:
    """How much nearer `samples` are to the public unseen images than to `private` ones, in the protocol's network.

    `seed` is one that the samples' sender cannot foresee. Raises DataError where there are too few images to tell.
    """
    public = unseen_images(dataset)
    if public is None:
        raise DataError(f"{dataset.name} has no public images that nobody trained on, to compare private ones with")
    found = private_half_test(
        sets.of_images("samples", samples.images),
        sets.of_images("unseen images", public.images),
        public.labels,
        sets.of_images("private images", private.images),
        private.labels,
        seed=seed,
    )
    if found is None:
        raise DataError(
            f"{protocol.name} on {dataset.name}: fewer than {FEWEST_IMAGES} private images have a public one of their "
            "class beside them; nothing can be told from so few"
        )
    return found
