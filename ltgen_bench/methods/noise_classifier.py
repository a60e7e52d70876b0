"""A classifier of noisy images p(y | x_t), which guides a sampler or says how rare an image's class is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

from ltgen_bench.core.config import NATURAL, ClassSampling, RunConfig, Section, TrainingConfig
from ltgen_bench.core.errors import CheckpointError
from ltgen_bench.core.seeding import derive_seed
from ltgen_bench.diffusion import ClassifierNetwork, DiffusionSchedule, linear_schedule
from ltgen_bench.methods.batches import DiffusionBatch
from ltgen_bench.methods.checkpoints import load_model, read_checkpoint, save_model
from ltgen_bench.methods.class_sampling import class_shares
from ltgen_bench.methods.interface import DataSpec
from ltgen_bench.methods.unet_sizes import unet_config

_KIND = "noise classifier"
_NO_CLIP = 1e9  # a norm that no gradient has


class ClassifierConfig(Section):
    """Sizes and training of a classifier of noisy images; `null` takes the diffusion model's own value."""

    steps: int | None = Field(None, gt=0)
    """Optimiser steps; null: as many as the model's."""
    batch_size: int | None = Field(None, gt=0)
    """Images a step; null: the model's."""
    learning_rate: float = Field(3e-4, gt=0)
    """Of AdamW, as in ADM's script."""
    learning_rate_schedule: Literal["constant", "cosine", "linear"] = "constant"
    """constant, or down to 0: linear in ADM's recipe for 128 pixels."""
    weight_decay: float = Field(0.0, ge=0)
    """Of AdamW: 0 in ADM's script, 0.05 in its recipe for 128 pixels."""
    class_sampling: ClassSampling = NATURAL
    """How often each class is drawn, as training.class_sampling says: natural, balanced, exponent:q or tail:f."""
    base_channels: int | None = Field(None, gt=0)
    """Channels at full resolution; null: the model's (ADM's classifier has 128)."""
    channel_multipliers: tuple[int, ...] | None = None
    """Channels of each level over base_channels; null: the model's (1, 2, 3, 4 in ADM's at 64 pixels)."""
    residual_blocks: int | None = Field(None, gt=0, le=64)
    """Residual blocks a level; null: the model's (4 in ADM's at 64 pixels)."""
    attention_levels: tuple[int, ...] | None = None
    """The levels with self-attention; null: the model's."""


