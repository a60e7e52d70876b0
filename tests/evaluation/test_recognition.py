"""Recognition: recipes, training sets, training, the filter, and what is said of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import ConfigError, SamplesError, UnknownNameError
from ltgen_bench.datasets import ImageSet, load_dataset
from ltgen_bench.evaluation.recognition import (
    Fill,
    Mixture,
    RecognitionRecipe,
    RecognitionSettings,
    RecognitionTask,
    parse_fill,
    recipe_names,
    recognition_recipe,
    recognize,
    summarise,
)
from ltgen_bench.evaluation.recognition.filtering import kept_by
from ltgen_bench.evaluation.recognition.mixtures import even_counts, first_of_each_class
from ltgen_bench.evaluation.recognition.networks import make_classifier
from ltgen_bench.evaluation.recognition.training import Classifier, accuracy_by_class, probabilities
from ltgen_bench.evaluation.samples import Samples, write_samples

CPU = torch.device("cpu")
QUICK = RecognitionRecipe(
    network="cnn", epochs=3, batch_size=32, learning_rate=0.05, weight_decay=5e-4, decay_at=(2,), decay_factors=(0.1,)
)


def test_the_rates_of_resnet32_are_those_of_ldam_drw() -> None:
    """`adjust_learning_rate` of its cifar_train.py, written down: epoch counts from 1."""
    name, recipe = recognition_recipe(None, 32)
    assert name == "resnet32-32px"
    images = 12_406
    an_epoch = math.ceil(images / 128)
    for epoch in (1, 4, 5, 6, 160, 161, 180, 181, 200):
        literal = 0.1
        if epoch <= 5:
            literal = 0.1 * epoch / 5
        elif epoch > 180:
            literal = 0.1 * 0.0001
        elif epoch > 160:
            literal = 0.1 * 0.01
        for step in ((epoch - 1) * an_epoch, epoch * an_epoch - 1):
            assert recipe.rate(step, images) == pytest.approx(literal)
    assert recipe.steps(images) == 200 * an_epoch


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_makes_a_classifier_of_its_size(name: str) -> None:
    recipe = recognition_recipe(name, 32)[1]
    side = int(name.rpartition("-")[2].removesuffix("px"))
    network = make_classifier(recipe.network, 3, 7, 0).eval()
    assert network(torch.zeros(2, 3, side, side)).shape == (2, 7)
    again, other = (make_classifier(recipe.network, 3, 7, seed) for seed in (0, 1))
    weights = [next(iter(each.state_dict().values())) for each in (network, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_sizes_are_the_published_ones() -> None:
    def size(name: str, classes: int) -> int:
        return sum(parameter.numel() for parameter in make_classifier(name, 3, classes, 0).parameters())

    assert size("resnet32", 10) == 464_154  # 0.46 M in He et al., table 6
    # torchvision's ResNet-18 has 11,689,512 with 1,000 classes; the stem is 3 x 3 in place of 7 x 7
    assert size("resnet18", 1000) == 11_689_512 - 3 * 64 * (49 - 9)


def test_mistakes_in_recipes_take_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'resnet32-32px'"):
        recognition_recipe("resnet32-32", 32)
    (tmp_path / "mine.toml").write_text(
        'network = "cnn"\nepochs = 0\nbatch_size = 3\nlearning_rate = 1\nweight_decay = 0'
    )
    with pytest.raises(ConfigError, match=r"mine.toml.epochs"):
        recognition_recipe(str(tmp_path / "mine.toml"), 8)
    with pytest.raises(ValueError, match="one of decay_factors for each"):
        RecognitionRecipe.model_validate({**QUICK.model_dump(), "decay_at": (3, 1), "decay_factors": (1, 1)})


@pytest.mark.parametrize(
    ("text", "counts", "wanted"),
    [
        ("balanced", [100, 40, 7], [0, 60, 93]),
        ("50", [100, 40, 7], [0, 10, 43]),
        ("ratio:0.5", [100, 40, 7], [50, 20, 4]),
        ("ldmlr", [100, 40, 7], [20, 8, 5]),
    ],
)
def test_how_classes_are_filled(text: str, counts: list[int], wanted: list[int]) -> None:
    fill = parse_fill(text)
    assert fill.wanted(np.array(counts)).tolist() == wanted
    assert parse_fill(fill.words()) == fill


@pytest.mark.parametrize("text", ["", "all", "-3", "ratio:", "ratio:-1", "ratio:1e9", "1.5", "9" * 12])
def test_other_fills_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--fill is balanced"):
        parse_fill(text)


def pictures(counts: list[int], seed: int = 0, side: int = 8) -> ImageSet:
    """Images whose brightness says their class, not quite."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    means = 30 + 200 * labels / max(1, len(counts) - 1)
    noise = generator.normal(0, 40, (len(labels), 1, side, side))
    return ImageSet((means[:, None, None, None] + noise).clip(0, 255).astype(np.uint8), labels)


