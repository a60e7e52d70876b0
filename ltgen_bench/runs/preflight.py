"""What a run needs, before anything is computed: data, weights, device."""

from __future__ import annotations

from pathlib import Path

from ltgen_bench.core.devices import resolve_device
from ltgen_bench.core.errors import MissingFileError
from ltgen_bench.core.progress import Progress
from ltgen_bench.evaluation.places import EvaluationPlaces, missing_protocol_weights, refuse_unused_weights
from ltgen_bench.evaluation.recognition import images_to_test_with
from ltgen_bench.features import download_weights, extractor_info, load_extractor, weights_sha256
from ltgen_bench.runs.resolve import ResolvedRun


def preflight(resolved: ResolvedRun, places: EvaluationPlaces, progress: Progress, *, evaluate: bool = True) -> None:
    """Make sure that everything a run needs is there; what is missing is downloaded where that is possible.

    Raises MissingFileError, one line that names every file that could not be had; DeviceError for the device,
    ConfigError for weights that nothing would use, CheckpointError for weights of somebody's own that do not fit,
    DataError where the protocol asks for recognition and the data set has no images to test classifiers with.
    Without `evaluate` no weights are needed.
    """
    resolve_device(resolved.config.execution.device)
    refuse_unused_weights(resolved.config.protocol, places)
    problems = []
    if resolved.dataset.missing_files():
        try:
            resolved.dataset.fetch(progress.say)
        except MissingFileError as error:
            problems.append(str(error))
    for name, missing in missing_protocol_weights(resolved.config.protocol, places).items() if evaluate else ():
        if name in places.weights or not extractor_info(name).downloadable:
            problems.append(f"feature extractor {name} needs {missing}")
            continue
        try:
            progress.say(f"downloading the weights of {name} to {missing.path}")
            download_weights(name, weights_root=places.weights_root)
        except MissingFileError as error:
            problems.append(str(error))
    for remark in resolved.dataset.remarks() if not problems else ():
        progress.say(f"note: {remark}")
    if problems:
        raise MissingFileError("; ".join(problems))
    if evaluate and resolved.config.protocol.recognition is not None:
        images_to_test_with(resolved.dataset)
    for name in resolved.config.protocol.extractors() if evaluate else ():
        if (own := places.weights.get(name)) is not None and _are_other_weights(name, own, places):
            # not a file that is known: whether it fits is said now, and not after the training
            load_extractor(name, weights=own, weights_root=places.weights_root)


def _are_other_weights(name: str, path: Path, places: EvaluationPlaces) -> bool:
    found = weights_sha256(name, weights=path, weights_root=places.weights_root)
    return found is None or found != extractor_info(name).sha256