class NoiseClassifier:
    """p(y | x_t) on the model's own noise schedule, for the shared trainer (`methods.trainable`).

    Cross-entropy of the true label at t uniform over all noise levels; no dropout, no averaged weights (ADM). `run` is
    the diffusion model's. `shares`: float64 (classes,), how often each class was drawn.
    """

    in_batch = False

    def __init__(self, spec: DataSpec, run: RunConfig, config: ClassifierConfig):
        self.spec, self.config, self.run = spec, config, _own_run(run, config)
        self.schedule: DiffusionSchedule = linear_schedule(
            run.diffusion.timesteps, run.diffusion.beta_start, run.diffusion.beta_end
        )
        self.network = ClassifierNetwork(unet_config(spec, self.run), derive_seed(run.seed, "classifier"))
        self.extra = nn.ModuleDict()
        counts = torch.tensor(spec.class_counts)
        shares = class_shares(config.class_sampling, counts)
        self.shares = counts.double() / counts.sum() if shares is None else shares
        self.device = torch.device("cpu")

    def losses(self, batch: DiffusionBatch) -> dict[str, Tensor]:
        """The cross-entropy of the true labels."""
        return {"classification": cross_entropy(self.network(batch.x_t, batch.t).float(), batch.labels)}

    def image_weights(self, labels: Tensor) -> Tensor | None:
        """None: `class_sampling` says what is drawn."""
        return None

    def to(self, device: torch.device) -> None:
        """Move the network and the shares."""
        self.device = device
        self.network.to(device)
        self.shares = self.shares.to(device, torch.float64 if device.type != "mps" else torch.float32)

    def identity(self) -> dict[str, Any]:
        """What its weights belong to."""
        return {
            "method": _KIND,
            "image_shape": list(self.spec.image_shape),
            "class_count": self.spec.class_count,
            "class_counts": list(self.spec.class_counts),
            "network": self.run.network.model_dump(mode="json"),
            "diffusion": self.run.diffusion.model_dump(mode="json"),
            "class_sampling": self.config.class_sampling,
        }

    def save(self, path: Path) -> None:
        """Write the weights as safetensors, with what they belong to in the header."""
        save_model(path, self.network.state_dict(), self.identity())

    def load(self, path: Path) -> None:
        """Read the weights; raises CheckpointError for those of another classifier."""
        load_model(path, self.network, self.identity())
        self.network.eval()

    @classmethod
    def read(cls, path: Path, spec: DataSpec, run: RunConfig) -> NoiseClassifier:
        """The classifier in a file, of any size; raises CheckpointError unless it is one of this data and schedule."""
        identity = read_checkpoint(path)[0].get("identity")
        network = identity.get("network") if isinstance(identity, dict) else None
        if not isinstance(network, dict) or not isinstance(identity, dict) or identity.get("method") != _KIND:
            raise CheckpointError(f"{path} is no classifier; 'ltgen-bench train-classifier' makes one")
        sizes = ("base_channels", "channel_multipliers", "residual_blocks", "attention_levels")
        try:
            config = ClassifierConfig.model_validate(
                {**{key: network.get(key) for key in sizes}, "class_sampling": identity.get("class_sampling")}
            )
        except ValueError as error:
            raise CheckpointError(f"{path} is no classifier of sizes that this version knows") from error
        _refuse_growth(path, config)
        classifier = cls(spec, run, config)
        classifier.load(path)
        return classifier

    def log_probability(self, x: Tensor, t: Tensor, prior: str = "training") -> Tensor:
        """log p(y | x_t), float32 (B, classes): as it was trained, or for a uniform prior of the classes.

        With shares pi of its training p_pi(y | x) is in proportion to pi_y p(x | y); dividing by pi_y before the
        softmax makes the classes equal, and changes the gradient, since the normaliser depends on x.
        """
        with torch.autocast(x.device.type, enabled=False):
            scores = self.network(x.float(), t).float()
            if prior == "uniform":
                scores = scores - self.shares.clamp(min=1e-12).log().float()
            return log_softmax(scores, dim=1)

    def gradient(self, x: Tensor, t: Tensor, labels: Tensor, prior: str = "training") -> Tensor:
        """The gradient of log p(labels | x_t) with respect to x_t, (B, C, H, W); rows do not touch each other.

        It may be called where gradients are off, as samplers do.
        """
        with torch.inference_mode(False), torch.enable_grad():
            # copies: a tensor of inference mode can have no gradient
            x, t, labels = x.detach().clone().requires_grad_(), t.clone(), labels.clone()
            chosen = self.log_probability(x, t, prior).gather(1, labels.clamp(min=0)[:, None])
            return torch.autograd.grad(chosen.sum(), x)[0]


def _own_run(run: RunConfig, config: ClassifierConfig) -> RunConfig:
    """The run of a classifier: the model's noise and device, its own network and training."""
    own = {
        "base_channels": config.base_channels,
        "channel_multipliers": config.channel_multipliers,
        "residual_blocks": config.residual_blocks,
        "attention_levels": config.attention_levels,
    }
    network = run.network.model_copy(
        update={**{key: value for key, value in own.items() if value is not None}, "dropout": 0.0}
    )
    training = TrainingConfig(
        steps=config.steps or run.training.steps,
        batch_size=config.batch_size or run.training.batch_size,
        gradient_accumulation=run.training.gradient_accumulation,
        learning_rate=config.learning_rate,
        learning_rate_schedule=config.learning_rate_schedule,
        weight_decay=config.weight_decay,
        warmup_steps=0,
        gradient_clip=_NO_CLIP,
        ema_decay=0.0,
        label_drop=0.0,
        class_sampling=config.class_sampling,
        horizontal_flip=run.training.horizontal_flip,
        precision=run.training.precision,
    )
    return run.model_copy(update={"network": network, "training": training})


def _refuse_growth(path: Path, config: ClassifierConfig) -> None:
    """Sizes from outside that would build a network far larger than the weights in the file."""
    widest = (config.base_channels or 0) * max(config.channel_multipliers or (1,))
    blocks = (config.residual_blocks or 0) * len(config.channel_multipliers or (1,))
    stated = 9 * widest**2 + 9 * (config.base_channels or 0) ** 2 * max(0, blocks - 1)  # less than it has
    if widest < 1 or min(config.channel_multipliers or (1,)) < 1 or 4 * stated > path.stat().st_size:
        raise CheckpointError(f"{path}: its header states a network that its weights are not")
