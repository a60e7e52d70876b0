"""The shared trainer of diffusion methods: the loop over optimiser steps, its logging and its checkpoints.

The method says what is minimised; everything else is the same for all, so that two methods differ in their losses and
in nothing else.
"""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ltgen_bench.core.config import TrainingConfig
from ltgen_bench.core.devices import autocast, compile_network, graphs_step, memory_errors
from ltgen_bench.core.distributed import KeepInGraph, World, data_parallel, join_world
from ltgen_bench.core.errors import CheckpointError, ConfigError
from ltgen_bench.core.plugins import author_code
from ltgen_bench.core.seeding import derive_seed
from ltgen_bench.core.signals import stop_signals
from ltgen_bench.core.storage import sha256_file
from ltgen_bench.datasets import ImageSet
from ltgen_bench.diffusion import ExponentialMovingAverage
from ltgen_bench.methods.batches import DiffusionBatch
from ltgen_bench.methods.checkpoints import load_initial
from ltgen_bench.methods.finiteness import Finiteness
from ltgen_bench.methods.interface import FitContext
from ltgen_bench.methods.learning_rate import learning_rate
from ltgen_bench.methods.losses import check_losses
from ltgen_bench.methods.trainable import Trainable
from ltgen_bench.methods.training_batches import TrainingBatches
from ltgen_bench.methods.training_state import TrainingState

# Steps between the moments when processes tell each other whether to stop, which makes the host wait for the GPU.
_AGREE_EVERY = 10


