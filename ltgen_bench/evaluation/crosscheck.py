"""Numbers checked by the field's own tools: torch-fidelity (FID, KID, Inception Score) and prdc (the manifolds).

Both sides get the same features. Where the protocol's network is InceptionV3, torch-fidelity extracts its own with the
same weights file, so that resizing and network are compared as well.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ltgen_bench.core.devices import measuring_device
from ltgen_bench.core.errors import MissingExtraError
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.protocol import Protocol
from ltgen_bench.datasets import Dataset, ImageSet
from ltgen_bench.evaluation.compared import reference_of
from ltgen_bench.evaluation.feature_sets import FeatureSets
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.samples import Samples, check_samples
from ltgen_bench.features.weights import locate_weights
from ltgen_bench.metrics import FeatureArrays, fid, inception_score, manifold_scores
from ltgen_bench.metrics.kid import squared_mmd

_PEER_ROWS = 5000  # for what the peers hold as one matrix of all pairs
_SEED = 0


_Sides = tuple[FeatureArrays, FeatureArrays]  # of samples and of the reference


@dataclass(frozen=True)
class Crosscheck:
    """One number twice; `note` says what is compared and where the two are known to differ."""

    metric: str
    ours: float
    theirs: float
    tolerance: float
    peer: str
    note: str

    @property
    def agrees(self) -> bool:
        """Whether the two are within the tolerance."""
        return abs(self.ours - self.theirs) <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "difference": self.ours - self.theirs, "agrees": self.agrees}


def crosscheck(
    samples: Samples,
    dataset: Dataset,
    protocol: Protocol,
    places: EvaluationPlaces,
    device: torch.device,
    *,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> list[Crosscheck]:
    """Compute the protocol's whole-set numbers here and by the peers, on the same samples and reference.

    Raises MissingExtraError where the peers are not installed, and what an evaluation raises.
    """
    peers = _peers()
    progress = progress or Progress()
    check_samples(samples, dataset)
    sets = FeatureSets.of(protocol, places, measuring_device(device, progress.say), batch_size, progress)
    reference = reference_of(dataset, protocol)[1]
    own = sets.arrays("samples", samples.images, samples.labels)
    real = sets.arrays("reference", reference.images, reference.labels)
    theirs = (own, real)
    if sets.main.name == "inception-v3-fid":
        progress.say("torch-fidelity extracts its own features")
        theirs = _their_features(places, samples, reference, own, real)
    return [
        _fid(sets.main.fid_label, own, real, theirs, peers),
        _kid(own, real, theirs, peers),
        *_inception(own, theirs[0], protocol, peers),
        *_manifolds(own, real, protocol.neighbours, peers),
    ]


def _peers() -> Any:
    try:
        import prdc
        import torch_fidelity.metric_fid
        import torch_fidelity.metric_isc
        import torch_fidelity.metric_kid
    except ImportError as error:
        raise MissingExtraError(f"crosscheck needs {error.name}: pip install 'ltgen-bench[peers]'") from None
    return torch_fidelity, prdc


def _their_features(
    places: EvaluationPlaces, samples: Samples, reference: ImageSet, own: FeatureArrays, real: FeatureArrays
) -> tuple[FeatureArrays, FeatureArrays]:
    """Features and probabilities of torch-fidelity's InceptionV3, with the weights that ours has."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    name = "inception-v3-fid"
    path, _ = locate_weights(name, weights=places.weights.get(name), weights_root=places.weights_root)
    network = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path), verbose=False
    )

    def of(images: np.ndarray, like: FeatureArrays) -> FeatureArrays:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), 64):
                batch = torch.from_numpy(np.ascontiguousarray(images[start : start + 64]))
                parts.append(network(batch.expand(-1, 3, -1, -1) if batch.shape[1] == 1 else batch))
        features, logits = (torch.cat([part[place] for part in parts]) for place in (0, 1))
        return FeatureArrays(features.numpy(), like.labels, logits.double().softmax(1).float().numpy(), like.manifold)

    return of(samples.images, own), of(reference.images, real)


