"""The recipes against the CORAL paper's Table 3 and Appendix A, and that they reach the user."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

import pytest
from baselines_support import METHOD_NAMES

from ltgen_bench.core.config import DatasetConfig, SamplingConfig, TrainingConfig, build
from ltgen_bench.core.errors import ConfigError, UnknownNameError
from ltgen_bench.core.mappings import merge
from ltgen_bench.methods import METHODS
from ltgen_bench.runs.resolve import dataset_recipe, resolve, trunk_recipe

DATASETS = {
    "cifar10lt": 32,
    "cifar10lt-0.001": 32,
    "cifar100lt": 32,
    "celeba5": 64,
    "imagenet-lt": 64,
    "tinyimagenet-lt": 64,
    "cifar10": 32,
    "cifar100": 32,
    "digits-lt": 8,
}
TABLE_3_SETS = list(DATASETS)[:4]
# Guidance scales of Table 3, in the order of its rows.
GUIDANCE = {
    "ddpm": (0.8, 1.0, 0.8, 0.6),
    "cbdm": (1.0, 1.8, 1.6, 1.0),
    "t2h": (1.0, 1.7, 1.5, 1.0),
    "coral": (0.6, 1.0, 0.8, 0.7),
}
TAU_CB = (1.0, 1.0, 1.0, 50.0)
TAU_SC = (0.12, 0.10, 0.09, 0.12)
TAU_R = (0.8, 1.0, 1.0, 0.8)


def layers(method: str, dataset: str) -> dict[str, Any]:
    """What `resolve` makes of the recipes, without a data set on disk."""
    return merge(trunk_recipe(DATASETS[dataset]), dataset_recipe(dataset), METHODS.get(method).recipe(method, dataset))


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_every_method_has_a_recipe_for_every_data_set(method: str, dataset: str) -> None:
    own = METHODS.get(method).recipe(method, dataset)
    assert own, f"no recipe for {method} on {dataset}"
    assert set(own) <= {"method", "training", "sampling"}  # the network and the rest are the trunk's
    everything = layers(method, dataset)
    build(METHODS.get(method).Config, {"name": method, **everything.get("method", {})}, "method")
    build(TrainingConfig, everything["training"], "training")
    build(SamplingConfig, everything["sampling"], "sampling")
    trunk = trunk_recipe(DATASETS[dataset])
    for section, values in METHODS.get(method).recipe(method, dataset).items():
        for key, value in values.items():  # what is written differs from the trunk, or is the recipe's subject
            assert trunk.get(section, {}).get(key) != value or key == "guidance_scale"


@pytest.mark.parametrize("index", range(4), ids=TABLE_3_SETS)
def test_table_3(index: int) -> None:
    dataset = TABLE_3_SETS[index]
    for method, scales in GUIDANCE.items():
        assert layers(method, dataset)["sampling"]["guidance_scale"] == scales[index]
    assert layers("cbdm", dataset)["method"] == {"tau": TAU_CB[index], "gamma": 0.25}
    coral = {"weight": 0.01, "temperature": TAU_SC[index], "decay": TAU_R[index]}
    assert layers("coral", dataset)["method"] == coral


@pytest.mark.parametrize("dataset", [name for name in DATASETS if name != "digits-lt"])
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_appendix_a(method: str, dataset: str) -> None:
    everything = layers(method, dataset)
    training = everything["training"]
    assert training["batch_size"] == 128
    assert training["learning_rate"] == (3e-4 if dataset == "celeba5" else 2e-4)
    longer = method in ("t2h", "h2t", "transfer-full")
    steps = {"imagenet-lt": 300_000, "tinyimagenet-lt": 100_000}  # the second is CCUA's
    assert training["steps"] == steps.get(dataset, 200_000 if longer else 150_000)
    assert (training["warmup_steps"], training["gradient_clip"], training["ema_decay"]) == (5000, 1.0, 0.9999)
    assert everything["network"]["dropout"] == 0.1
    assert everything["network"]["channel_multipliers"] == [1, 2, 2, 2]


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "baselines" / "recipes").rglob("*.toml")), ids=str)
def test_what_no_paper_states_is_marked(path: Path) -> None:
    text = path.read_text()
    method, dataset = path.parent.name, path.stem.partition("+")[0]
    assert method in METHOD_NAMES
    assert dataset in DATASETS
    assert text.startswith("# ")
    if "+" in path.stem:  # which of their numbers are not the authors' is said line by line
        assert "our choice" in text
        return
    published = (method in GUIDANCE and dataset in TABLE_3_SETS) or (method, dataset) == ("ccua", "tinyimagenet-lt")
    assert published != ("our choice" in text)


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ({"name": "cifar10lt"}, "cifar10lt"),
        ({"name": "cifar10lt", "imbalance": 0.001}, "cifar10lt-0.001"),
        ({"name": "cifar100lt"}, "cifar100lt"),
        ({"name": "cifar10"}, "cifar10"),
        ({"name": "cifar100"}, "cifar100"),
    ],
)
def test_a_run_uses_the_recipe_of_its_data_set(dataset: dict[str, Any], name: str, tmp_path: Path) -> None:
    run = resolve({"method": {"name": "coral"}, "dataset": dataset}, tmp_path)
    assert run.dataset.name == name
    wanted = layers("coral", name)
    assert {key: run.config.method[key] for key in wanted["method"]} == wanted["method"]
    assert run.config.sampling.guidance_scale == wanted["sampling"]["guidance_scale"]
    build(DatasetConfig, dataset, "dataset")


def test_further_recipes_are_asked_for_by_name(tmp_path: Path) -> None:
    ada = resolve({"method": {"name": "cbdm"}, "dataset": {"name": "cifar100lt"}, "recipe": "ada"}, tmp_path).config
    assert (ada.training.steps, ada.training.batch_size, ada.sampling.guidance_scale) == (500_000, 48, 1.4)
    assert (ada.training.augment_probability, ada.method["tau"]) == (0.12, 1.0)
    start = tmp_path / "model.safetensors"
    start.write_bytes(b"weights")
    layers = {"method": {"name": "cbdm"}, "recipe": "finetune", "training": {"init_from": start}}
    tuned = resolve({**layers, "dataset": {"name": "cifar10lt"}}, tmp_path).config
    assert (tuned.method["prior"], tuned.training.steps, tuned.sampling.guidance_scale) == ("uniform", 100_000, 2.0)
    assert resolve(layers, tmp_path).config.training.steps == 300  # digits
    del layers["training"]
    with pytest.raises(ConfigError, match=r"needs --set training.init_from=VALUE"):
        resolve(layers, tmp_path)
    with pytest.raises(UnknownNameError, match=r"no recipe 'adda' of cbdm for digits-lt; there are ada, finetune"):
        resolve({**layers, "recipe": "adda"}, tmp_path)
    with pytest.raises(UnknownNameError, match=r"no recipe 'ada' of ddpm for digits-lt; it has none"):
        resolve({"recipe": "ada"}, tmp_path)


def test_what_the_user_sets_wins_over_the_recipe(tmp_path: Path) -> None:
    user = {"method": {"name": "coral", "decay": 0.5}, "training": {"steps": 7}}
    config = resolve({**user, "dataset": {"name": "cifar10lt"}}, tmp_path).config
    assert (config.method["decay"], config.method["temperature"], config.training.steps) == (0.5, 0.12, 7)


def test_recipes_are_package_data() -> None:
    import tomllib

    installed = importlib.resources.files("baselines") / "recipes" / "coral" / "cifar100lt.toml"
    assert tomllib.loads(installed.read_text())["method"]["temperature"] == 0.09
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "**/*.toml" in project["tool"]["setuptools"]["package-data"]["baselines"]
    points = project["project"]["entry-points"]["ltgen_bench.methods"]
    assert sorted(points) == sorted(METHOD_NAMES)
