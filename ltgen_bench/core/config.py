"""A run's configuration: frozen sections, resolved from layers, checked before anything starts.

Layers, later ones win: built-in defaults < the trunk recipe of the image size < the data set's recipe < the method's
recipe for the data set < a file given with `--config` < command-line options and `--set section.key=value`.

Everything except the section `execution` (which device, how many threads, how often to checkpoint) says *what* is
computed and enters the configuration hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from ltgen_bench.core.choices import Conditioning, Guidance, ModelWeights, SamplerName
from ltgen_bench.core.errors import ConfigError, did_you_mean, first_mistake
from ltgen_bench.core.mappings import without_none
from ltgen_bench.core.protocol import Protocol
from ltgen_bench.core.storage import sha256_json

Precision = Literal["fp32", "bf16", "fp16"]
Positive = Annotated[int, Field(gt=0)]
_NotNegative = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused, no NaN, paths and tuples as plain values in JSON.

    The text below a key explains it to users: `ltgen-bench explain KEY`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class DatasetConfig(Section):
    """Which training set; options a set does not know are refused by it."""

    name: str = "digits-lt"
    """The training set; see `ltgen-bench list datasets`."""
    imbalance: float | None = None
    """Images of the smallest class over those of the largest one, such as 0.01; null: the set's own."""
    per_class: int | None = None
    """A balanced subset of this many images a class, in place of a long tail."""
    head: Literal["largest", "mean"] | None = None
    """For `folder` with an imbalance: a head as large as the classes allow (null, largest), classes from head to tail
    by their size; or, as CCUA cuts ImageNet and Places, of the classes' mean size (mean), classes by name."""
    pareto_alpha: float | None = None
    """For `folder`: a Pareto cut of this power; `imbalance` is then its truncation."""
    path: Path | None = None
    """For `folder`: your folder of class folders."""
    reference_path: Path | None = None
    """For `folder`: held-out images in the same class folders."""
    image_size: int | None = None
    """For `folder`: resize to this many pixels; null: all images must have one size."""
    reference_fraction: float = 0.2
    """For `folder` without a reference folder: the share of the images that is split off as reference."""
    split_seed: int = 0
    """The seed of that split and, without a cut_seed, of an artificial imbalance."""
    cut_seed: int | None = Field(None, ge=0, lt=2**32)
    """Which images an artificial imbalance keeps; null: 0, the papers' cut."""
    class_order: Annotated[int, Field(ge=0, lt=2**32)] | Literal["index", "reversed"] | None = None
    """Which classes it makes rare: from head to tail by index (null), reversed, or permuted by this seed."""

    @model_validator(mode="after")
    def _one_word_for_the_default(self) -> DatasetConfig:
        """What says the same has one configuration hash."""
        if self.head == "largest":
            object.__setattr__(self, "head", None)
        if self.class_order == "index":
            object.__setattr__(self, "class_order", None)
        if self.cut_seed == self.split_seed == 0:
            object.__setattr__(self, "cut_seed", None)
        return self


class NetworkConfig(Section):
    """The U-Net (Ho et al. 2020). The defaults are the shared 32 px trunk of DDPM, CBDM, T2H and CORAL."""

    base_channels: Positive = 128
    """Channels at full resolution; the size of the U-Net grows with its square."""
    channel_multipliers: tuple[Positive, ...] = (1, 2, 2, 2)
    """Channels of each level over base_channels; every level halves the resolution."""
    residual_blocks: Positive = 2
    """Residual blocks a level."""
    attention_levels: tuple[_NotNegative, ...] = (1,)
    """The levels with self-attention; 0 is full resolution."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of activations left out in residual blocks."""
    norm_groups: Positive = 32
    """Groups of group normalisation; it has to divide the channels."""


class DiffusionConfig(Section):
    """The forward process: a linear beta schedule."""

    timesteps: Positive = 1000
    """Noise levels T of training, and of ancestral sampling."""
    beta_start: float = Field(1e-4, gt=0, lt=1)
    """Variance of the noise that the first step adds."""
    beta_end: float = Field(0.02, gt=0, lt=1)
    """Variance of the noise that the last step adds; linear in between."""


NATURAL = "natural"


def _class_sampling(rule: str) -> str:
    """The rule if it is one; raises ValueError."""
    kind, colon, value = rule.partition(":")
    if rule in (NATURAL, "balanced"):
        return rule
    if colon and kind in ("exponent", "tail"):
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if (0 <= number <= 1) and (kind == "exponent" or number > 0):
            return f"{kind}:{number:g}"  # one spelling, one configuration hash
    raise ValueError("is natural, balanced, exponent:q with q in 0 ... 1, or tail:f with f above 0 and at most 1")


