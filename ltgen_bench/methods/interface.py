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
from torch import Tensor

from ltgen_bench.core.config import OPTIONAL_SECTIONS, RunConfig, Section, build
from ltgen_bench.core.errors import ConfigError, close_to
from ltgen_bench.core.mappings import read_toml
from ltgen_bench.core.plugins import where_defined
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.registry import Registry
from ltgen_bench.datasets import ImageSet


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


# How faithful an implementation can be: the authors' code is public and a variant does what it does; written from the
# paper's equations; or so little is published that parts had to be guessed, which its file lists.
FIDELITIES = ("parity with released code", "from the paper", "reconstruction")


class Method(ABC):
    """Any generative model of images with class labels.

    Class attributes describe it in lists and records: `title` (as in tables), `paper` (how to cite it), `fidelity` (how
    near to its paper: one of `FIDELITIES`), `Config`
    (its own configuration keys), `uses` (which of the sections network, diffusion, training and sampling it reads from
    `self.run`; a configuration and a record have these only, and `--set` refuses the others).
    """

    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    fidelity: ClassVar[str] = ""  # one of FIDELITIES; empty: its author does not say
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    uses: ClassVar[tuple[str, ...]] = ()
    made_of: ClassVar[tuple[type[Method], ...]] = ()  # the classes of methods that were joined by name
    model_file: ClassVar[str] = "model.bin"  # what `save` writes; no suffix from which a library guesses a format

    def __init__(self, spec: DataSpec, run: RunConfig):
        self.spec, self.run = spec, run
        self.config: Any = build(self.Config, run.method, "method")
        self.device = torch.device("cpu")

    @abstractmethod
    def fit(self, train_set: ImageSet, context: FitContext) -> None:
        """Train on uint8 images (N, C, H, W) with int64 labels (N,); resuming from `context.folder` if it can.

        def fit(self, train_set, context):  # a Gaussian a class, in pixels
            pixels = train_set.images.reshape(len(train_set), -1).astype(float)
            for c in range(len(self.spec.class_names)):
                own = pixels[train_set.labels == c]
                self.mean[c], self.covariance[c] = own.mean(axis=0), np.cov(own.T)
        """

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

    def representations(self, images: Tensor, t: int, labels: Tensor, noise: Tensor | None = None) -> Tensor:
        """What the model makes of real images, for `ltgen-bench analyze`; a method need not offer it.

        `images`: float (B, C, H, W) in [-1, 1]; `t`: the noise level, 1 to `run.diffusion.timesteps`; `labels`: int64
        (B,), -1 where the class is withheld; `noise`: standard normal like `images`, to be added as level t adds it, or
        None for clean images. Returns float (B, D). Nothing may depend on the rest of the batch.
        """
        raise ConfigError(f"method {self.run.method['name']} offers no representations: its class does not define them")

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
        return bool(cls.recipe_names(method))

    @classmethod
    def recipe_names(cls, method: str) -> list[str]:
        """The data sets that there are recipes for, sorted."""
        return sorted(path.stem for path in cls._recipes(method).glob("*.toml") if "+" not in path.stem)

    @classmethod
    def further_recipes(cls, method: str, dataset: str) -> list[str]:
        """The further recipes for a data set, as `<data set>+<name>`, sorted; `--recipe NAME` takes one."""
        return sorted(path.stem for path in cls._recipes(method).glob(f"{dataset}+*.toml"))

    @classmethod
    def _recipes(cls, method: str) -> Path:
        return Path(inspect.getfile(cls)).parent / "recipes" / method


def check_method_class(name: str, thing: object) -> None:
    """Refuse, in one line, what is not a complete subclass of `Method`; raises ConfigError."""
    wanted = f"METHODS.register({name!r}) takes a class derived from Method or DiffusionMethod"
    if not isinstance(thing, type):
        raise ConfigError(f"{wanted}, got {thing!r}")
    where = where_defined(thing)
    if not issubclass(thing, Method):
        raise ConfigError(f"{where}: {wanted}")
    if missing := sorted(thing.__abstractmethods__):
        own = [key for key, value in vars(thing).items() if callable(value)]
        close = [f"; {key!r} is not one, did you mean {missing[0]!r}?" for key in own if close_to(key, missing[0])]
        raise ConfigError(f"{where}: the class has to define {', '.join(missing)}{close[0] if close else ''}")
    if thing.fidelity not in ("", *FIDELITIES):
        raise ConfigError(f"{where}: fidelity is one of {', '.join(FIDELITIES)}, or empty; got {thing.fidelity!r}")
    if not isinstance(thing.uses, tuple) or set(thing.uses) - set(OPTIONAL_SECTIONS):
        raise ConfigError(f"{where}: uses is a tuple of {', '.join(OPTIONAL_SECTIONS)}, got {thing.uses!r}")
    if not (isinstance(thing.Config, type) and issubclass(thing.Config, MethodConfig)):
        raise ConfigError(f"{where}: Config has to be a class derived from MethodConfig")


METHODS: Registry[type[Method]] = Registry("method", "ltgen_bench.methods", check=check_method_class)
