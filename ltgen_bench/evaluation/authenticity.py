"""Whether samples can be honest, asked of the samples alone; what is asked and why is in `metrics.authenticity`.

`evaluate` makes a note of a broken rule, `verify` refuses. The limits, how often honest samples break them and what
each finds are measured in `tests/statistics/authenticity.md`. Samples that were changed just a little towards the
reference, or tuned just a little to the network, pass: only drawing them again from the weights answers those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ltgen_bench.datasets import Dataset, ImageSet
from ltgen_bench.evaluation.samples import Samples
from ltgen_bench.features.networks.random import DIMENSION, random_features
from ltgen_bench.metrics import fid
from ltgen_bench.metrics.authenticity import (
    Exchange,
    Proximity,
    exchange_test,
    second_opinion,
    seed_overlap,
    unseen_proximity,
)
from ltgen_bench.metrics.inputs import FloatArray, IntArray
from ltgen_bench.metrics.real_vs_real import random_halves

MOST_Z = 3.5  # of the exchange test; samples of trained models have -12 to -1.8, real images about 0 +- 1
MOST_NEAR = 0.10  # share of all samples near to an unseen image; real images have .01 to .03
MOST_NEAR_OF_A_CLASS = 0.40
MOST_OPINION = 6.0  # times worse in random networks than in the protocol's; honest samples have .5 to 4
GOOD = 10.0  # distances in real units up to which a second opinion is asked for
MOST_OVERLAP = 0.10  # share of a seed's samples near to one of another seed; independent draws have .01
FEWEST_OF_A_CLASS = 20  # samples of a class that are judged by themselves
NETWORKS = 12
MOST_ROWS = 5000  # samples that are looked at: drawn at random where there are more
_OPINION_ROWS = 2000  # on either side: a second opinion needs no more
_HALVES = 4
_PIXELS = 32  # a side


@dataclass(frozen=True)
class Broken:
    """A rule that the samples break, in numbers and in words."""

    rule: str
    value: float
    limit: float
    words: str


@dataclass(frozen=True)
class AuthenticityInputs:
    """Features float32 of samples (N, D), of training images (T, D) and of unseen ones (M, D), with the latter."""

    samples: FloatArray
    training: FloatArray
    unseen: FloatArray
    unseen_images: ImageSet
    # trained networks that are not the protocol's, by name: images uint8 (N, C, H, W) to features float32 (N, D)
    others: Mapping[str, Callable[[np.ndarray], FloatArray]] = field(default_factory=dict)


@dataclass(frozen=True)
class Authenticity:
    """What was asked and found; `values` by name, None where it could not be asked, with the reason in `reasons`."""

    seed: int  # of the random networks
    values: dict[str, float | None]
    reasons: dict[str, str]
    broken: tuple[Broken, ...]

    def line(self) -> str:
        """Every broken rule in one line."""
        return "; ".join(one.words for one in self.broken)


def assess(
    samples: Samples,
    dataset: Dataset,
    features: AuthenticityInputs | None,
    *,
    seed: int,
    fid_upper: float | None = None,
    fid_floor: float | None = None,
    device: str = "cpu",
) -> Authenticity:
    """Ask everything that one set of samples can be asked; `features` in the protocol's network, None without unseen
    images.

    `seed` draws the random networks and, of many samples, those that are looked at: to judge a stranger's samples it
    must be one that he cannot foresee. `fid_upper` is the upper end of the distance's interval, `fid_floor` what real
    images would score at these numbers.
    """
    rows = _chosen(len(samples), seed)
    images = samples.images[rows]
    labels = None if samples.labels is None else samples.labels[rows]
    train = dataset.train()
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    broken: list[Broken] = []
    if features is None:
        reasons["unseen"] = f"{dataset.name} has no real images that nobody trained on"
    else:
        unseen = features.unseen_images
        spaces = {
            "features": (features.samples[rows], features.training, features.unseen),
            "pixels": (_pixels(images), _pixels(train.images), _pixels(unseen.images)),
        }
        for space, (own, seen, other) in spaces.items():
            near = unseen_proximity(own, labels, other, device=device)
            test = exchange_test(own, labels, seen, train.labels, other, unseen.labels, device=device)
            values |= _numbers(space, near, test)
            broken += _too_near(space, near, labels, dataset.class_names)
            broken += _too_often(space, test)
        opinions, more = _opinions(images, labels, features, features.samples[rows], seed, device)
        values |= opinions
        broken += more
        if values["opinion"] is None:
            reasons["opinion"] = f"it needs {4 * DIMENSION} unseen images, and {2 * DIMENSION} samples"
    if fid_upper is not None and fid_floor is not None and fid_upper < fid_floor:
        words = (
            f"the distance, at most {fid_upper:.3g}, is below what real images score at these numbers, {fid_floor:.3g}"
        )
        broken.append(Broken("better than real", fid_upper, fid_floor, words))
    return Authenticity(seed, values, reasons, tuple(broken))


def seeds_alike(samples: dict[int, Samples], *, seed: int, device: str = "cpu") -> list[Broken]:
    """The pairs of seeds whose samples are nearer to each other than independent draws of one generator are."""
    pixels = {key: _pixels(one.images[_chosen(len(one), seed, 2000)]) for key, one in samples.items()}
    found = []
    ordered = sorted(samples)
    for position, first in enumerate(ordered):
        for second in ordered[position + 1 :]:
            share = seed_overlap(pixels[first], _pixels(samples[second].images), device=device)
            if share > MOST_OVERLAP * max(1.0, len(samples[second]) / len(pixels[first])):
                words = (
                    f"{share:.0%} of the samples of seed {first} lie beside one of seed {second}: they are no two draws"
                )
                found.append(Broken("seeds", share, MOST_OVERLAP, words))
    return found


def _chosen(count: int, seed: int, most: int = MOST_ROWS) -> IntArray:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def _pixels(images: np.ndarray) -> FloatArray:
    """Pixels (N, C h w) as float32; of images larger than 32 pixels means of blocks, which is what memory allows."""
    count, channels, height, width = images.shape
    block = max(1, min(height, width) // _PIXELS)
    if block == 1:
        return images.reshape(count, -1).astype(np.float32)
    rows, columns = height // block, width // block
    found = np.empty((count, channels, rows, columns), np.float32)
    for start in range(0, count, 1024):
        part = images[start : start + 1024, :, : rows * block, : columns * block]
        part = part.reshape(len(part), channels, rows, block, columns, block)
        found[start : start + len(part)] = part.mean(axis=(3, 5), dtype=np.float32)
    return found.reshape(count, -1)


def _numbers(space: str, near: Proximity | None, test: Exchange | None) -> dict[str, float | None]:
    return {
        f"near_{space}": None if near is None else near.share,
        f"exchange_{space}": None if test is None else test.z,
    }


def _too_near(space: str, near: Proximity | None, labels: IntArray | None, names: Sequence[str]) -> Iterator[Broken]:
    if near is None:
        return
    if near.share > MOST_NEAR:
        words = f"{near.share:.0%} of the samples lie beside a real image that no model trained on ({space})"
        yield Broken(f"near_{space}", near.share, MOST_NEAR, words)
        return
    for c, share in near.by_class.items():
        if labels is not None and share > MOST_NEAR_OF_A_CLASS and int((labels == c).sum()) >= FEWEST_OF_A_CLASS:
            words = f"{share:.0%} of the samples of class {names[c]} lie beside a real image that no model trained on"
            yield Broken(f"near_{space}", share, MOST_NEAR_OF_A_CLASS, f"{words} ({space})")


def _too_often(space: str, test: Exchange | None) -> Iterator[Broken]:
    if test is not None and test.z > MOST_Z:
        words = (
            f"the real image nearest to a sample is one that no model trained on in {test.share:.1%} of the cases, by "
            f"chance in {test.expected:.1%} ({space}; z = {test.z:.1f})"
        )
        yield Broken(f"exchange_{space}", test.z, MOST_Z, words)


def _opinions(
    images: np.ndarray, labels: IntArray | None, features: AuthenticityInputs, own: FloatArray, seed: int, device: str
) -> tuple[dict[str, float | None], list[Broken]]:
    """The ratios of second opinions and the first, against unseen images in equal parts by class.

    That of random networks is called "opinion". Those of other trained networks carry their names and are numbers for
    a reader, without a limit: what honest samples have there differs from one data set to the next. Of samples that are
    far from real in the protocol's network as well nobody would say that they were tuned to it.
    """
    unseen = features.unseen_images
    rows = _balanced(unseen, labels, seed)
    rows = rows[_chosen(len(rows), seed, _OPINION_ROWS)]
    halves = [random_halves(features.unseen[rows], unseen.labels[rows], seed + k) for k in range(_HALVES)]
    if min(len(own), len(halves[0][0])) < 2 * DIMENSION:
        return {"opinion": None}, []
    mine = _chosen(len(own), seed, _OPINION_ROWS)
    images, own = images[mine], own[mine]
    # in as many dimensions as the random networks have: in more, the bias of few images would hide the difference
    main = _in_real_units(*_flattened(own, features.unseen[rows], seed), halves)
    others = []
    for network in np.random.SeedSequence(seed).generate_state(NETWORKS):
        theirs = random_features(unseen.images[rows], int(network), device=device)
        others.append(_in_real_units(random_features(images, int(network), device=device), theirs, halves))
    if not 0 < main < np.inf:
        return {"opinion": None}, []
    opinion = second_opinion(main, others)
    found: dict[str, float | None] = {"opinion": opinion.ratio}
    for name, extract in features.others.items():
        both = _flattened(extract(images), extract(unseen.images[rows]), seed)
        found[f"opinion_{name}"] = _in_real_units(*both, halves) / main
    if opinion.ratio <= MOST_OPINION or opinion.main > GOOD:
        return found, []
    words = (
        f"in networks that were drawn at random the samples are {opinion.others:.3g} times as far from real images as "
        f"these are from each other, and {opinion.main:.3g} times in the protocol's network: tuned to it?"
    )
    return found, [Broken("opinion", opinion.ratio, MOST_OPINION, words)]


def _flattened(samples: FloatArray, real: FloatArray, seed: int) -> tuple[FloatArray, FloatArray]:
    """Both at random in as few dimensions (64) as a random network has; as they are where there are no more."""
    columns = samples.shape[1]
    if columns <= DIMENSION:
        return samples, real
    random = np.random.default_rng(seed)
    flat = np.asarray(random.standard_normal((columns, DIMENSION)) / columns**0.5, dtype=np.float32)
    return samples @ flat, real @ flat


def _in_real_units(features: FloatArray, real: FloatArray, halves: Sequence[tuple[IntArray, IntArray]]) -> float:
    own = float(np.mean([fid(real[first], real[second]) for first, second in halves]))
    return fid(features, real) / own if own > 0 else float("inf")


def _balanced(unseen: ImageSet, labels: IntArray | None, seed: int) -> IntArray:
    """Rows of unseen images, of every class that was sampled as many as the smallest has, or 20."""
    if labels is None:
        return _chosen(len(unseen), seed)
    present = [np.flatnonzero(unseen.labels == c) for c in np.unique(labels)]
    wanted = max(min(map(len, present)), FEWEST_OF_A_CLASS)
    wanted = min(wanted, max(1, MOST_ROWS // len(present)))
    generator = np.random.default_rng(seed)
    return np.sort(np.concatenate([generator.permutation(rows)[:wanted] for rows in present]))
