"""The shared trainer of diffusion methods: optimiser, EMA, precision, processes, checkpoints, logging.

The method says what is minimised; everything else is the same for all, so that two methods differ in their losses and
in nothing else.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ltgen_bench.core.config import TrainingConfig
from ltgen_bench.core.devices import autocast, memory_errors
from ltgen_bench.core.distributed import KeepInGraph, World, join_world
from ltgen_bench.core.errors import CheckpointError, ConfigError, TrainingError
from ltgen_bench.core.seeding import derive_seed
from ltgen_bench.core.signals import stop_signals
from ltgen_bench.core.storage import sha256_file
from ltgen_bench.datasets import ImageSet
from ltgen_bench.diffusion import ExponentialMovingAverage
from ltgen_bench.diffusion.augmentation import Augmentations, augment, draw_augmentations
from ltgen_bench.methods.batches import (
    DiffusionBatch,
    ImageOrder,
    ResidentImages,
    StepDraws,
    conditioning_labels,
    draw_step,
)
from ltgen_bench.methods.checkpoints import load_initial, load_state, load_weights, save_state
from ltgen_bench.methods.interface import FitContext
from ltgen_bench.methods.model import DiffusionModel

_AGREE_EVERY = 10  # steps between questions whether a process was asked to stop: each makes the GPU and the host meet


class Trainer:
    """Trains one diffusion method on one image set; `run` goes on from the checkpoint in the context's folder."""

    def __init__(self, method: DiffusionModel, train_set: ImageSet, context: FitContext):
        self.method, self.context = method, context
        self.config: TrainingConfig = method.run.training
        self.execution = method.run.execution
        self.world: World = join_world()
        self._check_parts()
        device = context.device
        method.to(device)
        method.network.train()
        if self.execution.channels_last:
            method.network.to(memory_format=torch.channels_last)
        self.images = ResidentImages(train_set, device)
        self.order = ImageOrder(
            len(train_set), self.config.batch_size, context.seed, _image_weights(method, self.images.labels.cpu())
        )
        self.flip = self.config.horizontal_flip and method.spec.horizontal_flip
        self.ema = ExponentialMovingAverage.of(method.network, self.config.ema_decay, self.config.ema_warmup)
        self.named = [(n, p) for n, p in _LossModule(method).named_parameters() if p.requires_grad]
        self.fused = device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam([p for _, p in self.named], lr=self.config.learning_rate, fused=self.fused)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.config.precision == "fp16")
        self.step = 0
        self.state_path = context.folder / "training-state.safetensors"
        self._loss_module: nn.Module = _LossModule(method)
        # These counters live on the device: reading them every step would make the host wait for the GPU.
        self._streak = torch.zeros((), device=device)  # steps in a row whose gradients were not finite, up to now
        self._worst_streak = torch.zeros((), device=device)  # the longest such row since the last look
        self._skipped = torch.zeros((), device=device)  # steps skipped in all
        self._bad_step = torch.full((), -1.0, device=device)  # the first step whose loss was not finite

    def run(self) -> None:
        """Train until `training.steps`, leaving the EMA weights in the method's network.

        Raises TrainingError when the loss stops being finite, DeviceError when memory runs out; the last good
        checkpoint stays. Ctrl-C and SIGTERM write a checkpoint first.
        """
        if not self._resume():
            self._start_from_weights()
        if self.execution.compile:
            self.method.network.compile()
        if self.world.size > 1:
            devices = [self.context.device.index] if self.context.device.type == "cuda" else None
            self._loss_module = nn.parallel.DistributedDataParallel(
                self._loss_module, device_ids=devices, broadcast_buffers=False
            )
        with self.context.progress as progress, stop_signals() as stop, memory_errors(self._memory_advice()):
            progress.start("training", self.config.steps, "steps", self.step)
            self._loop(stop)
        self.ema.copy_to(self.method.network)
        self.method.network.eval()

    def _loop(self, stop: threading.Event) -> None:
        window_start, window_time = self.step, time.perf_counter()
        while self.step < self.config.steps:
            losses, norm = self.train_step()
            last = self.step == self.config.steps
            if self.step % self.execution.log_every == 0 or last:
                self._check_finite()
                seconds = time.perf_counter() - window_time
                self._log(losses, norm, (self.step - window_start) * self.config.batch_size, seconds)
                window_start, window_time = self.step, time.perf_counter()
            interrupted = self._interrupted(stop, last)
            if self.step % self.execution.checkpoint_every == 0 or last or interrupted:
                self._checkpoint()
            if interrupted:
                raise KeyboardInterrupt
        if stop.is_set():  # while the last checkpoint was written: it must not be lost, other stages follow
            raise KeyboardInterrupt

    def _interrupted(self, stop: threading.Event, last: bool) -> bool:
        """Whether to stop now; all processes must answer alike, or the others would wait for this one for ever."""
        if self.world.size == 1:
            return stop.is_set()
        if self.step % _AGREE_EVERY and not last:
            return False
        return bool(self.world.largest([float(stop.is_set())])[0])

    def train_step(self) -> tuple[dict[str, Tensor], Tensor]:
        """One optimiser step; returns the named losses and the gradient norm, still on the device."""
        step, config = self.step, self.config
        whole = (config.batch_size, *self.method.spec.image_shape)
        generator = torch.Generator(self.context.device)
        generator.manual_seed(derive_seed(self.context.seed, "step", step))
        draws = draw_step(whole, self.method.schedule.steps, config.label_drop, config.label_drop_unit, generator)
        indices = self.order.indices(step)
        changes = self._augmentations(step)
        mine = self.world.shard(config.batch_size)
        size = mine.stop - mine.start
        sums: dict[str, Tensor] = {}
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(step)
        for part in range(config.gradient_accumulation):
            which = slice(
                mine.start + size * part // config.gradient_accumulation,
                mine.start + size * (part + 1) // config.gradient_accumulation,
            )
            batch = self._batch(indices, draws, changes, which)
            if changes is not None:
                self.method.extra["augmentation"].condition = changes.condition[which]
            torch.manual_seed(derive_seed(self.context.seed, "part", step, which.start))  # for dropout
            with self._no_sync(part):
                with autocast(self.context.device, config.precision):
                    losses: dict[str, Tensor] = self._loss_module(batch)
                total = torch.stack([value.float() for value in losses.values()]).sum()
                self.scaler.scale(total / config.gradient_accumulation).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                share = value.detach() / config.gradient_accumulation
                sums[name] = sums[name] + share if name in sums else share
        norm = self._update(sums)
        self.step += 1
        self.context.progress.update(self.step)
        return sums, norm

    def _augmentations(self, step: int) -> Augmentations | None:
        """The transforms of a step's whole batch, drawn apart so that the other draws stay what they are without."""
        probability = self.config.augment_probability
        if probability == 0:
            return None
        generator = torch.Generator(self.context.device)
        generator.manual_seed(derive_seed(self.context.seed, "augment", step))
        return draw_augmentations(self.config.batch_size, probability, generator)

    def _batch(
        self, indices: np.ndarray, draws: StepDraws, changes: Augmentations | None, which: slice
    ) -> DiffusionBatch:
        """The rows `which` of the step's batch."""

        def images(part: slice) -> tuple[Tensor, Tensor]:
            x0, labels = self.images.batch(indices[part], draws.flip[part] if self.flip else None)
            return (x0 if changes is None else augment(x0, changes.part(part))), labels

        x0, labels = images(which)
        mine = draws.part(which)
        if self.execution.channels_last:
            x0 = x0.contiguous(memory_format=torch.channels_last)
        return DiffusionBatch(
            x0=x0,
            noise=mine.noise,
            t=mine.t,
            x_t=self.method.schedule.add_noise(x0, mine.noise, mine.t),
            labels=labels,
            conditioning=conditioning_labels(labels, mine.drop),
            step=self.step,
            seed=derive_seed(self.context.seed, "method", self.step),
            first=which.start,
            whole_size=len(indices),
            read_whole=None if len(x0) == len(indices) else lambda: images(slice(0, len(indices))),
        )

    def _update(self, losses: dict[str, Tensor]) -> Tensor:
        """Clip, step and average; the step is skipped, without asking the host, when a gradient is not finite."""
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_([p for _, p in self.named], self.config.gradient_clip, foreach=True)
        finite = torch.isfinite(norm)
        loss_finite = torch.isfinite(torch.stack([value.float() for value in losses.values()])).all()
        self._streak = torch.where(finite, 0.0, self._streak + 1)
        self._worst_streak = torch.maximum(self._worst_streak, self._streak)
        self._skipped = self._skipped + (~finite).float()
        bad_now = ~loss_finite & (self._bad_step < 0)
        self._bad_step = torch.where(bad_now, float(self.step), self._bad_step)
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif self.fused:
            # The fused Adam skips its update where this tensor is 1; the mechanism is the gradient scaler's.
            self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
            self.optimizer.grad_scale = None  # type: ignore[attr-defined]
            self.optimizer.step()
        elif bool(finite):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.step)
        return norm

    def _check_finite(self) -> None:
        """Stop when a loss was not finite, or gradients were not for too many steps in a row."""
        bad_step, streak = (int(v) for v in self.world.largest([float(self._bad_step), float(self._worst_streak)]))
        self._worst_streak = self._streak
        kept = (
            f"the checkpoint {self.state_path} is intact"
            if self.state_path.exists()
            else "no checkpoint was written yet"
        )
        hint = "try a smaller training.learning_rate or training.precision=fp32"
        if bad_step >= 0:
            raise TrainingError(f"the loss is not finite at step {bad_step}; {kept}; {hint}")
        if streak > self.config.max_nonfinite_steps:
            raise TrainingError(
                f"the gradients were not finite in {streak} steps in a row before step {self.step}; {kept}; {hint}"
            )

    def _learning_rate(self, step: int) -> float:
        """Linear warm-up, then constant or a half cosine down to 0."""
        config = self.config
        rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
        if config.learning_rate_schedule == "cosine" and step >= config.warmup_steps:
            done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
            rate *= 0.5 * (1 + math.cos(math.pi * done))
        return rate

    def _log(self, losses: dict[str, Tensor], norm: Tensor, images: int, seconds: float) -> None:
        means = self.world.mean(torch.stack([value.float() for value in losses.values()])).tolist()
        if not self.world.is_main:
            return
        values = dict(zip(losses, means, strict=True))
        self.context.log(
            {
                "step": self.step,
                "images_seen": self.step * self.config.batch_size,
                "losses": values,
                "gradient_norm": float(norm),
                "learning_rate": self._learning_rate(self.step - 1),
                "skipped_steps": int(self._skipped),
                "seconds": round(seconds, 3),
                "images_per_second": round(images / max(seconds, 1e-9), 2),
            }
        )
        note = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        self.context.progress.update(self.step, f"{note}  {images / max(seconds, 1e-9):.0f} images/s")

    def _identity(self) -> dict[str, Any]:
        return {**self.method.identity(), "training": self.method.run.training_identity(), "seed": self.context.seed}

    def _checkpoint(self) -> None:
        self._check_finite()
        if self.world.is_main:
            tensors = {f"model.{name}": value for name, value in _LossModule(self.method).state_dict().items()}
            tensors |= {f"ema.{name}": value for name, value in self.ema.state().items()}
            for name, parameter in self.named:
                for key, value in self.optimizer.state[parameter].items():
                    tensors[f"optimizer.{name}/{key}"] = torch.as_tensor(value)
            tensors["counter.streak"], tensors["counter.skipped"] = self._streak, self._skipped
            if self.scaler.is_enabled():
                scaler = self.scaler.state_dict()
                tensors["scaler.scale"] = torch.tensor(float(scaler["scale"]), dtype=torch.float64)
                tensors["scaler.growth_tracker"] = torch.tensor(int(scaler["_growth_tracker"]))
            save_state(self.state_path, tensors, self._identity(), self.step)
        self.world.barrier()

    def _resume(self) -> bool:
        """Go on from the training state on disk, if there is one."""
        if not self.state_path.exists():
            return False
        self.step, tensors = load_state(self.state_path, self._identity())
        load_weights(self.state_path, _LossModule(self.method), _part(tensors, "model."))
        self.ema.load(_part(tensors, "ema."))
        optimizer = _part(tensors, "optimizer.")
        for name, parameter in self.named:
            state = _part(optimizer, f"{name}/")
            if state:
                self.optimizer.state[parameter] = {key: _like(parameter, value) for key, value in state.items()}
        for name, counter in (("streak", self._streak), ("skipped", self._skipped)):
            counter.copy_(tensors.get(f"counter.{name}", counter))
        if self.scaler.is_enabled() and "scaler.scale" in tensors:
            own = self.scaler.state_dict()
            own |= {
                "scale": float(tensors["scaler.scale"]),
                "_growth_tracker": int(tensors["scaler.growth_tracker"]),
            }
            self.scaler.load_state_dict(own)
        return True

    def _start_from_weights(self) -> None:
        """Fine-tuning: start from the weights of `training.init_from`, a model of the same network."""
        if self.config.init_from is None:
            if self.config.init_sha256 is not None:
                raise CheckpointError(
                    "this configuration started from other weights: give --set training.init_from=FILE, the file with "
                    f"sha256 {self.config.init_sha256}"
                )
            return
        load_initial(self.config.init_from, self.method.network, self.method.identity())
        if sha256_file(self.config.init_from) != self.config.init_sha256:
            raise CheckpointError(f"{self.config.init_from} has changed; its sha256 is not training.init_sha256")
        self.ema = ExponentialMovingAverage.of(self.method.network, self.config.ema_decay, self.config.ema_warmup)

    def _check_parts(self) -> None:
        accumulation = self.config.gradient_accumulation
        if accumulation > 1 and self.method.in_batch:
            name = self.method.run.method["name"]
            raise ConfigError(
                f"training.gradient_accumulation {accumulation} would change method {name!r}, whose loss compares the "
                "images of a batch with each other; set it to 1 and use a smaller training.batch_size or more processes"
            )
        if self.config.batch_size % (self.world.size * accumulation):
            raise ConfigError(
                f"training.batch_size {self.config.batch_size} cannot be divided evenly over {self.world.size} "
                f"process(es) x {accumulation} gradient_accumulation"
            )

    def _memory_advice(self) -> str:
        size, accumulation = self.config.batch_size, self.config.gradient_accumulation
        if self.method.in_batch or size % (2 * accumulation * self.world.size):
            return f"try --set training.batch_size={max(1, size // 2)}, or more processes"
        return f"try --set training.gradient_accumulation={2 * accumulation}"

    def _no_sync(self, part: int) -> AbstractContextManager[None]:
        last = part == self.config.gradient_accumulation - 1
        if isinstance(self._loss_module, nn.parallel.DistributedDataParallel) and not last:
            return self._loss_module.no_sync()
        return nullcontext()


