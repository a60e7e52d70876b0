"""`check_extractor`: features are numbers that depend on the image alone."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from ltgen_bench.core.errors import CheckpointError, MissingExtraError, MissingFileError
from ltgen_bench.features import EXTRACTORS, extractor_info, load_extractor
from ltgen_bench.features.base import Extractor
from ltgen_bench.testing.checklist import Checklist, CheckResult, PluginCheck, Skipped, expect

_TOLERANCE = 1e-4  # of the largest feature: kernels round by the place of an image in its batch


@dataclass
class ExtractorTrial:
    """An extractor on trial, on the CPU; `weights` names its file where it is not in its place."""

    name: str
    extractor_class: type[Extractor]
    weights_root: Path
    weights: Path | None

    @cached_property
    def extractor(self) -> Extractor:
        """The extractor with its weights, if they are here."""
        try:
            return load_extractor(self.name, weights=self.weights, weights_root=self.weights_root)
        except (MissingFileError, MissingExtraError) as error:
            if self.weights is not None:
                raise
            raise Skipped(str(error)) from error

    def images(self, count: int, channels: int | None = None) -> torch.Tensor:
        """Random images that it takes, uint8 (count, C, H, W)."""
        size = self.extractor_class.image_size or 16
        channels = channels or max(self.extractor_class.image_channels)
        generator = torch.Generator().manual_seed(3)
        return torch.randint(256, (count, channels, size, size), generator=generator, dtype=torch.uint8)


def check_extractor(name: str, weights: Path | None = None, data_root: Path = Path("data")) -> list[CheckResult]:
    """Check the feature extractor registered as `name`; `weights` names its weights file where it is elsewhere.

    Without a file of weights, what needs them is skipped. Raises UnknownNameError for a name that is not registered.
    """
    extractor_class = EXTRACTORS.get(name)
    trial = ExtractorTrial(name, extractor_class, data_root / "weights", weights)
    return Checklist(f"feature extractor {name}", extractor_class, trial).run(EXTRACTOR_CHECKS)


def _described(trial: ExtractorTrial) -> None:
    """What `list features` and records say of it."""
    info, owner = extractor_info(trial.name), trial.extractor_class
    expect(owner.name == trial.name, f"name is {owner.name!r}, and it is registered as {trial.name!r}")
    expect(info.name == trial.name, f"info.name is {info.name!r}, and it is registered as {trial.name!r}")
    expect(info.dim == owner.dim, f"dim is {owner.dim}, and info.dim is {info.dim}")
    expect(bool(info.title.strip() and info.licence.strip()), "info has to give a title and a licence")
    names = owner.class_names
    expect(names is None or len(names) == info.classes, f"info.classes is {info.classes}, class_names has others")


def _other_weights_are_refused(trial: ExtractorTrial) -> None:
    """A file of another network ends in one line."""
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "other.safetensors")
        save_file({"of-another-network": torch.zeros(1)}, path)
        try:
            trial.extractor_class.load(path, weights_sha256="0" * 64, device="cpu", precision="fp32")
        except CheckpointError:
            return
        except MissingExtraError as error:
            raise Skipped(str(error)) from error
        except Exception as error:
            expect(False, f"weights of another network end in {type(error).__name__}: raise CheckpointError")
        expect(False, "weights of another network are taken: compare their names and shapes, raise CheckpointError")


def _loads(trial: ExtractorTrial) -> None:
    """Its weights are here and fit."""
    _ = trial.extractor


def _gives_the_promised_features(trial: ExtractorTrial) -> None:
    """float32 features (B, D), and logits of as many classes as `info` says."""
    for channels in trial.extractor_class.image_channels:
        features, logits = trial.extractor(trial.images(3, channels))
        dim, classes = trial.extractor_class.dim, extractor_info(trial.name).classes
        expect(tuple(features.shape) == (3, dim), f"features have the shape {tuple(features.shape)}, not (3, {dim})")
        expect(bool(torch.isfinite(features).all()), "features of random images are not finite")
        shape = None if logits is None else tuple(logits.shape)
        wanted = None if classes is None else (3, classes)
        expect(shape == wanted, f"logits have the shape {shape}; info.classes, {classes}, promises {wanted}")
        expect(logits is None or bool(torch.isfinite(logits).all()), "logits of random images are not finite")


def _features_depend_on_the_image_only(trial: ExtractorTrial) -> None:
    """Neither on the other images, nor on how many there are, nor on the time of asking."""
    extractor = trial.extractor
    images = trial.images(extractor.compute_batch + 5)
    features = extractor(images).features
    expect(torch.equal(features, extractor(images).features), "features of the same images differ from call to call")
    expect(
        not torch.equal(features[0], features[1]), "two different images have the same features: does compute use them?"
    )
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    difference = float((extractor(images[order]).features - features[order]).abs().max())
    limit = _TOLERANCE * float(features.abs().max())
    expect(difference <= limit, f"features change by {difference:.2g} with the order of the images: call eval()")


EXTRACTOR_CHECKS = [
    PluginCheck("name, size and licence are said", _described),
    PluginCheck("weights of another network are refused", _other_weights_are_refused),
    PluginCheck("it can be loaded", _loads, essential=True),
    PluginCheck("features and logits are finite, of the promised shape", _gives_the_promised_features, essential=True),
    PluginCheck("features depend on the image only", _features_depend_on_the_image_only),
]
"""The checks of a feature extractor, in their order."""
