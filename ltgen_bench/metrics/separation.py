"""How well the classes lie apart in a representation: numbers for what the papers show as pictures.

CORAL (Rodriguez et al. 2025) claims that rare classes are entangled with frequent ones in the bottleneck of the U-Net,
and shows maps. Here the claim is numbers, each with an interval. `features` are float (N, D), `labels` int64 (N,)
everywhere; distances are Euclidean; nothing depends on the order of the images but ties.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics.separation_error import bootstrap_means, bootstrap_nc1, jackknife_rank

NEIGHBOURS = 10
PER_IMAGE = ("knn_purity", "silhouette", "nearest_mean_accuracy", "probe_accuracy")
_TILE_BYTES = 256 * 2**20
_MOST_PAIRS = 20  # classes, up to which every pair's share of neighbours is listed
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SeparationNumber:
    """A number of some classes; None with a reason where it cannot be computed."""

    group: str  # "all", "many", "medium", "few", or "class:3"
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def separation(
    features: NDArray[Any],
    labels: NDArray[np.int64],
    class_count: int,
    groups: Mapping[str, Sequence[int]],
    *,
    k: int = NEIGHBOURS,
    seed: int = 0,
) -> list[SeparationNumber]:
    """Every number, overall, by group and by class.

    `knn_purity`: share of an image's k nearest neighbours (itself left out) that are of its class; `knn_chance` what
    chance gives, (n - 1) / (N - 1); `knn_over_chance` their ratio; `neighbours_of:c` the share that is of class c,
    which for a rare class says what it borrows. `silhouette`: mean of (b - a) / max(a, b) (Rousseeuw 1987).
    `nearest_mean_accuracy`: share of images that lie nearest to the mean of their own class, themselves left out.
    `probe_accuracy`: of a linear classifier, see `probe_correct`. `nc1`: variability collapse, see `nc1`.
    `effective_rank` by class, see `effective_rank`.

    Intervals are 95 %: what other images of the same classes would have given (bootstrap within classes; for the rank a
    jackknife). Raises SamplesError for features that are not finite or fit no label.
    """
    features, labels = _checked(features, labels, class_count, k)
    counts = np.bincount(labels, minlength=class_count)
    near, sums = neighbours_and_sums(features, labels, class_count, k)
    own = labels[near] == labels[:, None]
    values = {
        "knn_purity": own.mean(axis=1),
        "silhouette": silhouette_values(sums, labels, counts),
        "nearest_mean_accuracy": nearest_mean_correct(features, labels, counts),
        "probe_accuracy": probe_correct(features, labels, seed),
    }
    kept = {name: _class_reasons(name, counts, k) for name in values}
    places: dict[str, list[int]] = {"all": list(range(class_count))}
    places |= {name: list(of) for name, of in groups.items() if len(of)}
    places |= {f"class:{c}": [c] for c in range(class_count) if counts[c]}
    found: list[SeparationNumber] = []
    for group, classes in places.items():
        for name, value in values.items():
            found.append(_mean_number(group, name, value, labels, classes, kept[name], seed))
        found += _against_chance(group, found, counts, classes)
    found += _nc1_number(features, labels, class_count, seed)
    found += _ranks(features, labels, counts, places, seed)
    shares = neighbour_shares(near, labels, class_count)
    sources = list(range(class_count)) if class_count <= _MOST_PAIRS else sorted(groups.get("few", ()))
    for c in (c for c in sources if counts[c]):
        found += [SeparationNumber(f"class:{c}", f"neighbours_of:{d}", float(shares[c, d])) for d in range(class_count)]
    for group, members in groups.items():
        present = [c for c in members if counts[c]]
        for other, of in groups.items():
            if present and len(of):
                share = float(shares[np.ix_(present, list(of))].sum(axis=1).mean())
                found.append(SeparationNumber(group, f"neighbours_in:{other}", share))
    return found


def neighbours_and_sums(
    features: NDArray[Any], labels: NDArray[np.int64], class_count: int, k: int
) -> tuple[NDArray[np.int64], _Floats]:
    """The k nearest neighbours of each image, int64 (N, k), and its summed distance to each class, (N, class_count).

    An image is no neighbour of itself. Distances are float64, in tiles of rows, so that memory stays below a limit.
    """
    x = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))
    x = x - x.mean(dim=0)
    member = torch.nn.functional.one_hot(torch.from_numpy(labels), class_count).double()
    squares = x.square().sum(dim=1)
    rows = max(1, _TILE_BYTES // (8 * len(x)))
    near, sums = [], []
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        distance = torch.addmm(squares[None, :], part, x.T, alpha=-2).add_(squares[start : start + rows, None])
        own = torch.arange(len(part))
        distance.clamp_(min=0)
        distance[own, own + start] = torch.inf
        near.append(distance.topk(k, dim=1, largest=False).indices)
        distance[own, own + start] = 0
        sums.append(distance.sqrt_() @ member)
    return torch.cat(near).numpy(), torch.cat(sums).numpy()


def neighbour_shares(near: NDArray[np.int64], labels: NDArray[np.int64], class_count: int) -> _Floats:
    """Which classes the neighbours of each class's images are of: shares (class_count, class_count), rows sum to 1.

    A class without images has a row of zeros. This is "feature borrowing" in the representation.
    """
    pairs = labels[:, None] * class_count + labels[near]
    table = np.bincount(pairs.ravel(), minlength=class_count**2).reshape(class_count, class_count).astype(np.float64)
    shares: _Floats = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    return shares


def silhouette_values(sums: _Floats, labels: NDArray[np.int64], counts: NDArray[np.int64]) -> _Floats:
    """Every image's silhouette, from its summed distances to each class; 0 for the only image of a class."""
    row = np.arange(len(labels))
    own = sums[row, labels] / np.maximum(counts[labels] - 1, 1)
    others = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    others[row, labels] = np.inf
    nearest = others.min(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (nearest - own) / np.maximum(nearest, own)
    return np.where((counts[labels] > 1) & np.isfinite(value), value, 0.0)


def nearest_mean_correct(features: _Floats, labels: NDArray[np.int64], counts: NDArray[np.int64]) -> _Floats:
    """Whether each image lies nearest to the mean of its class, computed without it; 0 or 1, float (N,)."""
    present = np.flatnonzero(counts)
    position = np.full(len(counts), -1)
    position[present] = np.arange(len(present))
    total = np.zeros((len(present), features.shape[1]))
    np.add.at(total, position[labels], features)
    means = total / counts[present, None]
    distance = np.square(features).sum(1)[:, None] - 2 * features @ means.T + np.square(means).sum(1)
    row, own = np.arange(len(labels)), position[labels]
    n = counts[labels].astype(np.float64)
    # leaving x out moves the mean away from it: |x - (n m - x) / (n - 1)| = n / (n - 1) |x - m|
    factor = np.where(n > 1, n / np.maximum(n - 1, 1), np.inf)
    with np.errstate(invalid="ignore"):
        distance[row, own] = np.where(n > 1, distance[row, own] * factor**2, np.inf)
    correct: _Floats = (distance.argmin(axis=1) == own).astype(np.float64)
    return correct


def probe_correct(features: _Floats, labels: NDArray[np.int64], seed: int) -> _Floats:
    """Whether a linear classifier that has not seen the image names its class; 0 or 1, float (N,), NaN where untested.

    Multinomial logistic regression on standardised features, squared norm with weight 1 (scikit-learn's C = 1), to
    convergence; fitted on one half of every class (drawn with `seed`) and asked about the other, then the other way
    round. An image that is the only one of its class is not tested.
    """
    from sklearn.linear_model import LogisticRegression

    half = np.zeros(len(labels), np.int64)
    generator = np.random.default_rng(seed)
    counts = np.bincount(labels)
    for c in np.flatnonzero(counts):
        own = generator.permutation(np.flatnonzero(labels == c))
        half[own] = np.arange(len(own)) % 2
    correct = np.full(len(labels), np.nan)
    tested = counts[labels] > 1
    if len(np.unique(labels[tested])) < 2:
        return correct
    for part in (0, 1):
        fit, ask = (half != part) & tested, (half == part) & tested
        mean, scale = features[fit].mean(axis=0), features[fit].std(axis=0)
        scale[scale < 1e-12] = 1.0
        model = LogisticRegression(C=1.0, max_iter=5000).fit((features[fit] - mean) / scale, labels[fit])
        correct[ask] = model.predict((features[ask] - mean) / scale) == labels[ask]
    return correct


def nc1(features: _Floats, labels: NDArray[np.int64], weights: _Floats | None = None) -> float:
    """Variability collapse NC1 = tr(S_W S_B^+) / C (Papyan, Han and Donoho 2020); smaller is more separate.

    S_W is the mean over the classes of their covariance, S_B the covariance of the C class means, so that every class
    counts the same. `weights` are those of the images, (N,). Infinite where all means are equal.
    """
    classes, index = np.unique(labels, return_inverse=True)
    weight = np.ones(len(labels)) if weights is None else weights
    mass = np.bincount(index, weight, len(classes))
    onehot = np.zeros((len(classes), len(labels)))
    onehot[index, np.arange(len(labels))] = weight
    means = onehot @ features / mass[:, None]
    centred = means - means.mean(axis=0)
    _, s, v = np.linalg.svd(centred, full_matrices=False)
    kept = s > 1e-10 * max(float(s[0]), 1e-300)
    if not kept.any() or s[0] == 0:
        return float("inf")
    projected = np.square((features - means[index]) @ v[kept].T)  # (N, rank)
    within = (onehot @ projected / mass[:, None]).mean(axis=0)
    return float((within / np.square(s[kept])).sum())


def effective_rank(features: _Floats) -> float:
    """exp of the entropy of the normalised eigenvalues of the covariance (Roy and Vetterli 2007): 1 is a line.

    A class whose representation has collapsed has a small one. 0 where all images are equal.
    """
    centred = features - features.mean(axis=0)
    small = centred.T @ centred if centred.shape[0] >= centred.shape[1] else centred @ centred.T
    eigenvalues = np.clip(np.linalg.eigvalsh(small), 0, None)
    total = eigenvalues.sum()
    if total <= 0:
        return 0.0
    share = eigenvalues[eigenvalues > 0] / total
    return float(np.exp(-(share * np.log(share)).sum()))


def _checked(
    features: NDArray[Any], labels: NDArray[np.int64], class_count: int, k: int
) -> tuple[_Floats, NDArray[np.int64]]:
    if features.ndim != 2 or labels.shape != (len(features),):
        raise SamplesError(f"features must be (N, D) and labels (N,), got {features.shape} and {labels.shape}")
    if not np.isfinite(features).all():
        raise SamplesError("features hold NaN or infinity")
    if len(features) <= k:
        raise SamplesError(f"{len(features)} images are too few for {k} neighbours")
    if labels.min() < 0 or labels.max() >= class_count:
        raise SamplesError(f"labels must lie in 0 ... {class_count - 1}")
    return np.asarray(features, np.float64), np.asarray(labels, np.int64)


def _class_reasons(metric: str, counts: NDArray[np.int64], k: int) -> dict[int, str]:
    """Why a class has no value of a metric, by class."""
    if np.count_nonzero(counts) < 2:
        return dict.fromkeys(range(len(counts)), "there is only one class")
    fewest = {"knn_purity": k + 1}.get(metric, 2)
    return {
        c: f"{n} images, and {fewest} are needed" if n else "no images"
        for c, n in enumerate(counts.tolist())
        if n < fewest
    }


def _mean_number(
    group: str,
    metric: str,
    values: _Floats,
    labels: NDArray[np.int64],
    classes: Sequence[int],
    reasons: Mapping[int, str],
    seed: int,
) -> SeparationNumber:
    """The mean over the images of those classes that have a value."""
    kept = [c for c in classes if c not in reasons]
    if not kept:
        return SeparationNumber(group, metric, None, reason=reasons[classes[0]])
    rows = np.isin(labels, kept) & np.isfinite(values)
    low, high = bootstrap_means(values[rows], labels[rows], seed)
    left = [c for c in classes if c in reasons]
    reason = f"without {len(left)} classes that have too few images" if left else ""
    return SeparationNumber(group, metric, float(values[rows].mean()), low, high, reason)


def _against_chance(
    group: str, found: Sequence[SeparationNumber], counts: NDArray[np.int64], classes: Sequence[int]
) -> list[SeparationNumber]:
    """What neighbours drawn at random would give: frequent classes are pure by their frequency."""
    of = counts[list(classes)].astype(np.float64)
    chance = float((of * (of - 1)).sum() / max(of.sum(), 1) / (counts.sum() - 1))
    purity = next(one for one in found if (one.group, one.metric) == (group, "knn_purity"))
    numbers = [SeparationNumber(group, "knn_chance", chance)]
    if purity.value is None or not chance:
        reason = purity.reason or "chance gives 0"
        return [*numbers, SeparationNumber(group, "knn_over_chance", None, reason=reason)]
    low, high = (None if end is None else end / chance for end in (purity.low, purity.high))
    return [*numbers, SeparationNumber(group, "knn_over_chance", purity.value / chance, low, high)]


def _nc1_number(features: _Floats, labels: NDArray[np.int64], class_count: int, seed: int) -> list[SeparationNumber]:
    if len(np.unique(labels)) < 2:
        return [SeparationNumber("all", "nc1", None, reason="there is only one class")]
    value = nc1(features, labels)
    if not np.isfinite(value):
        return [SeparationNumber("all", "nc1", None, reason="the means of all classes are equal")]
    low, high = bootstrap_nc1(nc1, features, labels, value, seed)
    return [SeparationNumber("all", "nc1", value, low, high)]


def _ranks(
    features: _Floats,
    labels: NDArray[np.int64],
    counts: NDArray[np.int64],
    places: Mapping[str, Sequence[int]],
    seed: int,
) -> list[SeparationNumber]:
    """The effective rank by class, and its mean over the classes of a group."""
    known = {}
    for c in np.flatnonzero(counts > 1):
        own = features[labels == c]
        known[int(c)] = (effective_rank(own), jackknife_rank(effective_rank, own, seed))
    numbers = []
    for group, classes in places.items():
        kept = [known[c] for c in classes if c in known]
        if not kept:
            numbers.append(SeparationNumber(group, "effective_rank", None, reason="fewer than 2 images a class"))
            continue
        value = float(np.mean([rank for rank, _ in kept]))
        reach = 1.96 * float(np.sqrt(np.square([error for _, error in kept]).sum())) / len(kept)
        numbers.append(SeparationNumber(group, "effective_rank", value, max(0.0, value - reach), value + reach))
    return numbers
