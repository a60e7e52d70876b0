"""False alarms and power of the tests that ask samples alone whether they can be honest (`evaluation.authenticity`).

    python tests/statistics/authenticity.py runs/digits-lt > tests/statistics/authenticity.md

Honest: the samples of the runs in the folder; real images that stand in for samples (random halves of the unseen
digits, the other half is what is unseen then); class means, Gaussians and blurred or mixed training images, which
nobody would call good, and copies of the training set with noise, which memorise. Attacks: unseen digits changed in
many ways, for all classes or for the three rarest only, and pixels tuned to the protocol's network.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import RecordError
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.protocol import get_protocol
from ltgen_bench.datasets import Dataset, ImageSet, load_dataset
from ltgen_bench.datasets.base import take
from ltgen_bench.datasets.unseen import unseen_images, unseen_reference
from ltgen_bench.evaluation import authenticity
from ltgen_bench.evaluation.feature_sets import FeatureSets
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.record_files import read_record
from ltgen_bench.evaluation.samples import Samples, read_samples
from ltgen_bench.metrics import fid

A_CLASS = 100
RARE = (7, 8, 9)
REPEATS = 40  # of every kind of synthetic honest set

random = np.random.default_rng(0)


def uint8(images: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def balanced(images: ImageSet, each: int = A_CLASS) -> np.ndarray:
    """Rows, `each` of every class, with repeats only where a class has fewer."""
    rows = [np.flatnonzero(images.labels == c) for c in range(10)]
    return np.concatenate([random.choice(of, each, replace=len(of) < each) for of in rows])


def partners(images: ImageSet, labels: np.ndarray) -> np.ndarray:
    """For every label another random image of that class, float64."""
    rows = [random.choice(np.flatnonzero(images.labels == c)) for c in labels]
    return images.images[rows].astype(np.float64)


def elastic(images: np.ndarray, strength: float) -> np.ndarray:
    result = np.empty_like(images)
    rows, columns = np.mgrid[:8, :8]
    for place, image in enumerate(images[:, 0]):
        across, down = (gaussian_filter(random.normal(size=(8, 8)), 1.5) * strength for _ in range(2))
        result[place, 0] = map_coordinates(image, [rows + down, columns + across], order=1, mode="nearest")
    return result


def zoomed(images: np.ndarray) -> np.ndarray:
    larger = torch.nn.functional.interpolate(torch.from_numpy(images), size=(10, 10), mode="bilinear")
    return larger[:, :, 1:9, 1:9].numpy()


def joined(first: np.ndarray, second: np.ndarray, where: tuple[slice, ...]) -> np.ndarray:
    result = first.copy()
    result[where] = second[where]
    return result


def leaks(unseen: ImageSet) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """What can be made of images that nobody may use."""
    rows = balanced(unseen)
    images, labels = unseen.images[rows].astype(np.float64), unseen.labels[rows]
    other, third = partners(unseen, labels), partners(unseen, labels)
    lower, odd = (slice(None), slice(None), slice(4, 8)), (slice(None), slice(None), slice(None), slice(0, 8, 2))
    right = (slice(None), slice(None), slice(None), slice(5, 8))
    shifted = np.roll(images, 1, 3)
    yield "noise, sigma 7", uint8(images + random.normal(0, 7, images.shape)), labels
    yield "noise, sigma 20", uint8(images + random.normal(0, 20, images.shape)), labels
    yield "noise, sigma 40", uint8(images + random.normal(0, 40, images.shape)), labels
    yield "15 % of a shifted copy", uint8(0.85 * images + 0.15 * shifted), labels
    yield "shifted by a pixel", uint8(shifted), labels
    yield "darker", uint8(0.8 * images + 10), labels
    yield "less contrast", uint8(0.7 * (images - 128) + 128), labels
    yield "five grey levels", uint8(64 * np.round(images / 64)), labels
    yield "enlarged and cropped", uint8(zoomed(images)), labels
    yield "elastic, weak", uint8(elastic(images, 1.0)), labels
    yield "elastic, strong", uint8(elastic(images, 3.0)), labels
    yield "two mixed, 70 : 30", uint8(0.7 * images + 0.3 * other), labels
    yield "two mixed, half and half", uint8(0.5 * (images + other)), labels
    yield "upper half of one, lower of another", uint8(joined(images, other, lower)), labels
    yield "every second column of another", uint8(joined(images, other, odd)), labels
    yield "patches of three", uint8(joined(joined(images, other, lower), third, right)), labels


def tuned(start: np.ndarray, network: torch.nn.Module, real: np.ndarray, until: float) -> np.ndarray:
    """Pixels moved by Adam until their features have the mean and covariance of `real`, or a distance of `until`."""
    x = torch.from_numpy(start.astype(np.float32) / 127.5 - 1).requires_grad_()
    mean = torch.from_numpy(real.mean(0)).double()
    covariance = torch.from_numpy(np.cov(real.T))
    optimizer = torch.optim.Adam([x], 0.02 if until == 0 else 0.001)
    for step in range(500):
        features = network(x.double())[0]
        if step % 2 == 0 and until > 0 and fid(features.detach().numpy(), real) < until:
            break
        loss = (features.mean(0) - mean).square().sum() + 5 * (torch.cov(features.T) - covariance).square().sum().sqrt()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            x.clamp_(-1, 1)
    return uint8((x.detach().numpy() + 1) * 127.5)


def honest(dataset: Dataset, unseen: ImageSet) -> Iterator[tuple[str, Callable[[], tuple[np.ndarray, np.ndarray]]]]:
    """Kinds of samples that use the training images only."""
    train = dataset.train()

    def copies(noise: float) -> tuple[np.ndarray, np.ndarray]:
        rows = balanced(train)
        images = train.images[rows].astype(np.float64)
        return uint8(images + random.normal(0, noise, images.shape)), train.labels[rows]

    def mixed() -> tuple[np.ndarray, np.ndarray]:
        rows = balanced(train)
        labels = train.labels[rows]
        return uint8(0.6 * train.images[rows] + 0.4 * partners(train, labels)), labels

    def gaussian() -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(10), A_CLASS)
        images = np.empty((len(labels), 1, 8, 8))
        for c in range(10):
            own = train.images[train.labels == c].reshape(-1, 64).astype(np.float64)
            spread = np.cov(own.T) + 25 * np.eye(64)
            images[labels == c] = random.multivariate_normal(own.mean(0), spread, A_CLASS).reshape(-1, 1, 8, 8)
        return uint8(images), labels

    def means() -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(10), A_CLASS)
        each = np.stack([train.images[train.labels == c].mean(0) for c in range(10)])
        return uint8(each[labels] + random.normal(0, 5, (len(labels), 1, 8, 8))), labels

    yield "training images with a little noise", lambda: copies(4)
    yield "training images with much noise", lambda: copies(25)
    yield "two training images mixed", mixed
    yield "a Gaussian a class", gaussian
    yield "class means with noise", means


class Judge:
    """Asks `assess` and prints a row."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        protocol = get_protocol("digits-1k.v2")
        places = EvaluationPlaces(Path("unused"), cache=False)
        self.sets = FeatureSets.of(protocol, places, torch.device("cpu"), 512, Progress())
        self.reference = unseen_reference(dataset)[1]
        self.real = self.sets.of_images("reference", self.reference.images)
        self.training = self.sets.of_images("training images", dataset.train().images)
        self.asked = 0

    def __call__(
        self, images: np.ndarray, labels: np.ndarray | None, unseen: ImageSet | None = None
    ) -> tuple[float, authenticity.Authenticity]:
        self.asked += 1
        own = self.sets.of_images("samples", images)
        distance = fid(own, self.real)
        unseen = unseen_images(self.dataset) if unseen is None else unseen
        assert unseen is not None
        features = authenticity.AuthenticityInputs(
            own, self.training, self.sets.of_images("unseen", unseen.images), unseen
        )
        return distance, authenticity.assess(Samples(images, labels), self.dataset, features, seed=1000 + self.asked)


