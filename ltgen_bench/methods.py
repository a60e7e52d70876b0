"""The common model interface: what a generative model must offer to be trained, sampled and measured here.

Two depths, and a newcomer needs only one of them:

1. *Any generative model*: subclass `Method` and write `fit`, `sample`, `save` and `load`.
2. *A diffusion method*: subclass `DiffusionMethod` and write `losses(batch)`, a dict of named scalar losses. The
   trainer owns the optimiser, EMA, precision, processes, checkpoints and logging; the sampler owns guidance and labels.

A class becomes known by its name through `METHODS.register("name")` in a file given with `--plugin`, or through the
entry point group `ltgen_bench.methods` of an installed package.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ltgen_bench.augmentation import AugmentationCondition
from ltgen_bench.config import RunConfig, Section, build, read_toml
from ltgen_bench.datasets import ImageSet
from ltgen_bench.diffusion import DiffusionSchedule, UNet, UNetConfig, linear_schedule
from ltgen_bench.progress import Progress
from ltgen_bench.registry import Registry
from ltgen_bench.seeding import derive_seed

NO_LABEL = -1  # in a label tensor: "no label", for unconditional training and sampling


@dataclass(frozen=True)
class DataSpec:
    """What a model must know of its training set before it sees an image."""

    image_shape: tuple[int, int, int]  # (C, H, W)
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]  # training images of each class
    horizontal_flip: bool = True  # whether a mirrored image is still an image of its class

    @property
    def class_count(self) -> int:
        """How many classes there are."""
        return len(self.class_names)


@dataclass
class FitContext:
    """What `Method.fit` gets besides the images: where to write, what to report to, which device to use."""

    folder: Path  # the run's checkpoint folder: the method's own intermediate files go here
    device: torch.device
    seed: int
    progress: Progress = field(default_factory=Progress)
    log: Callable[[dict[str, Any]], None] = lambda row: None  # one row of stats.jsonl


class MethodConfig(Section):
    """A method's own keys, set in its recipe or with `--set method.key=value`; subclass it to add some."""

    name: str