def _fid(label: str, own: FeatureArrays, real: FeatureArrays, theirs: _Sides, peers: Any) -> Crosscheck:
    metric = peers[0].metric_fid
    wide = [torch.from_numpy(one.features.astype(np.float64)) for one in theirs]
    statistics = [metric.fid_features_to_statistics(features) for features in wide]
    other = metric.fid_statistics_to_metric(*statistics, verbose=False)[metric.KEY_METRIC_FID]
    ours = fid(own.features, real.features)
    tolerance, note = 1e-4 * max(1.0, ours), "mean and covariance of all rows"
    if min(len(own.features), len(real.features)) <= own.features.shape[1]:
        trace = float(np.var(real.features, axis=0, dtype=np.float64).sum())
        tolerance = 0.01 * (ours + trace)
        note = (
            "fewer rows than features: the peer adds up square roots of eigenvalues that are rounding noise, which "
            "lowers its distance"
        )
    return Crosscheck(label, ours, float(other), tolerance, "torch-fidelity", note)


def _kid(own: FeatureArrays, real: FeatureArrays, theirs: _Sides, peers: Any) -> Crosscheck:
    metric = peers[0].metric_kid
    count = min(len(own.features), len(real.features), 2000)
    x, y = (_rows(len(one.features), count) for one in (own, real))
    other = metric.kernel_mmd(theirs[0].features[x].astype(np.float64), theirs[1].features[y].astype(np.float64))
    ours = squared_mmd(own.features[x], real.features[y])
    note = f"the estimator on the same {count:,} rows of each; a record's KID is a mean over random subsets"
    return Crosscheck("KID", ours, float(other), 1e-4 * max(0.01, abs(ours)), "torch-fidelity", note)


def _inception(own: FeatureArrays, theirs: FeatureArrays, protocol: Protocol, peers: Any) -> list[Crosscheck]:
    if own.probabilities is None or theirs.probabilities is None:
        return []
    metric = peers[0].metric_isc
    logits = torch.from_numpy(np.log(np.maximum(theirs.probabilities.astype(np.float64), 1e-300)))
    other = metric.isc_features_to_metric(logits, splits=1, shuffle=False)[metric.KEY_METRIC_ISC_MEAN]
    ours, _ = inception_score(own.probabilities, splits=1, seed=_SEED)
    note = (
        f"all rows at once; a record's is a mean over {protocol.inception_score_splits} parts, which are drawn "
        "differently here and there"
    )
    return [Crosscheck("Inception Score", ours, float(other), 1e-4 * ours, "torch-fidelity", note)]


def _manifolds(own: FeatureArrays, real: FeatureArrays, k: int, peers: Any) -> list[Crosscheck]:
    x, y = (one.manifold[_rows(len(one.manifold), min(len(one.manifold), _PEER_ROWS))] for one in (own, real))
    with contextlib.redirect_stdout(None):  # it prints its numbers of rows
        others = peers[1].compute_prdc(
            real_features=y.astype(np.float64), fake_features=x.astype(np.float64), nearest_k=k
        )
    scores = manifold_scores(x, y, k=k)
    same = len(x) - len(np.unique(x, axis=0)) + len(y) - len(np.unique(y, axis=0))
    note = f"k = {k}, {len(x):,} and {len(y):,} rows"
    if same:
        note += f"; {same:,} repeated rows, which are one point here and several there"
    found = []
    for name, count in (("precision", len(x)), ("recall", len(y)), ("density", len(x)), ("coverage", len(y))):
        ours: float = getattr(scores, name)
        # a tie at a radius is inside here (the definition's <=) and may fall outside by rounding there
        tolerance = (2 + 2 * same) / count * (k if name == "density" else 1)
        found.append(Crosscheck(name, ours, float(others[name]), tolerance, "prdc", note))
    return found


def _rows(count: int, wanted: int) -> np.ndarray:
    return np.sort(np.random.default_rng(_SEED).permutation(count)[:wanted])
