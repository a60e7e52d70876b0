"""Trained models on disk: read for sampling, or taken from another run that trained the same."""

from __future__ import annotations

import shutil

import torch

from ltgen_bench.core.choices import ModelWeights
from ltgen_bench.core.errors import CheckpointError, ConfigError, UserError
from ltgen_bench.core.plugins import author_code
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.storage import atomic_path, read_json_object, sha256_file, sha256_json
from ltgen_bench.methods import DiffusionMethod, Method, NoiseClassifier
from ltgen_bench.methods.checkpoints import load_raw_weights
from ltgen_bench.runs.folder import RunFolder, read_run_config
from ltgen_bench.runs.resolve import ResolvedRun


def save_trained(method: Method, folder: RunFolder) -> None:
    """Write the model; the file's presence says that training is done, so it appears whole or not at all."""
    with atomic_path(folder.model) as path:
        with author_code(type(method), "save"):
            method.save(path)
        if not path.stat().st_size:
            raise ConfigError(
                f"{type(method).__name__}.save wrote nothing to the file that it was given; numpy.savez "
                "adds '.npz' to a name without it: set model_file = \"model.npz\""
            )


def load_trained(resolved: ResolvedRun, folder: RunFolder, device: torch.device) -> Method:
    """The model on disk: its EMA weights, or those that the optimiser left (`sampling.weights = "raw"`).

    Raises ConfigError for raw weights of a method that has one set of weights, CheckpointError for a file that does
    not fit.
    """
    method = resolved.make_method()
    with author_code(type(method), "load"):
        method.load(folder.model)
    if resolved.config.sampling.weights is ModelWeights.RAW:
        if not isinstance(method, DiffusionMethod):
            name = resolved.config.method["name"]
            raise ConfigError(f"sampling.weights = raw: method {name!r} has one set of weights")
        load_raw_weights(folder.training_state, method.network)
    if isinstance(method, DiffusionMethod):
        _load_classifier(method, resolved)
    method.to(device)
    return method


def _load_classifier(method: DiffusionMethod, resolved: ResolvedRun) -> None:
    """The classifier of `sampling.classifier`, in place of the method's own."""
    path, wanted = resolved.config.sampling.classifier, resolved.config.sampling.classifier_sha256
    if wanted is None:
        return
    if path is None or not path.is_file() or sha256_file(path) != wanted:
        raise CheckpointError(
            f"these images are guided by the classifier with sha256 {wanted}: give its file with --set "
            "sampling.classifier=FILE"
        )
    method.classifier = NoiseClassifier.read(path, resolved.spec, resolved.config)


def adopt_trained(resolved: ResolvedRun, folder: RunFolder, progress: Progress) -> None:
    """Copy the model of a run beside this one that differs in sampling or protocol only, if there is one."""
    config = resolved.config
    own = sha256_json(config.training_identity())
    for candidate in sorted(folder.path.parent.glob(f"*-s{config.seed}")):
        sibling = RunFolder(candidate, resolved.method_class.model_file)
        if candidate == folder.path or not sibling.model.exists():
            continue
        try:
            theirs = read_run_config(sibling.config)
        except UserError:
            continue  # written by another version: nothing to reuse
        same = all(
            read_json_object(candidate / name) == read_json_object(folder.path / name)
            for name in ("dataset.json", "method.json")
        )
        if same and theirs.seed == config.seed and sha256_json(theirs.training_identity()) == own:
            _copy_model(sibling, folder, with_state=config.sampling.weights is ModelWeights.RAW)
            progress.say(f"the same training was done before: model taken from {candidate}")
            return


def _copy_model(source: RunFolder, target: RunFolder, *, with_state: bool) -> None:
    files = [(source.training_state, target.training_state)] if with_state else []
    files += [(source.stats, target.stats), (source.model, target.model)]  # the model last: it says that all is there
    for old, new in files:
        if old.exists():
            shutil.copyfile(old, new.with_suffix(".partial"))
            new.with_suffix(".partial").replace(new)
