"""A diffusion method: the network, the schedule and the losses that the trainer and the sampler work with."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ltgen_bench.core.config import OPTIONAL_SECTIONS, RunConfig
from ltgen_bench.core.seeding import derive_seed
from ltgen_bench.diffusion import DiffusionSchedule, UNet, linear_schedule
from ltgen_bench.diffusion.augmentation import AugmentationCondition
from ltgen_bench.methods.adapters import merge_low_rank
from ltgen_bench.methods.batches import DiffusionBatch
from ltgen_bench.methods.checkpoints import load_model, save_model
from ltgen_bench.methods.interface import DataSpec, Method
from ltgen_bench.methods.noise_classifier import NoiseClassifier
from ltgen_bench.methods.unet_sizes import unet_config

_SHARED: ContextVar[UNet | None] = ContextVar("network of the whole", default=None)


@contextlib.contextmanager
def parts_on(network: UNet) -> Iterator[None]:
    """Methods made inside are parts of another one, which owns `network`, adapts it and adds their extra modules."""
    token = _SHARED.set(network)
    try:
        yield
    finally:
        _SHARED.reset(token)


class DiffusionModel(Method):
    """A class-conditional diffusion model on the shared U-Net; subclasses say what they minimise.

    `self.network(x_t, t, labels)` gives `.noise` (B, C, H, W) and `.bottleneck` (B, channels). `self.schedule` has the
    coefficient tables, `self.class_counts` the training images of each class, int64 (classes,) on the device. Further
    trainable modules come from `extra_modules`; they are trained and checkpointed, and have no part in sampling.

    `in_batch` is True where the loss of one image depends on what the network makes of the others: such a method
    gathers that over the processes (`methods.gather_with_gradient`), and gradient accumulation is refused.
    """

    model_file = "model.safetensors"
    uses = OPTIONAL_SECTIONS
    passes: ClassVar[int] = 1  # forward and backward passes of the network in a training step, for cost estimates
    in_batch: bool = False
    brings_classifier: ClassVar[bool] = False  # whether it trains a classifier of noisy images with itself
    classifier: NoiseClassifier | None = None  # what guides the sampler where sampling.guidance is classifier

    def __init__(self, spec: DataSpec, run: RunConfig):
        super().__init__(spec, run)
        self.schedule: DiffusionSchedule = linear_schedule(
            run.diffusion.timesteps, run.diffusion.beta_start, run.diffusion.beta_end
        )
        self.class_counts = torch.tensor(spec.class_counts, dtype=torch.int64)
        self.extra = nn.ModuleDict()
        if (shared := _SHARED.get()) is not None:
            self.network = shared
            return
        self.network = UNet(unet_config(spec, run), derive_seed(run.seed, "network"))
        self.adapt_network(torch.Generator().manual_seed(derive_seed(run.seed, "adapters")))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(run.seed, "extra modules"))
            self.extra = nn.ModuleDict(self.extra_modules())
            if run.training.augment_probability > 0:
                torch.manual_seed(derive_seed(run.seed, "augmentation"))  # whatever modules there are besides
                size = self.network.config.embedding_channels
                self.extra["augmentation"] = AugmentationCondition(self.network.time_embedding, size)

    @abstractmethod
    def losses(self, batch: DiffusionBatch) -> dict[str, Tensor]:
        """The named scalar losses of a batch; their sum is minimised, each is logged under its name."""

    def adapt_network(self, generator: torch.Generator) -> None:
        """Change chosen layers of `self.network` before training, as `methods.adapters` does; by default none.

        What is added is trained, averaged and checkpointed with the network. Low-rank parts are merged for sampling.
        """

    def extra_modules(self) -> dict[str, nn.Module]:
        """Trainable modules besides the U-Net, by name; reach them as `self.extra["name"]` in `losses`."""
        return {}

    def image_weights(self, labels: Tensor) -> Tensor | None:
        """Relative probability of drawing each training image, float64 (N,); None: every image once an epoch."""
        return None

    def save(self, path: Path) -> None:
        """Write the network's weights as safetensors, with what they belong to in the header."""
        save_model(path, self.network.state_dict(), self.identity())

    def load(self, path: Path) -> None:
        """Read the network's weights; raises CheckpointError for those of another network or class count."""
        load_model(path, self.network, self.identity())
        merge_low_rank(self.network)

    def identity(self) -> dict[str, Any]:
        """What a checkpoint's weights belong to; a checkpoint with another one is refused."""
        return {
            "method": self.run.method["name"],
            "image_shape": list(self.spec.image_shape),
            "class_count": self.spec.class_count,
            "network": self.run.network.model_dump(mode="json"),
            "diffusion": self.run.diffusion.model_dump(mode="json"),
        }

    @torch.inference_mode()
    def representations(self, images: Tensor, t: int, labels: Tensor, noise: Tensor | None = None) -> Tensor:
        """The bottleneck of the U-Net behind both middle blocks, averaged over its positions, float32 (B, channels)."""
        self.network.eval()
        index = torch.full((len(images),), t - 1, dtype=torch.int64, device=images.device)
        if noise is not None:
            tables = self.schedule.tables(images.device)
            images = tables.sqrt_alpha_bar[t - 1] * images + tables.sqrt_one_minus_alpha_bar[t - 1] * noise
        bottleneck: Tensor = self.network(images, index, labels).bottleneck
        return bottleneck.float()

    def to(self, device: torch.device) -> None:
        """Move the network and the extra modules."""
        super().to(device)
        self.class_counts = self.class_counts.to(device)
        self.network.to(device)
        self.extra.to(device)
        if self.classifier is not None:
            self.classifier.to(device)

    def facts(self) -> dict[str, Any]:
        """Trainable parameters of the network, of the extra modules, and of the classifier where there is one."""
        modules = {"network": self.network, "extra": self.extra}
        if self.classifier is not None:
            modules["classifier"] = self.classifier.network
        return {
            f"{name}_parameters": sum(p.numel() for p in module.parameters() if p.requires_grad)
            for name, module in modules.items()
        }