def test_images_are_taken_from_the_front_of_each_class() -> None:
    images = ImageSet(np.arange(6, dtype=np.uint8)[:, None, None, None].repeat(64, 1).reshape(6, 1, 8, 8),
                      np.array([0, 1, 0, 1, 0, 1]))  # fmt: skip
    chosen, missing = first_of_each_class(images, np.array([2, 4]))
    assert chosen is not None
    assert chosen.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 5]
    assert missing.tolist() == [0, 1]
    nothing, missing = first_of_each_class(images, np.array([0, 0]))
    assert nothing is None
    assert missing.tolist() == [0, 0]
    assert len(Mixture.of(images, None)) == 6
    with pytest.raises(ConfigError, match="no image to train on"):
        Mixture.of(None, None)
    assert even_counts(7, 3).tolist() == [3, 2, 2]


def classifier(mixture: Mixture, state: Path | None = None, recipe: RecognitionRecipe = QUICK) -> Classifier:
    return Classifier(recipe, mixture, 3, 96, False, 5, CPU, state)


def watched(own: Classifier) -> dict[str, Any]:
    """The weights after a training that is told a number after every epoch."""
    return own.train(lambda: float(next(own.network.parameters()).detach().sum())).state_dict()


def stopped_and_resumed(mixture: Mixture, state: Path, recipe: RecognitionRecipe, at: int) -> tuple[Classifier, Any]:
    """A training that is interrupted at a step and taken up again, and the steps that it then made."""

    def stop(step: int) -> None:
        if step == at:
            raise KeyboardInterrupt

    stopping = classifier(mixture, state, recipe)
    stopping.tick = stop
    with pytest.raises(KeyboardInterrupt):
        watched(stopping)
    resumed, seen = classifier(mixture, state, recipe), []
    resumed.tick = seen.append
    watched(resumed)
    return resumed, seen


def test_training_learns_and_resumes_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltgen_bench.evaluation.recognition.training._SAVE_EVERY", 4)
    mixture = Mixture.of(pictures([60, 30, 6]), None)
    recipe = QUICK.model_copy(update={"epochs": 8, "crop_padding": 1, "decay_at": (6,)})
    own = classifier(mixture, tmp_path / "whole", recipe)
    whole = watched(own)
    found = accuracy_by_class(own.network, pictures([50, 50, 50], 1), 3, CPU)
    assert fmean(value for value in found if value is not None) > 0.8
    assert not (tmp_path / "whole").exists()

    resumed, seen = stopped_and_resumed(mixture, tmp_path / "stopped", recipe, 11)
    assert seen[0] == 9  # eight steps were kept
    state = resumed.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.items())
    assert len(own.watched) == 8
    assert resumed.watched == own.watched  # also those of the epochs before