class Trainer:
    """Trains one diffusion method on one image set; `run` resumes from the checkpoint in the context's folder.

    Raises ConfigError when the batch cannot be divided over processes and gradient accumulation.
    """

    def __init__(self, method: Trainable, train_set: ImageSet, context: FitContext):
        self.method, self.context = method, context
        self.config: TrainingConfig = method.run.training
        self.execution = method.run.execution
        self.world: World = join_world()
        _check_parts(method, self.world)
        device = context.device
        method.to(device)
        method.network.train()
        if self.execution.channels_last:
            method.network.to(memory_format=torch.channels_last)
        self.batches = TrainingBatches(method, train_set, context)
        self._loss_module: nn.Module = LossModule(method)
        trainable = [parameter for parameter in self._loss_module.parameters() if parameter.requires_grad]
        self.fused = device.type in ("cpu", "cuda")
        self.state = TrainingState(
            module=self._loss_module,
            ema=ExponentialMovingAverage.of(method.network, self.config.ema_decay, self.config.ema_warmup),
            optimizer=_optimizer(trainable, self.config, self.fused),
            scaler=torch.amp.GradScaler(device.type, enabled=self.config.precision == "fp16"),
            finiteness=Finiteness(device),
        )
        self.state_path = context.folder / "training-state.safetensors"

    def run(self) -> None:
        """Train until `training.steps`, leaving the EMA weights in the method's network.

        Raises TrainingError when the loss stops being finite, DeviceError when memory runs out; the last good
        checkpoint stays. Ctrl-C and SIGTERM write a checkpoint first.
        """
        if not self.state.resume(self.state_path, self._identity()):
            self._start_from_weights()
        if self.execution.compile:
            compile_network(self.method.network, self.execution.cuda_graphs)
        if self.world.size > 1:
            self._loss_module = data_parallel(self._loss_module, self.context.device)
        advice = _memory_advice(self.method, self.world)
        with self.context.progress as progress, stop_signals() as stop, memory_errors(advice):
            progress.start("training", self.config.steps, "steps", self.state.step)
            self._loop(stop)
        self.state.ema.copy_to(self.method.network)
        self.method.network.eval()

    def _loop(self, stop: threading.Event) -> None:
        window_start, window_time = self.state.step, time.perf_counter()
        while self.state.step < self.config.steps:
            losses, norm = self.train_step()
            step = self.state.step
            last = step == self.config.steps
            if step % self.execution.log_every == 0 or last:
                self._check_finite()
                seconds = time.perf_counter() - window_time
                self._log(losses, norm, (step - window_start) * self.config.batch_size, seconds)
                window_start, window_time = step, time.perf_counter()
            interrupted = self._interrupted(stop, last)
            if step % self.execution.checkpoint_every == 0 or last or interrupted:
                self.checkpoint()
            if interrupted:
                raise KeyboardInterrupt
        if stop.is_set():  # while the last checkpoint was written: it must not be lost, other stages follow
            raise KeyboardInterrupt

    def train_step(self) -> tuple[dict[str, Tensor], Tensor]:
        """One optimiser step; returns the named losses and the gradient norm, still on the device."""
        config, step, parts = self.config, self.state.step, self.config.gradient_accumulation

        if self.execution.cuda_graphs:
            graphs_step()
        # Images, noise levels t and noise of the whole batch: the same on every process.
        whole = self.batches.draw(step)
        mine = self.world.shard(config.batch_size)
        size = mine.stop - mine.start

        # Gradients of the losses at x_t, part by part.
        losses: dict[str, Tensor] = {}
        for part in range(parts):
            rows = slice(mine.start + size * part // parts, mine.start + size * (part + 1) // parts)
            torch.manual_seed(derive_seed(self.context.seed, "part", step, rows.start))  # for dropout
            with self._no_sync(part):
                for name, value in self._backward(whole.part(rows)).items():
                    losses[name] = losses[name] + value / parts if name in losses else value / parts

        # Clip, update the weights, update their average.
        norm = self._update(losses)
        self.state.ema.update(step)
        self.state.step += 1
        self.context.progress.update(self.state.step)
        return losses, norm

    def _backward(self, batch: DiffusionBatch) -> dict[str, Tensor]:
        """Add a part's share to the gradients; returns its losses, detached."""
        with autocast(self.context.device, self.config.precision):
            losses: dict[str, Tensor] = self._loss_module(batch)
        total = torch.stack([value.float() for value in losses.values()]).sum() / self.config.gradient_accumulation
        self.state.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        return {name: value.detach() for name, value in losses.items()}

    def _update(self, losses: dict[str, Tensor]) -> Tensor:
        """Clip and step; a step whose gradients are not finite is skipped without asking the host."""
        optimizer, scaler, step = self.state.optimizer, self.state.scaler, self.state.step
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step)
        scaler.unscale_(optimizer)
        trainable = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(trainable, self.config.gradient_clip, foreach=True)
        finite = self.state.finiteness.count(step, norm, losses)
        if scaler.is_enabled():
            scaler.step(optimizer)
            scaler.update()
        elif self.fused:
            # The fused Adam skips its update where this tensor is 1; the mechanism is the gradient scaler's.
            optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
            optimizer.grad_scale = None  # type: ignore[attr-defined]
            optimizer.step()
        elif bool(finite):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norm

    def _interrupted(self, stop: threading.Event, last: bool) -> bool:
        """Whether to stop now; all processes must answer alike, or the others would wait for this one forever."""
        if self.world.size == 1:
            return stop.is_set()
        if self.state.step % _AGREE_EVERY and not last:
            return False
        return bool(self.world.largest([float(stop.is_set())])[0])

    def _check_finite(self) -> None:
        most = self.config.max_nonfinite_steps
        self.state.finiteness.check(self.world, self.state.step, most, self.state_path)

    def _log(self, losses: dict[str, Tensor], norm: Tensor, images: int, seconds: float) -> None:
        means = self.world.mean(torch.stack([value.float() for value in losses.values()])).tolist()
        if not self.world.is_main:
            return
        values = dict(zip(losses, means, strict=True))
        rate = images / max(seconds, 1e-9)
        self.context.log(
            {
                "step": self.state.step,
                "images_seen": self.state.step * self.config.batch_size,
                "losses": values,
                "gradient_norm": float(norm),
                "learning_rate": learning_rate(self.config, self.state.step - 1),
                "skipped_steps": int(self.state.finiteness.skipped),
                "seconds": round(seconds, 3),
                "images_per_second": round(rate, 2),
            }
        )
        note = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        self.context.progress.update(self.state.step, f"{note}  {rate:.0f} images/s")

    def _identity(self) -> dict[str, Any]:
        return {**self.method.identity(), "training": self.method.run.training_identity(), "seed": self.context.seed}

    def checkpoint(self) -> None:
        """Write the training state, if its numbers are finite; collective."""
        self._check_finite()
        if self.world.is_main:
            self.state.save(self.state_path, self._identity())
        self.world.barrier()

    def _start_from_weights(self) -> None:
        """Fine-tuning: start from the weights of `training.init_from`, a model of the same network."""
        config = self.config
        if config.init_from is None:
            if config.init_sha256 is not None:
                raise CheckpointError(
                    "this configuration started from other weights: give --set training.init_from=FILE, the file with "
                    f"sha256 {config.init_sha256}"
                )
            return
        load_initial(config.init_from, self.method.network, self.method.identity())
        if sha256_file(config.init_from) != config.init_sha256:
            raise CheckpointError(f"{config.init_from} has changed; its sha256 is not training.init_sha256")
        self.state.ema = ExponentialMovingAverage.of(self.method.network, config.ema_decay, config.ema_warmup)

    def _no_sync(self, part: int) -> AbstractContextManager[None]:
        last = part == self.config.gradient_accumulation - 1
        if isinstance(self._loss_module, nn.parallel.DistributedDataParallel) and not last:
            return self._loss_module.no_sync()
        return nullcontext()


