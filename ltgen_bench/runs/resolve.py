"""From what a user typed to a checked configuration: layers of recipes, data set, method and protocol together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltgen_bench.core.choices import Conditioning, SamplerName
from ltgen_bench.core.config import OPTIONAL_SECTIONS, DatasetConfig, RunConfig, TrainingConfig, build, keys
from ltgen_bench.core.errors import CheckpointError, ConfigError, UnknownNameError, did_you_mean
from ltgen_bench.core.mappings import merge, read_toml
from ltgen_bench.core.plugins import author_code, plugin_code_sha256
from ltgen_bench.core.protocol import resolve_protocol
from ltgen_bench.core.speed import chosen_speed, speed_layer
from ltgen_bench.core.storage import sha256_file
from ltgen_bench.datasets import Dataset, load_dataset
from ltgen_bench.methods import METHODS, DataSpec, DiffusionMethod, Method

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class ResolvedRun:
    """A configuration with the data set and the method class that it names."""

    config: RunConfig
    dataset: Dataset
    method_class: type[Method]
    notes: tuple[str, ...] = ()  # what the user should know of how the configuration came about
    method_sha256: str | None = None  # of a plug-in's code as it was when it was loaded

    @property
    def spec(self) -> DataSpec:
        """What the model is told of the data set."""
        return data_spec(self.dataset)

    def make_method(self) -> Method:
        """A fresh, untrained model."""
        with author_code(self.method_class, "the constructor"):
            return self.method_class(self.spec, self.config.for_method())


def data_spec(dataset: Dataset) -> DataSpec:
    """What a model must know of a data set before it sees an image."""
    return DataSpec(
        dataset.image_shape, tuple(dataset.class_names), tuple(dataset.class_counts), dataset.horizontal_flip
    )


_MOST_OF_THE_START = 0.02  # share of the untrained weights in the average that spoils no sample


def resolve(layers: Mapping[str, Any], data_root: Path) -> ResolvedRun:
    """Complete `layers` (nested mappings of configuration keys) with recipes and defaults, and check them.

    Raises ConfigError or UnknownNameError, each one line, for unknown names and keys and for wrong types.
    """
    user = _sections({key: value for key, value in layers.items() if key != "recipe"})
    dataset_config: DatasetConfig = build(DatasetConfig, user.get("dataset", {}), "dataset")
    dataset = load_dataset(dataset_config, data_root)
    method_name = str(user.get("method", {}).get("name", "ddpm"))
    method_class = METHODS.get(method_name)
    own_recipe = _first_recipe(lambda name: method_class.recipe(method_name, name), dataset, dataset_config)
    if (further := layers.get("recipe")) is not None:
        own_recipe = merge(own_recipe, _further_recipe(str(further), method_name, method_class, dataset, user))
    recipes = merge(
        trunk_recipe(dataset.image_shape[1]),
        _own_images_recipe(dataset),
        _first_recipe(dataset_recipe, dataset, dataset_config),
        own_recipe,
    )
    own = merge(recipes.get("method", {}), user.get("method", {}), {"name": method_name})
    implied = method_class.implied(build(method_class.Config, own, "method"))
    _refuse_undeclared(method_name, method_class, own_recipe, implied, user)
    merged = merge(recipes, implied, *_with_speed(user), {"method": {"name": method_name}})
    merged["training"] = _with_file_hash(merged.get("training", {}), "training", "init_from", "init_sha256")
    merged["sampling"] = _with_file_hash(merged.get("sampling", {}), "sampling", "classifier", "classifier_sha256")
    merged["protocol"] = resolve_protocol({"name": dataset.default_protocol, **merged.get("protocol", {})})
    _refuse_uncounted(method_name, method_class, merged["protocol"])
    merged["training"] = _within_budget(merged["training"], user.get("training", {}), merged["protocol"])
    merged["training"], notes = _as_mirrored(merged["training"], user.get("training", {}), dataset)
    # A method's own defaults become visible, and enter the hash, like everything else.
    merged["method"] = build(method_class.Config, merged["method"], "method").model_dump(mode="json")
    config: RunConfig = build(RunConfig, merged)
    is_diffusion = issubclass(method_class, DiffusionMethod)
    for complete in (_with_scale, _with_sampler):
        config, more = complete(config, user, is_diffusion)
        notes += more
    if not own_recipe and method_class.has_recipes(method_name):
        scale = config.sampling.guidance_scale
        notes += (
            f"no recipe for {method_name} on {dataset.name}: settings are those for {dataset.image_shape[1]} px and "
            f"your own, guidance {'chosen by the protocol' if scale is None else format(scale, 'g')}",
        )
    if is_diffusion:
        notes += _small_note(dataset, config) + _average_note(config)
        _check_sampling(config, issubclass(method_class, DiffusionMethod) and method_class.brings_classifier)
    return ResolvedRun(config.using(method_class.uses), dataset, method_class, notes, plugin_code_sha256(method_class))


def _refuse_undeclared(name: str, method_class: type[Method], *layers: Mapping[str, Any]) -> None:
    """Refuse keys that the method does not read: the value would stand in the record and change nothing."""
    for layer in layers:
        for section in OPTIONAL_SECTIONS:
            if section in method_class.uses or not (values := layer.get(section)):
                continue
            reads = " and ".join(method_class.uses) or "none of network, diffusion, training and sampling"
            raise ConfigError(
                f"{section}.{next(iter(values))}: method {name} does not use it (its class declares that it reads "
                f"{reads}); 'ltgen-bench list keys' has the keys"
            )


def _refuse_uncounted(name: str, method_class: type[Method], protocol: Mapping[str, Any]) -> None:
    if protocol.get("training_images") is not None and "training" not in method_class.uses:
        raise ConfigError(
            f"protocol {protocol['name']} counts every image seen, and method {name} has no steps to count (its class "
            "does not declare that it uses training)"
        )


def _as_mirrored(
    training: Mapping[str, Any], user: Mapping[str, Any], dataset: Dataset
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The training section without mirrored images where the data set has none; a note where they were asked for."""
    if dataset.horizontal_flip:
        return dict(training), ()
    note = f"images of {dataset.name} are not mirrored: training.horizontal_flip is off"
    return {**training, "horizontal_flip": False}, (note,) if user.get("horizontal_flip") is True else ()