@pytest.mark.parametrize("damage", ["no file", "half of it", "no step"])
def test_a_damaged_state_is_as_none(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltgen_bench.evaluation.recognition.training._SAVE_EVERY", 4)
    mixture, path = Mixture.of(pictures([60, 30, 6]), None), tmp_path / "state"
    whole = watched(classifier(mixture))
    stopping = classifier(mixture, path)
    for step in range(4):
        stopping.step(step)
    stopping._save(4)
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    if damage == "no file":
        path.write_bytes(b"no state")
    elif damage == "half of it":  # nothing of it may be taken over
        save_file({name: value for name, value in tensors.items() if name != "momentum.5"}, path, header)
    else:
        save_file(tensors, path, {name: value for name, value in header.items() if name != "step"})
    anew, seen = classifier(mixture, path), []
    anew.tick = seen.append
    state = watched(anew)
    assert seen[0] == 1
    assert all(torch.equal(value, state[name]) for name, value in whole.items())


def test_a_residual_network_resumes_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tensors are channels last, and come back from the file as such."""
    monkeypatch.setattr("ltgen_bench.evaluation.recognition.training._SAVE_EVERY", 3)
    mixture = Mixture.of(pictures([20, 10, 4], side=32), None)
    recipe = QUICK.model_copy(update={"network": "resnet32", "epochs": 2, "crop_padding": 4})
    assert recipe.steps(96) == 6
    whole = watched(classifier(mixture, None, recipe))
    resumed, seen = stopped_and_resumed(mixture, tmp_path / "stopped", recipe, 4)
    assert seen == [4, 5, 6]
    state = resumed.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.items())
    deep = next(value for value in state.values() if value.dim() == 4 and value.shape[1] > 1)
    assert deep.is_contiguous(memory_format=torch.channels_last)


def test_an_image_of_weight_0_teaches_nothing() -> None:
    real, generated = pictures([20, 20, 20]), pictures([20, 20, 20], 3)
    wrong = ImageSet(generated.images, (generated.labels + 1) % 3)
    trained = [classifier(Mixture.of(real, each, 0.0)) for each in (generated, wrong)]
    for each in trained:
        for step in range(4):
            each.step(step)
    states = [each.network.state_dict() for each in trained]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert Mixture.of(None, generated, 0.3).weights.tolist() == [1.0] * 60  # alone they count


def test_crops_and_mirrors_are_of_the_images_themselves() -> None:
    mixture = Mixture.of(pictures([8, 8, 8]), None)
    own = Classifier(QUICK.model_copy(update={"crop_padding": 2}), mixture, 3, 24, True, 0, CPU)
    x = own.images.float() / 127.5 - 1
    found = own._augmented(x, 0)
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), value=-1.0)
    for image, out in zip(padded, found, strict=True):
        options = [
            (image.flip(2) if mirror else image)[:, top : top + 8, left : left + 8]
            for mirror in (False, True) for top in range(5) for left in range(5)
        ]  # fmt: skip
        assert any(torch.equal(option, out) for option in options)
    assert not torch.equal(found, x)
    assert torch.equal(found, own._augmented(x, 0))


def test_the_filter_keeps_what_the_classifier_takes_for_its_class() -> None:
    real = pictures([40, 40, 40])
    network = classifier(Mixture.of(real, None), recipe=QUICK.model_copy(update={"epochs": 10})).train()
    generated = pictures([30, 30, 30], 2)
    mislabelled = ImageSet(generated.images, np.roll(generated.labels, 30))
    assert kept_by(network, generated, real, CPU).mean() > 0.6
    assert kept_by(network, mislabelled, real, CPU).mean() < 0.1
    own = probabilities(network, real.images, CPU)[np.arange(120), real.labels]
    literal = [
        int(p.argmax()) == y and p[y] >= np.quantile(own, 0.05)
        for p, y in zip(probabilities(network, generated.images, CPU), generated.labels, strict=True)
    ]
    assert kept_by(network, generated, real, CPU).tolist() == literal


@pytest.fixture
def task(tmp_path: Path) -> RecognitionTask:
    settings = RecognitionSettings("quick", QUICK, Fill("count", Fraction(20)), seeds=(0, 1))
    return RecognitionTask(load_dataset(DatasetConfig(), tmp_path), settings, tmp_path / "cache", CPU)


def test_every_arm_is_what_it_says(task: RecognitionTask, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    samples = Samples(generator.integers(0, 256, (300, 1, 8, 8), dtype=np.uint8), np.arange(300) % 10)
    trained: list[Mixture] = []
    step = Classifier.train
    monkeypatch.setattr(Classifier, "train", lambda self, *given: (trained.append(self.mixture), step(self, *given))[1])
    result = recognize(task, samples)
    rows = {(row["arm"], row["seed"]): row for row in result["rows"]}
    assert {arm for arm, _ in rows} == {"real", "generated", "generated-balanced", "filled"}
    counts = task.counts
    filled = int(np.maximum(20 - counts, 0).sum())
    assert rows["real", 0]["images"] == 405
    assert rows["generated", 0]["images"] == 300  # 405 were wanted
    assert rows["filled", 0]["images"] == 405 + filled
    assert result["missing"] == {"generated": 105, "generated-balanced": 900, "filled": 0}
    assert len({row["steps"] for row in rows.values()}) == 1
    for row in rows.values():
        assert row["all"] == pytest.approx(fmean(row["by_class"]))
        assert row["few"] == pytest.approx(fmean(row["by_class"][c] for c in task.dataset.groups.few))
    count = len(trained)
    assert count == 6  # both sets of generated images are all that there are: one training
    assert recognize(task, samples) == result
    assert len(trained) == count  # all of it was kept
    # what filters is the classifier of the real images, which is not trained twice
    filtered = replace(task, settings=replace(task.settings, filtered=True), cache=task.cache / "filtered")
    found = recognize(filtered, samples)
    assert len(trained) == count + 2 * 2
    assert found["missing"]["filled"] == filled  # no class is seen in noise: nothing is left to fill up with
    assert [row["images"] for row in found["rows"] if row["arm"] == "filled"] == [405, 405]
    with pytest.raises(SamplesError, match="these have none"):
        recognize(task, Samples(samples.images, None))


def test_it_is_tested_on_real_images_that_no_training_set_has(task: RecognitionTask) -> None:
    known = set(task.train.hashes())
    assert len(task.test) == 597
    assert not known & set(task.test.hashes())


def rows(real: list[float], filled: list[float]) -> dict[str, Any]:
    return {
        "rows": [
            {"arm": arm, "seed": seed, "all": value, "many": value, "medium": None, "few": value}
            for arm, values in (("real", real), ("filled", filled))
            for seed, value in enumerate(values)
        ]
    }


def test_differences_are_paired_and_have_students_interval() -> None:
    from scipy.stats import ttest_rel

    real, filled = [0.70, 0.60, 0.66], [0.75, 0.66, 0.70]
    summary = summarise([rows(real, filled)])
    gain = next(each for each in summary["gain"] if each["group"] == "all")
    interval = ttest_rel(filled, real).confidence_interval(0.95)
    assert (gain["low"], gain["high"]) == pytest.approx((interval.low, interval.high))
    medium = next(each for each in summary["gain"] if each["group"] == "medium")
    assert medium["mean"] is None
    several = [rows(real, [value + shift for value in filled]) for shift in (0.0, 0.01, 0.05)]
    gain = next(each for each in summarise(several)["gain"] if each["group"] == "all")
    means = [fmean(filled) - fmean(real) + shift for shift in (0.0, 0.01, 0.05)]
    assert (gain["mean"], gain["std"]) == pytest.approx((fmean(means), stdev(means)))
    half = 4.302653 * stdev(means) / math.sqrt(3)
    assert gain["high"] - gain["mean"] == pytest.approx(half, rel=1e-5)


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (50, 1, 8, 8), dtype=np.uint8)
    write_samples(tmp_path / "samples.npz", Samples(images, np.arange(50) % 10))
    recipe = tmp_path / "quick.toml"
    recipe.write_text('network = "cnn"\nepochs = 1\nbatch_size = 64\nlearning_rate = 0.05\nweight_decay = 0.0005')
    line = [
        "recognize",
        tmp_path / "samples.npz",
        "--recipe",
        recipe,
        "--classifiers",
        "2",
        "--data-root",
        tmp_path,
        "-q",
    ]
    code, out, err = cli(*line, "--dataset", "digits-lt", "--dry-run", "--json")
    assert code == 0, err
    plan = json.loads(out)
    # generated and generated-balanced are one: all there are
    assert (plan["steps"], plan["classifiers"], plan["kept"]) == (7, 6, 0)
    assert {row["arm"]: row["images"] for row in plan["rows"]}["generated"] == 50
    assert {row["arm"]: row["missing"] for row in plan["rows"]} == {
        "real": 0, "generated": 355, "generated-balanced": 1150, "filled": 750,
    }  # fmt: skip
    low, high = plan["hours_here"]
    assert 0 <= low <= high < 0.1
    assert not list(tmp_path.glob(".cache/**/*.safetensors"))
    code, out, err = cli(*line, "--dataset", "digits-lt", "--show-best")
    assert code == 0, err
    code, again, _ = cli(*line, "--dataset", "digits-lt", "--show-best", "--dry-run")
    assert code == 0
    assert again.endswith("6 different classifiers, 6 of them kept from before\n")
    code, filtered, _ = cli(*line, "--dataset", "digits-lt", "--show-best", "--filter", "--dry-run")
    assert code == 0
    assert "shown before it" in filtered
    assert "2 of them kept from before; training 4 takes about 0." in filtered
    code, filtered, _ = cli(*line, "--dataset", "digits-lt", "--show-best", "--filter", "--dry-run", "--json")
    assert code == 0
    plan = json.loads(filtered)
    assert (plan["classifiers"], plan["kept"]) == (6, 2)  # the ones that filter, and what they leave, are not known
    assert "597 real test images that nobody trained on; quick, 7 steps, last epoch" in out
    assert "best epoch, optimistic" in out
    assert "note: generated: 355 generated images fewer than it asks for" in out
    code, out, _ = cli(
        *line, "--dataset", "digits-lt", "--json", "--fill", "ldmlr", "--filter", "--out", tmp_path / "r.json"
    )
    assert code == 0
    document = json.loads(out)
    assert document == json.loads((tmp_path / "r.json").read_text())
    assert document["results"]["samples"][0]["settings"]["fill"] == "ldmlr"
    code, _, err = cli(*line)
    assert code == 2
    assert "which data set are the samples of?" in err