ClassSampling = Annotated[str, AfterValidator(_class_sampling)]


class TrainingConfig(Section):
    """The optimisation. Costs are reported in images seen = steps x batch_size."""

    steps: Positive = 150_000
    """Optimiser steps."""
    batch_size: Positive = 128
    """Images an optimiser step, over all processes and accumulation."""
    gradient_accumulation: Positive = 1
    """Compute the batch in this many parts, to save memory; the same result up to rounding."""
    learning_rate: float = Field(2e-4, gt=0)
    """Of Adam, after the warm-up."""
    learning_rate_schedule: Literal["constant", "cosine", "linear"] = "constant"
    """What follows the warm-up: constant, or a cosine or a straight line to 0."""
    weight_decay: float = Field(0.0, ge=0)
    """Of AdamW: weights shrink by this share of the learning rate at every step; 0: plain Adam."""
    warmup_steps: _NotNegative = 5000
    """Steps over which the learning rate rises from 0."""
    gradient_clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient; longer ones are shortened to it."""
    ema_decay: float = Field(0.9999, ge=0, lt=1)
    """Of the average of the weights that images are drawn from. The average spans about 1 / (1 - ema_decay) steps:
    with fewer steps of training than a few times that, samples are still noise; lower it, or set ema_warmup."""
    ema_warmup: bool = False
    """Let the decay grow as min(ema_decay, (i + 1) / (i + 10)): for short trainings."""
    label_drop: float = Field(0.1, ge=0, le=1)
    """Probability of training without the label, which guidance needs."""
    label_drop_unit: Literal["sample", "batch"] = "sample"
    """Whether the label of a sample or of a whole batch is dropped; the released CBDM and CORAL code drops whole
    batches."""
    class_sampling: ClassSampling = NATURAL
    """How often each class is drawn: natural (every image once an epoch), balanced, exponent:q (in proportion to n^q
    for a class of n images), or tail:f (an exponential tail of ratio f from the largest class to the smallest). All but
    natural draw with replacement."""
    horizontal_flip: bool = True
    """Mirror every second image, where the data set allows it (not for digits)."""
    augment_probability: float = Field(0.0, ge=0, le=1)
    """Of each ADA-style transform (`diffusion.augmentation`); 0: none."""
    precision: Precision = "fp32"
    """Number format of the forward and backward pass; weights stay float32."""
    max_nonfinite_steps: _NotNegative = 20
    """Steps in a row with gradients that are not finite before the training stops."""
    init_from: Path | None = None
    """Fine-tuning: the model.safetensors (of the same network) whose weights training starts from."""
    init_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    """Of that file, filled in: the result depends on its content and not on its place."""


_LATER_SAMPLING = {
    "guidance": "free", "free_scale": 0.0, "classifier": None, "classifier_sha256": None, "classifier_prior": "training"
}  # fmt: skip


class SamplingConfig(Section):
    """How images are drawn from a trained diffusion model; `null` takes the protocol's default."""

    sampler: SamplerName | None = None
    """ddpm (ancestral), ddim or dpm-solver++; null: the protocol's."""
    steps: Positive | None = None
    """Network calls for one image without guidance; null: the protocol's."""
    conditioning: Conditioning = Conditioning.CLASS
    """class; classifier: the network is not told the class, the classifier that guides it is; or none: unconditional
    samples, which have no class."""
    guidance_scale: float | None = Field(None, ge=0, le=100)
    """w in eps_c + w (eps_c - eps_u); 0 is off (the `cfg_scale` of ADM, DiT and diffusers is w + 1). With guidance =
    classifier: s, the factor of the classifier's gradient. null: chosen by the protocol's rule, or 0 where it has
    none."""
    guidance: Guidance = Guidance.FREE
    """free (Ho and Salimans), or classifier (Dhariwal and Nichol): what guidance_scale is the scale of."""
    free_scale: float = Field(0.0, ge=0, le=100)
    """With guidance = classifier: w of classifier-free guidance beside it."""
    classifier: Path | None = None
    """The file of a classifier of noisy images (`ltgen-bench train-classifier`); null: the method's own."""
    classifier_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    """Of that file, filled in."""
    classifier_prior: Literal["training", "uniform"] = "training"
    """training: p(y | x_t) as the classifier learned it; uniform: with the classes' shares of its training divided out
    (logits - log share), so that frequent classes attract no more than rare ones."""
    clip_x0: bool | None = None
    """Keep the predicted image within the range of pixels at every step; null: the protocol's."""
    eta: float = Field(0.0, ge=0, le=1)
    """The share of fresh noise in DDIM; 0: none, 1: as much as ancestral sampling."""
    precision: Precision = "fp32"
    """Number format of the network while sampling."""
    weights: ModelWeights = ModelWeights.EMA
    """ema (averaged) or raw (as the optimiser left them)."""

    @model_serializer(mode="wrap")
    def _without_what_says_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Later keys with their defaults stay out, so that the hashes of earlier runs stand."""
        values: dict[str, Any] = handler(self)
        return {key: v for key, v in values.items() if key not in _LATER_SAMPLING or v != _LATER_SAMPLING[key]}

    def identity(self) -> dict[str, Any]:
        """What the images depend on, as JSON values: of a classifier the content and not the place."""
        return self.model_dump(mode="json", exclude={"classifier"})

    @property
    def labelled(self) -> bool:
        """Whether images are drawn for classes; unconditional ones belong to none."""
        return self.conditioning is not Conditioning.NONE

    @property
    def classified(self) -> bool:
        """Whether a classifier guides."""
        return self.guidance is Guidance.CLASSIFIER

    def departs_from(self, protocol: Protocol) -> bool:
        """Whether images are drawn otherwise than `protocol` fixes it; guidance may be the method's own choice."""
        fixed = (protocol.sampler, protocol.sampler_steps, protocol.clip_x0)
        scale = protocol.fixed_guidance
        if scale is not None and self.labelled and self.guidance_scale not in (None, scale):
            return True
        return (self.sampler, self.steps, self.clip_x0) != fixed or bool(self.eta) or self.weights != ModelWeights.EMA

    @property
    def network_evaluations(self) -> int:
        """Calls of the networks for one image: two a step with guidance, or where its scale is still to be chosen.

        The classifier's forward and backward pass counts as one; classifier-free guidance beside it as one more.
        """
        return (self.steps or 0) * (1 + (self.guidance_scale != 0) + (self.free_scale != 0))

    def at_scale(self, guidance_scale: float) -> SamplingConfig:
        """The same with a guidance scale."""
        return self.model_copy(update={"guidance_scale": guidance_scale})


