"""Exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ltgen_bench.core.errors import CheckpointError, ConfigError


class ExponentialMovingAverage:
    """Average of weights over training: average <- d average + (1 - d) weight after every step.

    It starts from the weights as they are now and is not corrected for that start. `parameters`: tensors, or names to
    tensors (without names they are called "0", "1", ...), which are kept by reference and read at every update;
    `decay` is d, in [0, 1); with `warmup` d is min(decay, (i + 1) / (i + 10)) at step i = 0, 1, ..., so that short
    runs forget their start. `buffers` (running statistics, counters) are copied, not averaged. Averages of half
    precision weights are kept in float32. Raises ConfigError for a decay outside [0, 1) or no parameters.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor] | Iterable[Tensor],
        decay: float = 0.9999,
        warmup: bool = False,
        buffers: Mapping[str, Tensor] | None = None,
    ):
        if not 0.0 <= decay < 1.0:
            raise ConfigError(f"EMA decay = {decay}; it must be at least 0 and below 1")
        if not isinstance(parameters, Mapping):
            parameters = {str(index): parameter for index, parameter in enumerate(parameters)}
        if not parameters:
            raise ConfigError("no parameters to average")
        self.decay, self.warmup = decay, warmup
        self._names = [*parameters, *(buffers or {})]
        self._parameters = [parameter.detach() for parameter in parameters.values()]
        self._buffers = [buffer.detach() for buffer in (buffers or {}).values()]
        self._averages = [_average_of(parameter) for parameter in self._parameters]
        self._buffer_copies = [buffer.clone() for buffer in self._buffers]
        self._same_dtypes = all(
            average.dtype == parameter.dtype
            for average, parameter in zip(self._averages, self._parameters, strict=True)
        )

    @classmethod
    def of(cls, module: nn.Module, decay: float = 0.9999, warmup: bool = False) -> ExponentialMovingAverage:
        """Average the trainable parameters of `module`; its persistent buffers and frozen parameters are copied."""
        trainable = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        kept = {name: tensor for name, tensor in module.state_dict().items() if name not in trainable}
        return cls(trainable, decay, warmup, kept)

    def decay_at(self, step: int) -> float:
        """The decay of step 0, 1, ...: constant, or the ramp of `warmup`."""
        return min(self.decay, (step + 1) / (step + 10)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step `step` (0-based). Nothing is read back to the host."""
        weights: list[Tensor] = self._parameters
        if not self._same_dtypes:
            weights = [weight.to(average.dtype) for weight, average in zip(weights, self._averages, strict=True)]
        torch._foreach_lerp_(self._averages, weights, 1.0 - self.decay_at(step))
        if self._buffers:
            torch._foreach_copy_(self._buffer_copies, self._buffers)

    @torch.no_grad()
    def copy_to(self, target: Mapping[str, Tensor] | Iterable[Tensor] | nn.Module) -> None:
        """Write the averages into `target`: a module, names to tensors, or tensors in the order of construction.

        Raises CheckpointError when a name is missing or a shape differs.
        """
        if isinstance(target, nn.Module):
            target = target.state_dict()  # shares the tensors' memory
        if not isinstance(target, Mapping):
            target = dict(zip(self._names, target, strict=True))
        for name, value in self.state().items():
            _check(name, value, target.get(name))
            target[name].detach().copy_(value)

    def state(self) -> dict[str, Tensor]:
        """The averages and copied buffers by name, for a checkpoint; not copies: the next update changes them."""
        return dict(zip(self._names, [*self._averages, *self._buffer_copies], strict=True))

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the averages of `state`. Raises CheckpointError when names or shapes differ."""
        own = self.state()
        unknown = sorted(set(state) - set(own))
        if unknown:
            raise CheckpointError(f"EMA state holds {unknown[0]!r}, which this model does not have")
        for name, value in own.items():
            _check(name, value, state.get(name))
        for name, value in own.items():
            value.copy_(state[name])


def _average_of(parameter: Tensor) -> Tensor:
    wide = parameter.dtype in (torch.float32, torch.float64)
    return parameter.clone() if wide else parameter.float()


def _check(name: str, value: Tensor, other: Tensor | None) -> None:
    if other is None:
        raise CheckpointError(f"EMA weights {name!r} are missing on the other side")
    if other.shape != value.shape:
        raise CheckpointError(f"EMA weights {name!r} have shape {tuple(value.shape)}, the other {tuple(other.shape)}")
