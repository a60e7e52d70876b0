"""Features and reference statistics as `.npz` files, checked before they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltgen_bench.core.errors import SamplesError, did_you_mean
from ltgen_bench.core.npz import npz_headers, read_npz
from ltgen_bench.core.storage import atomic_path
from ltgen_bench.metrics import FeatureArrays, GaussianStatistics, gaussian_statistics
from ltgen_bench.metrics.inputs import LARGEST_FEATURE

ARRAYS = ("features", "labels", "probabilities", "manifold_features")
STATISTICS = ("mu", "sigma", "n")
_ROUNDING = 1e-5  # of the largest eigenvalue: some tools write float32


@dataclass(frozen=True)
class Reference:
    """A reference set: its features, its statistics, or both."""

    features: FeatureArrays | None
    statistics: GaussianStatistics | None


def read_features(path: Path) -> FeatureArrays:
    """Read `features` (N, D) and, where they are there, `labels` (N,), `probabilities` (N, K) and
    `manifold_features` (N, D2); raises SamplesError, one line, for a file that does not fit.
    """
    headers = _headers(path)
    if "features" not in headers:
        raise SamplesError(f"{path} has no array 'features' (N, D); it has {sorted(headers) or 'none'}")
    arrays = read_npz(path, tuple(name for name in ARRAYS if name in headers))
    try:
        return FeatureArrays(**arrays)
    except SamplesError as error:
        raise SamplesError(f"{path}: {error}") from error


def read_reference(path: Path) -> Reference:
    """Read a reference: features as in `read_features`, or the statistics `mu` (D,), `sigma` (D, D) and perhaps `n`."""
    headers = _headers(path)
    if "features" in headers:
        return Reference(read_features(path), None)
    if not {"mu", "sigma"} <= set(headers):
        raise SamplesError(
            f"{path} has neither 'features' nor the statistics 'mu' and 'sigma'; it has {sorted(headers)}"
        )
    arrays = read_npz(path, tuple(name for name in STATISTICS if name in headers))
    count = arrays.get("n")
    if count is not None and (count.size != 1 or count.dtype.kind not in "iu"):
        raise SamplesError(f"{path}: 'n' is {count.dtype} {count.shape}; it is one integer, the number of images")
    try:
        statistics = GaussianStatistics(arrays["mu"], arrays["sigma"], None if count is None else int(count.item()))
        _check_covariance(statistics)
    except SamplesError as error:
        raise SamplesError(f"{path}: {error}") from error
    return Reference(None, statistics)


def _check_covariance(statistics: GaussianStatistics) -> None:
    """A covariance has no negative eigenvalue but for rounding: with one, a distance would come out all the same."""
    largest = float(np.abs(statistics.covariance).max())
    if max(largest, float(np.abs(statistics.mean).max())) > LARGEST_FEATURE:
        raise SamplesError(f"statistics: values beyond {LARGEST_FEATURE:g}, which no network gives")
    eigenvalues = np.linalg.eigvalsh(statistics.covariance)
    if eigenvalues[0] < -_ROUNDING * max(float(eigenvalues[-1]), 0.0) or (eigenvalues[-1] <= 0 and largest > 0):
        raise SamplesError(
            f"covariance: has the eigenvalue {eigenvalues[0]:.3g} beside {eigenvalues[-1]:.3g}; it is no covariance"
        )


def write_statistics(path: Path, statistics: GaussianStatistics) -> None:
    """Write `mu`, `sigma` and `n` (float64), which pytorch-fid reads as well."""
    arrays: dict[str, Any] = {"mu": statistics.mean, "sigma": statistics.covariance}
    if statistics.count is not None:
        arrays["n"] = np.int64(statistics.count)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def reference_statistics(reference: Reference) -> GaussianStatistics:
    """The statistics of a reference, computed from its features where they are not given."""
    if reference.statistics is not None:
        return reference.statistics
    assert reference.features is not None
    return gaussian_statistics(reference.features.features)


def _headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    path = Path(path)
    if not path.is_file():
        raise SamplesError(f"there is no features file {path}")
    headers = npz_headers(path)
    if "arr_0" in headers and "features" not in headers:
        raise SamplesError(f"{path} holds images, not features; 'ltgen-bench evaluate' measures images")
    for name, (shape, dtype) in headers.items():
        if name not in (*ARRAYS, *STATISTICS):
            raise SamplesError(f"{path} has an array {name!r}; {did_you_mean(name, (*ARRAYS, *STATISTICS))}")
        if dtype.kind not in "fiub":
            raise SamplesError(f"{path}: {name!r} has the dtype {dtype}; numbers are needed")
        if 0 in shape:
            raise SamplesError(f"{path}: {name!r} is empty with the shape {shape}")
    return headers