class ExecutionConfig(Section):
    """Where and how it is computed; nothing in here changes what is computed (up to rounding)."""

    @model_validator(mode="after")
    def _graphs_are_of_compiled_networks(self) -> ExecutionConfig:
        if self.cuda_graphs and not self.compile:
            raise ValueError("cuda_graphs needs compile = true")
        return self

    device: str = "auto"
    """auto, cpu, cuda, cuda:0 or mps."""
    threads: _NotNegative = 0
    """CPU threads; 0: the libraries' own choice."""
    speed: Literal["auto", "exact", "fast"] = "auto"
    """exact, fast, or auto: fast on CUDA and exact elsewhere. It sets the four keys below and the precisions where
    nobody did."""
    tf32: bool = False
    """On CUDA: float32 products and convolutions with 10 bits of mantissa."""
    compile: bool = False
    """Compile the network with torch.compile."""
    cuda_graphs: bool = False
    """With compile: replay the network's kernels as one graph."""
    channels_last: bool = False
    """Memory format of the network and its inputs."""
    track: tuple[str, ...] = ()
    """Trackers that get what training logs: tensorboard, wandb, trackio."""
    checkpoint_every: Positive = 2000
    """Steps between two checkpoints of the training."""
    log_every: Positive = 100
    """Steps between two rows of stats.jsonl."""
    sampling_batch_size: Positive = 256
    """Images drawn at a time; it changes speed and memory, not the images."""
    evaluation_batch_size: Positive = 128
    """Images that feature networks see at a time."""


# Not part of a configuration's identity; a file to start from is identified by its hash, wherever it lies.
_NO_IDENTITY: dict[str, Any] = {
    "execution": True, "seed": True, "training": {"init_from"}, "sampling": {"classifier"}
}  # fmt: skip

# Keys that came later, with the values that say nothing: they stay out of identities.
_LATER_KEYS = ("cut_seed", "class_order", "head")
_LATER_TRAINING = {"class_sampling": NATURAL, "weight_decay": 0.0}

# What a method may have no use for; it declares those that it reads (`Method.uses`).
OPTIONAL_SECTIONS = ("network", "diffusion", "training", "sampling")


