"""What every method has to do, of whatever kind: be built, draw images that can be trusted, be saved and loaded."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ltgen_bench.core.mappings import merge
from ltgen_bench.core.plugins import author_code
from ltgen_bench.core.seeding import sample_seeds
from ltgen_bench.methods import METHODS, Method
from ltgen_bench.runs.resolve import resolve
from ltgen_bench.runs.sampling import check_images
from ltgen_bench.testing.checklist import PluginCheck, expect
from ltgen_bench.testing.method_trials import SMALL, MethodTrial

_IMAGES = 6
# Kernels are chosen by the size of a batch and round differently, which may move a pixel to the next grey level.
_ROUNDING = 1


def _registered(trial: MethodTrial) -> None:
    """The class is what its name stands for."""
    expect(trial.name in METHODS, f"put @METHODS.register({trial.name!r}) above the class")
    found = METHODS.get(trial.name)
    expect(found is trial.method_class, f"{trial.name!r} stands for another class, {found.__qualname__}")


def _built_from_defaults(trial: MethodTrial) -> None:
    """The constructor takes what a run without options gives it."""
    method = trial.run.make_method()
    json.dumps(method.facts(), allow_nan=False)


def recipe_checks(name: str, method_class: type[Method]) -> list[PluginCheck[MethodTrial]]:
    """One check for each recipe: its keys are known and the method can be built with them."""

    def check(dataset: str) -> PluginCheck[MethodTrial]:
        def built(trial: MethodTrial) -> None:
            recipe = method_class.recipe(name, dataset)
            layers = merge(recipe, SMALL, trial.layers, {"method": {"name": name}})
            resolve(layers, trial.data_root).make_method()

        return PluginCheck(f"it can be built from its recipe for {dataset}", built)

    return [check(dataset) for dataset in method_class.recipe_names(name)]


def _trains(trial: MethodTrial) -> None:
    """`fit` comes to its end."""
    with author_code(trial.method_class, "fit"):
        _ = trial.fitted


def _samples_have_the_promised_shape(trial: MethodTrial) -> None:
    """uint8 (B, C, H, W), for one label as for several."""
    for count in (1, _IMAGES):
        check_images(trial.model, _draw(trial.model, range(count)), count)


def _images_depend_on_label_and_seed_only(trial: MethodTrial) -> None:
    """Neither the other images of the batch nor any global generator has a part in an image."""
    first = _draw(trial.model, range(_IMAGES))
    with _other_global_generators():
        again = _draw(trial.model, range(_IMAGES))
    _expect_equal(first, again, "when they are drawn again: draw from generators that are seeded by `seeds`")
    backwards = _draw(trial.model, range(_IMAGES)[::-1])
    _expect_equal(first, backwards.flip(0), "when the batch is in another order: use each image's own seed and label")
    alone = torch.cat([_draw(trial.model, [index]) for index in range(_IMAGES)])
    _expect_equal(first, alone, "when each is drawn alone: nothing may be computed over the batch")


def _images_depend_on_their_seed(trial: MethodTrial) -> None:
    """The same label with another seed is another image."""
    labels = torch.zeros(2, dtype=torch.int64)
    one, two = _sample(trial.model, labels, sample_seeds(0, range(2)))
    expect(not torch.equal(one, two), "two images of one class with different seeds are equal: draw noise from `seeds`")


def _a_loaded_model_draws_the_same(trial: MethodTrial) -> None:
    """What `save` wrote is all that `sample` needs."""
    path = trial.new_folder("saved") / trial.method_class.model_file
    _save(trial.model, path)
    loaded = trial.run.make_method()
    with author_code(trial.method_class, "load"):
        loaded.load(path)
    loaded.to(torch.device("cpu"))
    expected, found = _draw(trial.model, range(_IMAGES)), _draw(loaded, range(_IMAGES))
    difference = _difference(expected, found)
    expect(difference == 0, f"images of the loaded model differ by up to {difference} of 255: does save write it all?")


def _load_executes_nothing(trial: MethodTrial) -> None:
    """A model file comes from strangers: what is pickled in it must not run."""
    folder = trial.new_folder("hostile")
    plain, archive = folder / "pickle.bin", folder / "archive.bin"
    plain.write_bytes(pickle.dumps(_Hostile(folder / "ran-pickle")))
    torch.save(_Hostile(folder / "ran-archive"), archive)
    for file in (plain, archive):
        model = trial.run.make_method()
        with contextlib.suppress(Exception):  # it has to refuse the file, in whatever way
            model.load(file)
    ran = (folder / "ran-pickle").exists() or (folder / "ran-archive").exists()
    expect(not ran, "load runs code from the file: use safetensors, or torch.load(path, weights_only=True)")


class _Hostile:
    """Unpickling it makes a folder, which shows that code was run."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def _save(model: Method, path: Path) -> None:
    with author_code(type(model), "save"):
        model.save(path)
    expect(path.is_file() and path.stat().st_size > 0, "save wrote nothing to the path that it was given")


def _draw(model: Method, indices: Sequence[int]) -> Tensor:
    """The images with these indices, labels in turn."""
    labels = torch.tensor([index % model.spec.class_count for index in indices])
    seeds = sample_seeds(0, range(_IMAGES))
    return _sample(model, labels, [seeds[index] for index in indices])


def _sample(model: Method, labels: Tensor, seeds: Sequence[int]) -> Tensor:
    with author_code(type(model), "sample"), torch.inference_mode():
        return model.sample(labels, list(seeds))


def _difference(a: Tensor, b: Tensor) -> int:
    return int((a.int() - b.int()).abs().max())


def _expect_equal(expected: Tensor, found: Tensor, when: str) -> None:
    difference = _difference(expected, found)
    expect(difference <= _ROUNDING, f"images differ by up to {difference} of 255 {when}")


@contextlib.contextmanager
def _other_global_generators() -> Iterator[None]:
    """Seed Python's, NumPy's and torch's global generators with something else; puts them back at the end."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # the author may use it
    try:
        with torch.random.fork_rng(devices=[]):
            random.seed(91)
            np.random.seed(92)  # noqa: NPY002
            torch.manual_seed(93)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


BUILT = [
    PluginCheck("it is registered by its name", _registered, essential=True),
    PluginCheck("it can be built from its defaults", _built_from_defaults, essential=True),
]
DRAWS = [
    PluginCheck("fit trains it", _trains, essential=True),
    PluginCheck("sample gives uint8 images (B, C, H, W)", _samples_have_the_promised_shape, essential=True),
    PluginCheck("an image depends on its own label and seed only", _images_depend_on_label_and_seed_only),
    PluginCheck("another seed gives another image", _images_depend_on_their_seed),
    PluginCheck("a saved and loaded model draws the same images", _a_loaded_model_draws_the_same),
    PluginCheck("load executes nothing in the file", _load_executes_nothing),
]
