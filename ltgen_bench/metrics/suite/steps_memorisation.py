"""The step of a metric run that looks for copies of training images."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.metrics import uncertainty
from ltgen_bench.metrics.authentic_share import authentic_share, neighbourhoods
from ltgen_bench.metrics.inputs import BoolArray, Float64Array
from ltgen_bench.metrics.memorisation import (
    MemorisationScores,
    NearestTraining,
    memorisation_scores,
    nearest_in_features,
    nearest_in_pixels,
    pixel_neighbourhoods,
)
from ltgen_bench.metrics.memorisation_classes import class_thresholds
from ltgen_bench.metrics.suite.findings import Findings

# Closest pairs that a report names; enough for a panel.
_CLOSEST_PAIRS = 64


def step_memorisation(findings: Findings) -> None:
    """Nearest training images in features and in pixels, compared with held-out images."""
    given = findings.training
    if given is None:
        findings.skip("memorisation", "needs the training images' features or pixels")
        return
    found: dict[str, MemorisationScores] = {}
    relative: dict[str, tuple[Float64Array, Float64Array | None]] = {}
    authentic = None
    quantile, device = findings.settings.memorisation_quantile, findings.device
    if given.training_features is not None:
        features, mirrored = given.training_features, given.mirrored_features
        plain = near = nearest_in_features(findings.generated.features, features, device=device)
        if mirrored is not None:
            near = plain.nearer_mirrored(nearest_in_features(findings.generated.features, mirrored, device=device))
        held = given.held_out_features
        far = None if held is None else nearest_in_features(held, features, mirrored, device=device)
        found["features"] = memorisation_scores(near, far, quantile=quantile)
        around = neighbourhoods(features, device=device)
        authentic = authentic_share(plain.distances, around.others[plain.indices])
        relative["features"] = _relative(near, far, around.different)
    if given.training_pixels is not None and given.generated_pixels is not None:
        if len(given.generated_pixels) != len(findings.generated):
            raise SamplesError(
                f"generated_pixels: has {len(given.generated_pixels)} images, expected {len(findings.generated)}"
            )
        near = nearest_in_pixels(given.generated_pixels, given.training_pixels, device=device)
        pixels = given.held_out_pixels
        far = None if pixels is None else nearest_in_pixels(pixels, given.training_pixels, device=device)
        found["pixels"] = memorisation_scores(near, far, quantile=quantile)
        relative["pixels"] = _relative(near, far, pixel_neighbourhoods(given.training_pixels, near, far, device=device))
    if not found:
        findings.skip("memorisation", "needs the training images' features, or pixels of generated and training images")
        return
    findings.memorisation_scores = found
    findings.values["memorisation"] = {
        space: _memorisation_entry(findings, space, scores, *relative[space]) for space, scores in found.items()
    }
    if authentic is not None:
        findings.values["memorisation"]["features"]["authentic_share"] = authentic


def _relative(
    near: NearestTraining, far: NearestTraining | None, different: Float64Array
) -> tuple[Float64Array, Float64Array | None]:
    """Distances to the nearest training image in units of that image's own to its nearest different neighbour."""
    ours = near.distances / different[near.indices]
    return ours, None if far is None else far.distances / different[far.indices]


def _memorisation_entry(
    findings: Findings,
    space: str,
    scores: MemorisationScores,
    relative: Float64Array,
    held_out_relative: Float64Array | None,
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "median_distance": scores.median_distance,
        "held_out_median_distance": scores.held_out_median_distance,
        "threshold": scores.threshold,
        "threshold_quantile": scores.quantile,
        "fraction": scores.fraction,
        "closest_pairs": [list(pair) for pair in scores.closest_pairs(_CLOSEST_PAIRS)],
        "per_class": None,
        "groups": None,
        "by_class": None if scores.held_out is None else _by_class(findings, scores.nearest.distances, scores.held_out),
        "by_neighbourhood": None if held_out_relative is None else _by_class(findings, relative, held_out_relative),
    }
    if scores.copied is None:
        for key in ("threshold", "fraction"):
            findings.notes[f"memorisation.{space}.{key}"] = scores.reason or ""
        return entry
    copied = scores.copied
    findings.note_share(
        f"memorisation.{space}.fraction", uncertainty.error_of_mean(copied, findings.strata), len(copied)
    )
    return entry | _shares(findings, copied)


def _shares(findings: Findings, copied: BoolArray) -> dict[str, Any]:
    """The share of `copied` (N,) in every class and every group; nothing without labels."""
    if findings.generated_rows is None:
        return {}
    groups = {}
    for group, classes in findings.groups.items():
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *(findings.generated_rows[c] for c in classes)])
        groups[group] = float(copied[rows].mean()) if len(rows) else None
    of_class = [float(copied[rows].mean()) if len(rows) else None for rows in findings.generated_rows]
    return {"per_class": of_class, "groups": groups}


def _by_class(findings: Findings, scores: Float64Array, held_out: Float64Array) -> dict[str, Any] | None:
    """The share of samples below the threshold of their own class; None where labels or a threshold are missing."""
    labels, given = findings.generated.labels, findings.training
    if labels is None or given is None or given.held_out_labels is None or findings.class_count is None:
        return None
    quantile = findings.settings.memorisation_quantile
    limits = class_thresholds(held_out, given.held_out_labels, findings.class_count, findings.groups, quantile)
    copied = limits.copied(scores, labels)
    if copied is None:
        return None
    found = {"fraction": float(copied.mean()), "thresholds": limits.values, "threshold_of": limits.places}
    return found | _shares(findings, copied)
