"""Which process this is, and what processes tell each other. One process by default.

`torchrun` starts several and says so in the environment; nothing else has to be configured.
"""

from __future__ import annotations

import contextlib
import datetime
import inspect
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ltgen_bench.core.errors import DeviceError

# The others wait while the first process evaluates, which can take hours.
_TIMEOUT = datetime.timedelta(days=2)


@dataclass(frozen=True)
class World:
    """The processes of a run."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.all_reduce(torch.zeros(1))  # a CPU tensor: goes through gloo whatever the device is

    def shard(self, length: int) -> slice:
        """This process's contiguous part of `length` things."""
        return slice(length * self.rank // self.size, length * (self.rank + 1) // self.size)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of each value over the processes; collective."""
        if self.size == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / self.size

    def largest(self, values: list[float]) -> list[float]:
        """The largest of each value over the processes, exchanged through the host; collective."""
        if self.size == 1:
            return values
        largest = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return [float(value) for value in largest]


def join_world() -> World:
    """Join the process group that `torchrun` describes; a world of one process without it.

    CUDA tensors go through NCCL, all others through gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if not dist.is_initialized():
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(local_rank % torch.cuda.device_count())
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, timeout=_TIMEOUT)
    return World(dist.get_rank(), dist.get_world_size(), local_rank)


# What gloo, NCCL and the process group say when the other side of a connection is gone.
_GONE = ("closed by peer", "reset by peer", "Broken pipe", "ncclRemoteError", "Socket closed")


@contextlib.contextmanager
def lost_processes(world: World) -> Iterator[None]:
    """Turn the error of a process whose peers are gone into a DeviceError of one line."""
    try:
        yield
    except RuntimeError as error:
        if world.size == 1 or not any(word in str(error) for word in _GONE):
            raise
        raise DeviceError(
            f"process {world.rank}: another process of this run is gone; the same command goes on from the last "
            "checkpoint"
        ) from error


def leave_world() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def data_parallel(module: nn.Module, device: torch.device) -> nn.parallel.DistributedDataParallel:
    """`module`, whose gradients are averaged over the processes; its buffers are constants and not exchanged."""
    wrapper = nn.parallel.DistributedDataParallel
    new = "forward_sync_buffers" in inspect.signature(wrapper.__init__).parameters  # the older name warns there
    options: dict[str, Any] = {"forward_sync_buffers" if new else "broadcast_buffers": False}
    return wrapper(module, device_ids=[device.index] if device.type == "cuda" else None, **options)


def gather_with_gradient(rows: Tensor) -> Tensor:
    """The rows (B, ...) of all processes in the order of their ranks, (processes x B, ...); collective.

    Every process gives as many rows. Gradients flow back to the process that a row came from, summed over the
    processes that used it. A loss computed from the result on every process, whose gradients are then averaged as
    DistributedDataParallel does, has the gradient that one process with the whole batch would have found. Without
    other processes, returns `rows` itself.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        context.count = len(rows)
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        first = dist.get_rank() * context.count
        return total[first : first + context.count]


class KeepInGraph(torch.autograd.Function):
    """Passes a tensor (...) through and puts parameters into its graph, without a gradient of their own.

    DistributedDataParallel waits for every parameter; one that a step's loss did not touch would make it hang or
    fail. In the graph, it is counted as done with a gradient of zero, at no cost.
    """

    @staticmethod
    def forward(context: Any, value: Tensor, *parameters: Tensor) -> Tensor:
        """`value` as it is."""
        context.count = len(parameters)
        return value.view_as(value)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of `value` as it is, nothing for the parameters."""
        return (gradients[0], *[None] * context.count)