def _image_weights(method: DiffusionModel, labels: Tensor) -> np.ndarray | None:
    """A method's weights of the training images; raises ConfigError for what is no probability of each image."""
    weights = method.image_weights(labels)
    if weights is None:
        return None
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (len(labels),) or not np.isfinite(values).all() or values.min() < 0 or values.sum() <= 0:
        raise ConfigError(
            f"{type(method).__name__}.image_weights must return one finite number >= 0 for each of the {len(labels):,} "
            f"training images, and some above 0; it returned {tuple(values.shape)}"
        )
    return values


class _LossModule(nn.Module):
    """A method's losses as one module's forward, which is what DistributedDataParallel wraps."""

    def __init__(self, method: DiffusionModel):
        super().__init__()
        self.network, self.extra = method.network, method.extra
        self._losses, self._name = method.losses, type(method).__name__

    def forward(self, batch: DiffusionBatch) -> dict[str, Tensor]:
        losses = self._losses(batch)
        if not isinstance(losses, dict) or not losses or any(loss.ndim for loss in losses.values()):
            raise ConfigError(f"{self._name}.losses must return a dict of one or more scalar tensors by name")
        if dist.is_initialized():
            name = next(iter(losses))
            losses = {**losses, name: KeepInGraph.apply(losses[name], *self.parameters())}
        return losses


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """A restored optimiser tensor as fused Adam wants it: on the device, in the parameter's memory format."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)  # the step counter
    return torch.empty_like(parameter).copy_(value)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