def shown(name: str, distance: float, found: authenticity.Authenticity) -> str:
    keys = ("near_features", "near_pixels", "exchange_features", "exchange_pixels", "opinion")
    values = [f"{found.values[key]:.2f}" if found.values.get(key) is not None else "" for key in keys]
    rules = ", ".join(dict.fromkeys(one.rule for one in found.broken)) or "none"
    return f"| {name} | {distance:.2f} | {' | '.join(values)} | {rules} |"


HEAD = (
    "| samples | FD | near, features | near, pixels | exchange z, features | exchange z, pixels | opinion | broken |\n"
    "|---|---|---|---|---|---|---|---|"
)


def print_synthetic(judge: Judge, dataset: Dataset, unseen: ImageSet) -> None:
    print("\n## Synthetic honest sets\n")
    print(f"{REPEATS} of each kind: how many break a rule, and the extreme values.\n")
    print("| kind | broken | most near | most z | most opinion |\n|---|---|---|---|---|")
    for name, make in honest(dataset, unseen):
        tell(name, [judge(*make())[1] for _ in range(REPEATS)])
    real = []
    for _ in range(REPEATS):
        # real images in place of samples: half of what nobody trained on, the other half is left as unseen
        order = random.permutation(len(unseen))
        rest = take(unseen.images, unseen.labels, np.sort(order[len(order) // 2 :]))
        part = take(unseen.images, unseen.labels, np.sort(order[: len(order) // 2]))
        real.append(judge(part.images, part.labels, rest)[1])
    tell("real images that nobody trained on, another half as the unseen ones", real)


def tell(name: str, results: list[authenticity.Authenticity]) -> None:
    def most(*keys: str) -> float:
        return max(value for one in results for key in keys if (value := one.values.get(key)) is not None)

    broken = sum(bool(one.broken) for one in results)
    which = sorted({rule.rule for one in results for rule in one.broken})
    shares = most("near_features", "near_pixels"), most("exchange_features", "exchange_pixels"), most("opinion")
    rules = f" ({', '.join(which)})" if which else ""
    told = f"{broken} of {len(results)}{rules}"
    print(f"| {name} | {told} | {shares[0]:.3f} | {shares[1]:.1f} | {shares[2]:.2f} |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    dataset = load_dataset(DatasetConfig(name="digits-lt"), Path("unused"))
    unseen = unseen_images(dataset)
    assert unseen is not None
    judge = Judge(dataset)
    files = sorted(Path(sys.argv[1]).glob("*/*/samples/samples.npz"))
    print("# Can the samples be honest?\n\n`tests/statistics/authenticity.py`; limits:", end=" ")
    print(f"near {authenticity.MOST_NEAR} (of a class {authenticity.MOST_NEAR_OF_A_CLASS}), ", end="")
    print(f"exchange z {authenticity.MOST_Z}, opinion {authenticity.MOST_OPINION}.\n\n## Trained models\n\n{HEAD}")
    start: tuple[np.ndarray, np.ndarray] | None = None
    for file in files:
        try:
            record = read_record(file.parents[1] / "record.json")
        except RecordError:  # of an earlier version of the protocol
            continue
        if record.protocol.name != "digits-1k.v2":
            continue
        samples = read_samples(file, labelled=record.samples.labelled)
        place = file.parts
        print(shown(f"{place[-4]}, {place[-3].rpartition('-')[2]}", *judge(samples.images, samples.labels)), flush=True)
        if place[-4] == "ddpm" and samples.labels is not None and start is None:
            start = samples.images, samples.labels
    print(f"\n## Attacks\n\n{HEAD}")
    for name, images, labels in leaks(unseen):
        print(shown(name, *judge(images, labels)), flush=True)
    if start is not None:
        for name, images, labels in leaks(unseen):
            rare, chosen = start[0].copy(), start[1]
            for c in RARE:
                rare[chosen == c] = images[labels == c][: int((chosen == c).sum())]
            print(shown(f"DDPM; the three rarest classes: {name}", *judge(rare, chosen)), flush=True)
        network = judge.sets.main._network  # type: ignore[attr-defined]
        for name, until in (
            ("DDPM tuned to the network", 0.0),
            ("DDPM tuned a little, to 2.5", 2.5),
            ("DDPM tuned a little, to 2", 2.0),
        ):
            print(shown(name, *judge(tuned(start[0], network, judge.real, until), start[1])), flush=True)
        noise = random.integers(0, 256, start[0].shape).astype(np.uint8)
        print(shown("uniform noise tuned to the network", *judge(tuned(noise, network, judge.real, 0.0), start[1])))
    print_synthetic(judge, dataset, unseen)


if __name__ == "__main__":
    main()
