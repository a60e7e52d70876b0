"""What a diffusion method's `losses` may return."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.plugins import where_defined

_WANTED = "losses has to return a dict of one or more scalar tensors by name"


def check_losses(method_class: type, losses: Any) -> dict[str, Tensor]:
    """The losses of a batch, unchanged, if a training step can be made with them.

    Raises ConfigError, with file, line and class, for anything but a dict of scalar floating tensors of which at least
    one has a gradient.
    """
    problem = _problem(losses)
    if problem is None:
        return losses  # type: ignore[no-any-return]
    where = where_defined(method_class, getattr(method_class, "losses", None))
    raise ConfigError(f"{where}: {_WANTED}; {problem}")


def _problem(losses: Any) -> str | None:
    if not isinstance(losses, dict):
        return f"it returned a {type(losses).__name__}"
    if not losses:
        return "the dict is empty"
    for name, loss in losses.items():
        if not isinstance(name, str):
            return f"the name {name!r} is not a string"
        if not isinstance(loss, Tensor):
            return f"{name!r} is a {type(loss).__name__}: return the tensor itself, without .item() or float()"
        if loss.ndim:
            return f"{name!r} has the shape {tuple(loss.shape)}: return its mean"
        if not loss.is_floating_point():
            return f"{name!r} has the type {str(loss.dtype).removeprefix('torch.')}: return a float tensor"
    if not any(loss.requires_grad for loss in losses.values()):
        return "none of them has a gradient: leave out .detach() and torch.no_grad()"
    return None