def _average_note(config: RunConfig) -> tuple[str, ...]:
    """A word where the averaged weights would still be those that the training began with: samples are noise then."""
    training = config.training
    left = training.ema_decay**training.steps
    if training.ema_warmup or training.init_sha256 is not None or left < _MOST_OF_THE_START:
        return ()
    return (
        f"training.ema_decay {training.ema_decay:g} averages over about {1 / (1 - training.ema_decay):,.0f} steps, and "
        f"there are {training.steps:,}: {left:.0%} of the averaged weights are the untrained ones, and samples will be "
        "noise; "
        "--set training.ema_warmup=true suits short trainings",
    )


def _with_speed(user: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """What `execution.speed` sets, the user's layers over it, and what it turned out to be."""
    wanted, device = (str(user.get("execution", {}).get(key, "auto")) for key in ("speed", "device"))
    speed = chosen_speed(wanted, device)
    return speed_layer(speed, device), user, {"execution": {"speed": speed}} if wanted == "auto" else {}


def _first_recipe(find: Callable[[str], dict[str, Any]], dataset: Dataset, options: DatasetConfig) -> dict[str, Any]:
    """The recipe for a data set, or else for the one that it is a version of: `cifar10lt-0.02` is a `cifar10lt`."""
    names = (dataset.name, options.name, options.name.rpartition("-")[0])
    return next((recipe for name in names if name and (recipe := find(name))), {})


def _further_recipe(
    name: str, method: str, method_class: type[Method], dataset: Dataset, user: Mapping[str, Any]
) -> dict[str, Any]:
    """A recipe that the method has besides its own, `<data set>+<name>.toml`; what it `needs` is checked.

    Raises UnknownNameError with the names that there are, ConfigError where a key that it needs is not set.
    """
    sets = [of for of in (dataset.name, dataset.name.rpartition("-")[0]) if of]
    known = sorted({stem.partition("+")[2] for of in sets for stem in method_class.further_recipes(method, of)})
    found = (method_class.recipe(method, f"{of}+{name}") for of in sets if name in known)
    recipe = next((one for one in found if one), None)
    if recipe is None:
        there_are = f"there are {', '.join(known)}" if known else "it has none"
        raise UnknownNameError(f"no recipe {name!r} of {method} for {dataset.name}; {there_are}")
    for key in recipe.pop("needs", []):
        section, _, own = key.partition(".")
        if user.get(section, {}).get(own) is None:
            raise ConfigError(f"recipe {name} of {method} needs --set {key}=VALUE: 'ltgen-bench explain {key}'")
    return recipe


def _with_scale(config: RunConfig, user: Mapping[str, Any], is_diffusion: bool) -> tuple[RunConfig, tuple[str, ...]]:
    """The configuration with its scale of guidance: None where the protocol chooses it, which no recipe may do then.

    Whoever chooses it himself leaves the protocol; where there is nothing to guide, it is 0.
    """
    protocol, sampling = config.protocol, config.sampling
    possible = guided(config, is_diffusion)
    given = user.get("sampling", {}).get("guidance_scale")
    if protocol.selects_guidance and given is not None and possible:
        config = config.model_copy(update={"protocol": protocol.without_selection()})
        note = (
            f"protocol {protocol.name} chooses the guidance scale itself, and you chose {given}: the run is recorded "
            f"as {config.protocol.name} and enters no shared table"
        )
        return config, (note,)
    scale: float | None = sampling.guidance_scale or 0.0
    if protocol.fixed_guidance is not None and given is None and possible:
        scale = protocol.fixed_guidance
    if protocol.selects_guidance and given is None:  # a recipe's scale is that of its paper
        scale = None if possible else 0.0
    return config.model_copy(update={"sampling": sampling.model_copy(update={"guidance_scale": scale})}), ()


def _with_sampler(config: RunConfig, user: Mapping[str, Any], is_diffusion: bool) -> tuple[RunConfig, tuple[str, ...]]:
    """The configuration with the protocol's sampler, or under a custom protocol where another one was asked for."""
    protocol, own = config.protocol, config.sampling
    sampler, steps = own.sampler or protocol.sampler, own.steps or protocol.sampler_steps
    if is_diffusion and steps > config.diffusion.timesteps:
        raise ConfigError(f"sampling.steps {steps} is more than diffusion.timesteps {config.diffusion.timesteps}")
    clip = protocol.clip_x0 if own.clip_x0 is None else own.clip_x0
    sampling = own.model_copy(update={"sampler": sampler, "steps": steps, "clip_x0": clip})
    config = config.model_copy(update={"sampling": sampling})
    if not (is_diffusion and sampling.departs_from(protocol)):
        return config, ()
    custom = protocol.customised(sampler=sampler, sampler_steps=steps, clip_x0=clip, fixed_guidance=None)
    scale = "" if protocol.fixed_guidance is None else f", guidance {protocol.fixed_guidance:g}"
    note = (
        f"the sampler is not the one that protocol {protocol.name} fixes ({protocol.sampler}, "
        f"{protocol.sampler_steps} steps, clip_x0 {str(protocol.clip_x0).lower()}{scale}): the run is recorded as "
        f"{custom.name} and enters no shared table"
    )
    return config.model_copy(update={"protocol": custom}), (note,)


def guided(config: RunConfig, is_diffusion: bool) -> bool:
    """Whether a model can be guided: it is a diffusion model that is sampled by class and was trained without too.

    What a classifier guides need not be trained without.
    """
    if not is_diffusion or not config.sampling.labelled:
        return False
    return config.sampling.classified or 0 < config.training.label_drop < 1


def _check_sampling(config: RunConfig, brings_classifier: bool) -> None:
    """Refuse to sample what training does not teach, and settings that the sampler does not read."""
    sampling, drop = config.sampling, config.training.label_drop
    _check_classifier(config, brings_classifier)
    if not sampling.labelled and sampling.guidance_scale:
        raise ConfigError("sampling.guidance_scale needs classes; set it to 0 where sampling.conditioning is none")
    if sampling.guidance_scale and drop == 0 and not sampling.classified:
        raise ConfigError(
            f"sampling.guidance_scale {sampling.guidance_scale:g} needs a model that was also trained without labels; "
            "set training.label_drop above 0, or the guidance to 0"
        )
    if sampling.conditioning is Conditioning.CLASS and drop == 1:
        raise ConfigError(
            "training.label_drop 1 teaches no classes; set sampling.conditioning to none, or the drop below 1"
        )
    if sampling.conditioning is not Conditioning.CLASS and drop == 0:
        raise ConfigError(
            f"sampling.conditioning {sampling.conditioning} needs training without labels; set training.label_drop "
            "above 0"
        )
    if sampling.eta and sampling.sampler is not SamplerName.DDIM:
        raise ConfigError(f"sampling.eta is DDIM's; the sampler {sampling.sampler} does not read it")


def _check_classifier(config: RunConfig, brings_classifier: bool) -> None:
    """Refuse a classifier's guidance without one, and its settings without its guidance."""
    sampling = config.sampling
    if sampling.classified:
        if sampling.classifier_sha256 is None and not brings_classifier:
            raise ConfigError(
                "sampling.guidance classifier: there is none; 'ltgen-bench train-classifier' makes a file for --set "
                "sampling.classifier=FILE, and --method ddpm-cg brings its own"
            )
        if sampling.free_scale and sampling.guidance_scale is None:
            raise ConfigError(
                "sampling.free_scale goes with a scale of your own: set sampling.guidance_scale, which the protocol "
                "would choose"
            )
        if sampling.free_scale and (
            sampling.conditioning is not Conditioning.CLASS or not 0 < config.training.label_drop < 1
        ):
            raise ConfigError("sampling.free_scale needs a network that is told the class and was trained without too")
        return
    unread = {
        "free_scale": sampling.free_scale,
        "classifier": sampling.classifier_sha256,
        "classifier_prior": sampling.classifier_prior != "training",
        "conditioning": sampling.conditioning is Conditioning.CLASSIFIER,
    }
    for key in (key for key, value in unread.items() if value):
        raise ConfigError(f"sampling.{key} is read with --set sampling.guidance=classifier only")


def trunk_recipe(image_size: int) -> dict[str, Any]:
    """The network and training settings for an image size; levels that do not divide the size are left out."""
    trunk = read_toml(RECIPES / ("8px.toml" if image_size <= 16 else "32px.toml" if image_size < 64 else "64px.toml"))
    network = trunk["network"]
    multipliers = network["channel_multipliers"]
    while len(multipliers) > 1 and image_size % 2 ** (len(multipliers) - 1):
        multipliers = multipliers[:-1]
    network["channel_multipliers"] = multipliers
    network["attention_levels"] = [level for level in network["attention_levels"] if level < len(multipliers)]
    return trunk


def _own_images_recipe(dataset: Dataset) -> dict[str, Any]:
    """Settings for small sets of one's own; images as small as digits have a small network anyway."""
    return dataset_recipe(dataset.recipe) if dataset.recipe and dataset.image_shape[1] > 16 else {}


def _small_note(dataset: Dataset, config: RunConfig) -> tuple[str, ...]:
    """What the user did not choose is said; who set a size of the network knows it."""
    training, recipe = config.training, _own_images_recipe(dataset)
    if not recipe or config.network.base_channels != recipe["network"]["base_channels"]:
        return ()
    return (
        f"{dataset.total:,} training images: a small network and {training.steps:,} steps of {training.batch_size}, "
        "for a laptop; the papers' is --set network.base_channels=128 --set training.steps=150000 "
        "--set training.batch_size=128",
    )


def dataset_recipe(dataset: str) -> dict[str, Any]:
    """What the papers say of training on a data set whatever the method, such as its number of steps."""
    path = RECIPES / f"{dataset}.toml"
    return read_toml(path) if path.is_file() else {}


def _within_budget(training: Mapping[str, Any], user: Mapping[str, Any], protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The training section with the steps that a fixed-budget protocol leaves; raises ConfigError for any others."""
    budget = protocol.get("training_images")
    if budget is None:
        return dict(training)
    batch_size = training.get("batch_size", TrainingConfig().batch_size)
    if not isinstance(batch_size, int) or batch_size < 1 or budget % batch_size:
        raise ConfigError(
            f"training.batch_size {batch_size} does not divide the {budget:,} images of protocol {protocol['name']}"
        )
    steps = budget // batch_size
    if user.get("steps", steps) != steps:
        raise ConfigError(
            f"training.steps {user['steps']} x {batch_size} is not the {budget:,} images of protocol "
            f"{protocol['name']}; leave training.steps out"
        )
    if training.get("init_from") is not None:
        raise ConfigError(f"protocol {protocol['name']} counts every image seen: it takes no training.init_from")
    return {**training, "steps": steps}


_WANTED = {
    "init_from": "a run's checkpoints/model.safetensors",
    "classifier": "the file that 'ltgen-bench train-classifier' made",
}


def _with_file_hash(values: Mapping[str, Any], section: str, key: str, hash_key: str) -> dict[str, Any]:
    """The section with the sha256 of the weights in a file that it names; raises CheckpointError if it is missing."""
    start = values.get(key)
    if not isinstance(start, str | Path):
        return dict(values)
    if not Path(start).is_file():
        if hash_key in values:  # the configuration of a run that was done already and outlived the file
            return dict(values)
        raise CheckpointError(f"{section}.{key}: there is no file {start}; give {_WANTED[key]}")
    # Whether the file is still that of a given hash is looked at where it is read: a finished run needs it no more.
    return {hash_key: sha256_file(Path(start)), **values}


def _sections(layers: Mapping[str, Any]) -> dict[str, Any]:
    """The layers with their top-level names checked, and `method = "x"` read as `method.name = "x"`."""
    sections = dict(layers)
    for name, value in layers.items():
        if name not in RunConfig.model_fields:
            raise ConfigError(
                f"unknown configuration key {name!r}; {did_you_mean(name, [*RunConfig.model_fields, *keys(RunConfig)])}"
            )
        if name in ("method", "protocol", "dataset") and isinstance(value, str):
            sections[name] = {"name": value}
        elif name != "seed" and not isinstance(value, Mapping):
            raise ConfigError(f"{name} is a section: set one of its keys, as in --set {name}.key=value")
    return sections