class Method(ABC):
    """Any generative model of images with class labels.

    Class attributes describe it in lists and records: `title` (as in tables), `paper` (how to cite it), `Config`
    (its own configuration keys).
    """

    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    model_file: ClassVar[str] = "model.bin"  # what `save` writes; no suffix from which a library guesses a format

    def __init__(self, spec: DataSpec, run: RunConfig):
        self.spec, self.run = spec, run
        self.config: Any = build(self.Config, run.method, "method")
        self.device = torch.device("cpu")

    @abstractmethod
    def fit(self, train_set: ImageSet, context: FitContext) -> None:
        """Train on uint8 images (N, C, H, W) with int64 labels (N,); going on from `context.folder` if it can."""

    @abstractmethod
    def sample(self, labels: Tensor, seeds: Sequence[int]) -> Tensor:
        """Draw one image for each label: int64 (B,), and as many seeds -> uint8 (B, C, H, W).

        An image may depend on its own label and its own seed only, never on the rest of the batch.
        """

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write what `sample` needs to one file."""

    @abstractmethod
    def load(self, path: Path) -> None:
        """Read what `save` wrote; raises CheckpointError when it does not fit. Nothing in it may be executed."""

    def to(self, device: torch.device) -> None:
        """Move to a device; called once before `sample`."""
        self.device = device

    def facts(self) -> dict[str, Any]:
        """What the record says of the trained model, such as its number of parameters (JSON values)."""
        return {}

    @classmethod
    def implied(cls, config: Any) -> dict[str, Any]:
        """The configuration layer that a method's own keys imply elsewhere, such as its variant's way to drop labels.

        `config` is this method's checked `Config`. The layer wins over recipes; what the user sets wins over it.
        """
        return {}

    @classmethod
    def recipe(cls, method: str, dataset: str) -> dict[str, Any]:
        """The configuration layer of this method for a data set: `recipes/<method>/<dataset>.toml` beside its code."""
        path = cls._recipes(method) / f"{dataset}.toml"
        return read_toml(path) if path.is_file() else {}

    @classmethod
    def has_recipes(cls, method: str) -> bool:
        """Whether there are recipes for some data sets."""
        return cls._recipes(method).is_dir()

    @classmethod
    def _recipes(cls, method: str) -> Path:
        return Path(inspect.getfile(cls)).parent / "recipes" / method


METHODS: Registry[type[Method]] = Registry("method", "ltgen_bench.methods")


@dataclass(frozen=True)
class DiffusionBatch:
    """One batch of a diffusion training step, on the training device.

    Where a step's batch is cut (over processes, or by gradient accumulation) this is one part of it: the rows from
    `first` on, of `whole_size`. A method whose draws come from `uniform` and whose candidates come from `whole` does
    not notice the cuts.
    """

    x0: Tensor  # (B, C, H, W) images in [-1, 1], float32, flips applied
    noise: Tensor  # (B, C, H, W) standard normal, the target
    t: Tensor  # (B,) int64 table index: 0 is the paper's t = 1, timesteps - 1 is T
    x_t: Tensor  # (B, C, H, W) noised images
    labels: Tensor  # (B,) int64 true labels
    conditioning: Tensor  # (B,) int64: the labels, NO_LABEL where the label was dropped
    step: int  # optimiser steps done before this one
    seed: int  # of this step: the same in all parts of its batch
    first: int = 0  # which row of the whole batch is the first one here
    whole_size: int | None = None  # rows of the whole batch; None: these are all
    read_whole: Callable[[], tuple[Tensor, Tensor]] | None = None  # see `whole`

    def generator(self, purpose: str) -> torch.Generator:
        """A generator for a method's own draws: seeded by step, part and purpose, disturbing nothing else."""
        return _generator(self.x0.device, self.seed, purpose, self.first)

    def uniform(self, purpose: str) -> Tensor:
        """One number in [0, 1) for each image, float32 (B,): the same however the step's batch is cut into parts."""
        generator = _generator(self.x0.device, self.seed, purpose)
        draws = torch.rand(self.whole_size or len(self.x0), generator=generator, device=self.x0.device)
        return draws[self.first : self.first + len(self.x0)]

    def whole(self) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) and labels (N,) of the step's whole batch, over all processes and parts.

        Every process holds the training set and draws the same batch, so nothing is communicated.
        """
        return (self.x0, self.labels) if self.read_whole is None else self.read_whole()


def _generator(device: torch.device, *seed: int | str) -> torch.Generator:
    generator = torch.Generator(device)
    generator.manual_seed(derive_seed(*seed))
    return generator


class DiffusionMethod(Method):
    """A class-conditional diffusion model on the shared U-Net; subclasses say what they minimise.

    `self.network(x_t, t, labels)` gives `.noise` (B, C, H, W) and `.bottleneck` (B, channels). `self.schedule` has the
    coefficient tables, `self.class_counts` the training images of each class, int64 (classes,) on the device. Further
    trainable modules come from `extra_modules`; they are trained and checkpointed, and are no part of sampling.

    `in_batch` is True where the loss of one image depends on what the network makes of the others: such a method
    gathers that over the processes (`distributed.gather_with_gradient`), and gradient accumulation is refused.
    """

    model_file = "model.safetensors"
    passes: ClassVar[int] = 1  # forward and backward passes of the network in a training step, for cost estimates
    in_batch: ClassVar[bool] = False

    def __init__(self, spec: DataSpec, run: RunConfig):
        super().__init__(spec, run)
        self.schedule: DiffusionSchedule = linear_schedule(
            run.diffusion.timesteps, run.diffusion.beta_start, run.diffusion.beta_end
        )
        self.class_counts = torch.tensor(spec.class_counts, dtype=torch.int64)
        self.network = UNet(unet_config(spec, run), derive_seed(run.seed, "network"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(run.seed, "extra modules"))
            self.extra = nn.ModuleDict(self.extra_modules())
            if run.training.augment_probability > 0:
                size = self.network.config.embedding_channels
                self.extra["augmentation"] = AugmentationCondition(self.network.time_embedding, size)

    @abstractmethod
    def losses(self, batch: DiffusionBatch) -> dict[str, Tensor]:
        """The named scalar losses of a batch; their sum is minimised, each is logged under its name."""

    def extra_modules(self) -> dict[str, nn.Module]:
        """Trainable modules besides the U-Net, by name; reach them as `self.extra["name"]` in `losses`."""
        return {}

    def image_weights(self, labels: Tensor) -> Tensor | None:
        """Relative probability of drawing each training image, float64 (N,); None: every image once an epoch."""
        return None

    def fit(self, train_set: ImageSet, context: FitContext) -> None:
        """Train with the shared trainer (`ltgen_bench.training`)."""
        from ltgen_bench.training import Trainer

        Trainer(self, train_set, context).run()

    def sample(self, labels: Tensor, seeds: Sequence[int]) -> Tensor:
        """Draw images with the shared samplers (`ltgen_bench.sampling`)."""
        from ltgen_bench.sampling import sample_diffusion

        return sample_diffusion(self, labels, seeds)

    def save(self, path: Path) -> None:
        """Write the network's weights as safetensors, with what they belong to in the header."""
        from ltgen_bench.checkpoints import save_model

        save_model(path, self.network.state_dict(), self.identity())

    def load(self, path: Path) -> None:
        """Read the network's weights; raises CheckpointError for those of another network or class count."""
        from ltgen_bench.checkpoints import load_model

        load_model(path, self.network, self.identity())

    def identity(self) -> dict[str, Any]:
        """What a checkpoint's weights belong to; a checkpoint with another one is refused."""
        return {
            "method": self.run.method["name"],
            "image_shape": list(self.spec.image_shape),
            "class_count": self.spec.class_count,
            "network": self.run.network.model_dump(mode="json"),
            "diffusion": self.run.diffusion.model_dump(mode="json"),
        }

    def to(self, device: torch.device) -> None:
        """Move the network and the extra modules."""
        super().to(device)
        self.class_counts = self.class_counts.to(device)
        self.network.to(device)
        self.extra.to(device)

    def facts(self) -> dict[str, Any]:
        """Trainable parameters of the network and of the extra modules."""
        return {
            "network_parameters": sum(p.numel() for p in self.network.parameters() if p.requires_grad),
            "extra_parameters": sum(p.numel() for p in self.extra.parameters() if p.requires_grad),
        }


def unet_config(spec: DataSpec, run: RunConfig) -> UNetConfig:
    """The U-Net of a run; raises ConfigError when its sizes do not fit the images."""
    network = run.network
    return UNetConfig(
        image_channels=spec.image_shape[0],
        image_size=spec.image_shape[1],
        class_count=spec.class_count,
        base_channels=network.base_channels,
        channel_multipliers=network.channel_multipliers,
        residual_blocks=network.residual_blocks,
        attention_levels=network.attention_levels,
        dropout=network.dropout,
        norm_groups=network.norm_groups,
        steps=run.diffusion.timesteps,
    )