class LossModule(nn.Module):
    """A method's losses as one module's forward, which is what DistributedDataParallel wraps."""

    def __init__(self, method: Trainable):
        super().__init__()
        self.network, self.extra = method.network, method.extra
        self._losses, self._class = method.losses, type(method)

    def forward(self, batch: DiffusionBatch) -> dict[str, Tensor]:
        """The named losses of a batch, checked (`check_losses`)."""
        with self._told(batch), author_code(self._class, "losses"):
            losses = check_losses(self._class, self._losses(batch))
        if dist.is_initialized():
            name = next(iter(losses))
            losses = {**losses, name: KeepInGraph.apply(losses[name], *self.parameters())}
        return losses

    def _told(self, batch: DiffusionBatch) -> AbstractContextManager[None]:
        """The network knows inside how the batch was augmented, which methods need not care about."""
        if batch.augmentation is None:
            return nullcontext()
        return self.extra["augmentation"].of(batch.augmentation)  # type: ignore[no-any-return, operator]


def _optimizer(trainable: list[nn.Parameter], config: TrainingConfig, fused: bool) -> torch.optim.Optimizer:
    if config.weight_decay:
        return torch.optim.AdamW(trainable, config.learning_rate, weight_decay=config.weight_decay, fused=fused)
    return torch.optim.Adam(trainable, config.learning_rate, fused=fused)


def _check_parts(method: Trainable, world: World) -> None:
    config = method.run.training
    accumulation = config.gradient_accumulation
    if accumulation > 1 and method.in_batch:
        raise ConfigError(
            f"training.gradient_accumulation {accumulation} would change method {method.run.method['name']!r}, whose "
            "loss compares the images of a batch with each other; set it to 1 and use a smaller training.batch_size or "
            "more processes"
        )
    if config.batch_size % (world.size * accumulation):
        raise ConfigError(
            f"training.batch_size {config.batch_size} cannot be divided evenly over {world.size} "
            f"process(es) x {accumulation} gradient_accumulation"
        )


def _memory_advice(method: Trainable, world: World) -> str:
    size, accumulation = method.run.training.batch_size, method.run.training.gradient_accumulation
    if method.in_batch or size % (2 * accumulation * world.size):
        return f"try --set training.batch_size={max(1, size // 2)}, or more processes"
    return f"try --set training.gradient_accumulation={2 * accumulation}"