class UndeclaredSection:
    """What a method finds in place of a section that it does not declare: any use of it is refused in one line."""

    def __init__(self, name: str):
        self.__dict__["section"] = name

    def __getattr__(self, key: str) -> Any:
        name = self.__dict__.get("section")
        if name is None or key.startswith("__"):  # being copied, or asked by Python itself
            raise AttributeError(key)
        raise ConfigError(
            f"the method reads {name}.{key}, and does not declare that it uses {name}: no record would show the value; "
            f"add {name!r} to the class's 'uses'"
        )


class RunConfig(Section):
    """Everything that one run depends on."""

    method: dict[str, Any] = Field(default_factory=lambda: {"name": "ddpm"})
    dataset: DatasetConfig = DatasetConfig()
    network: NetworkConfig = NetworkConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    training: TrainingConfig = TrainingConfig()
    sampling: SamplingConfig = SamplingConfig()
    protocol: Protocol
    execution: ExecutionConfig = ExecutionConfig()
    seed: _NotNegative = 0
    _unused: frozenset[str] = PrivateAttr(default=frozenset())

    @classmethod
    def as_written(cls, values: Mapping[str, Any], where: str = "") -> RunConfig:
        """A configuration of a file or a record, which has the sections that its method uses, and no others."""
        config: RunConfig = build(cls, values, where)
        return config.using(values)

    def using(self, sections: Iterable[str]) -> RunConfig:
        """The same for a method that uses these of the optional sections: the others are no part of it."""
        config = self.model_copy()
        config._unused = frozenset(OPTIONAL_SECTIONS) - set(sections)
        return config

    def uses(self, section: str) -> bool:
        """Whether an optional section is part of the configuration."""
        return section not in self._unused

    def for_method(self) -> RunConfig:
        """What the method gets to see: a section that it has not declared answers with an error."""
        return self.model_copy(update={name: UndeclaredSection(name) for name in self._unused})

    @property
    def labelled(self) -> bool:
        """Whether images are drawn for classes."""
        return not self.uses("sampling") or self.sampling.labelled

    def values(self, without: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """All of it as JSON values, but for the keys in `without`."""
        unused = dict.fromkeys(self._unused, True)
        value: dict[str, Any] = self.model_dump(mode="json", exclude={**(without or {}), **unused})
        return value

    def identity(self) -> dict[str, Any]:
        """What is computed, as JSON values: every section but `execution`; the seed stands apart in the folder name."""
        value = self.values(without={**_NO_IDENTITY, "protocol": True})
        # as in the protocol's own hash, a field that is None says nothing: protocols can learn new ones
        return {**_as_before(value), "protocol": self.protocol.model_dump(mode="json", exclude_none=True)}

    def training_identity(self) -> dict[str, Any]:
        """The part that a trained model depends on: method, data set, network, diffusion, training."""
        return _as_before(self.values(without={**_NO_IDENTITY, "sampling": True, "protocol": True}))

    def hash(self) -> str:
        """Ten hexadecimal digits of the sha256 over `identity()`; the run folder's name."""
        return sha256_json(self.identity())[:10]

    def to_toml(self) -> str:
        """The whole configuration as TOML, `null` values left out (TOML has none; they are the defaults)."""
        return tomli_w.dumps(without_none(self.values()))


def _as_before(values: dict[str, Any]) -> dict[str, Any]:
    """Values without the later keys that say nothing, so that the hashes of earlier runs stand."""
    dataset = {key: value for key, value in values["dataset"].items() if value is not None or key not in _LATER_KEYS}
    later = {**values, "dataset": dataset}
    if training := values.get("training"):
        later["training"] = {
            key: value for key, value in training.items() if key not in _LATER_TRAINING or value != _LATER_TRAINING[key]
        }
    return later


def build(model: type[Section], values: Mapping[str, Any], where: str = "") -> Any:
    """Make a section from `values`; the first mistake becomes a ConfigError of one line, with the closest known key."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        mistake = first_mistake(error)
        location = ".".join(part for part in (where, mistake.place) if part)
        if mistake.kind == "extra_forbidden":
            raise ConfigError(
                f"unknown configuration key {location!r}; {did_you_mean(location, keys(model, where))}"
            ) from None
        raise ConfigError(f"{location}: {mistake.message}, got {mistake.given!r}") from None


def keys(model: type[BaseModel], where: str = "") -> list[str]:
    """All dotted keys of a section and its sections."""
    found = []
    for name, field in model.model_fields.items():
        dotted = f"{where}.{name}" if where else name
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += keys(kind, dotted)
        else:
            found.append(dotted)
    return found
