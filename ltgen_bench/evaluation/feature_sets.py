"""The features that an evaluation compares: of samples and of real images, by the protocol's two networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ltgen_bench.core.progress import Progress
from ltgen_bench.core.protocol import Protocol
from ltgen_bench.core.storage import sha256_json
from ltgen_bench.datasets import ImageSet
from ltgen_bench.datasets.overlap import rows_of_equal_images
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.features import (
    ExtractedFeatures,
    Extractor,
    FeatureCache,
    extract_features,
    extract_share,
    feature_key,
    load_extractor,
)
from ltgen_bench.metrics import FeatureArrays, GaussianStatistics, gaussian_statistics


@dataclass(frozen=True)
class FeatureSets:
    """Extracts features with the networks of a protocol, keeping them in the cache."""

    main: Extractor  # FID, KID, IS, PRD, label accuracy
    manifold: Extractor  # precision, recall, density, coverage; the same object where the network is the same
    cache: FeatureCache | None
    batch_size: int
    progress: Progress
    # which process's share of the chunks to compute, of how many; the arrays are then place holders, and the cache is
    # what the work is for
    share: tuple[int, int] | None = None

    @classmethod
    def of(
        cls, protocol: Protocol, places: EvaluationPlaces, device: torch.device, batch_size: int, progress: Progress
    ) -> FeatureSets:
        """Load a protocol's networks; raises MissingFileError or CheckpointError for weights that cannot be used."""
        loaded = {
            name: load_extractor(
                name,
                device=str(device),
                weights=places.weights.get(name),
                weights_root=places.weights_root,
                precision=protocol.extractor_precision,
            )
            for name in protocol.extractors()
        }
        main, manifold = loaded[protocol.extractor], loaded[protocol.manifold_extractor]
        return cls(main, manifold, places.feature_cache(progress), batch_size, progress)

    def arrays(self, what: str, images: np.ndarray, labels: np.ndarray | None) -> FeatureArrays:
        """Features of images uint8 (N, C, H, W) in both networks, and the first one's class probabilities."""
        own = self._extract(what, images, self.main)
        second = own.features if self.manifold is self.main else self._extract(what, images, self.manifold).features
        return FeatureArrays(own.features, labels, own.probabilities, second)

    def real_images(self, what: str, images: ImageSet, reference: ImageSet, known: FeatureArrays) -> np.ndarray:
        """Features float32 (N, D) of training or held-out images; `known` are those of `reference`, often the same."""
        found = rows_of_equal_images(images, reference)
        result = np.empty((len(images), self.main.dim), np.float32)
        result[found >= 0] = known.features[found[found >= 0]]
        new = np.flatnonzero(found < 0)
        if len(new):
            pixels = images.images if len(new) == len(images) else images.images[new]
            result[new] = self._extract(what, pixels, self.main).features
        return result

    def of_images(self, what: str, images: np.ndarray) -> np.ndarray:
        """Features float32 (N, D) of images uint8 (N, C, H, W) in the first network."""
        return self._extract(what, images, self.main).features

    def reference_statistics(self, real: FeatureArrays, images: np.ndarray, samples: int) -> GaussianStatistics | None:
        """The reference's mean and covariance, from the cache where they are known; keyed by content, as features are.

        None where there are too few images for a covariance of full rank: then FID works on the features themselves.
        """
        if min(samples, len(images)) <= self.main.dim or self.cache is None:
            return None
        key = sha256_json({"statistics of": feature_key(images, self.main)})
        stored = self.cache.get(key)
        if stored is not None:
            return GaussianStatistics(stored["mu"], stored["sigma"], len(images))
        statistics = gaussian_statistics(real.features)
        self.cache.put(key, {"mu": statistics.mean, "sigma": statistics.covariance}, extractor=self.main.name)
        return statistics

    def _extract(self, what: str, images: np.ndarray, extractor: Extractor) -> ExtractedFeatures:
        if self.share is not None:
            assert self.cache is not None
            rank, size = self.share
            extract_share(images, extractor, self.cache, rank=rank, size=size, batch_size=self.batch_size)
            return ExtractedFeatures(np.zeros((len(images), extractor.dim), np.float32), None)

        def found_in_cache(count: int) -> None:
            if count:
                self.progress.say(f"{extractor.name} of {what}: {count:,} of {len(images):,} images were in the cache")

        with self.progress:
            self.progress.start(f"{extractor.name} of {what}", len(images), "images")
            return extract_features(
                images,
                extractor,
                batch_size=self.batch_size,
                cache=self.cache,
                progress=lambda done, total: self.progress.update(done),
                found_in_cache=found_in_cache,
            )
