"""Losses of pytorch-metric-learning (Musgrave et al. 2020) by name, with a weight for each anchor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ltgen_bench.core.errors import ConfigError, MissingExtraError, UnknownNameError, did_you_mean

# Classes of the library that are not a loss of one batch of embeddings with whatever labels it has.
_NO_LOSSES = {
    "BaseMetricLossFunction",
    "GenericPairLoss",
    "CrossBatchMemory",
    "ManifoldLoss",  # takes no labels
    "MultipleLosses",
    "SelfSupervisedLoss",
    "SmoothAPLoss",  # wants as many images of every class
    "ThresholdConsistentMarginLoss",
    "VICRegLoss",
}


def loss_names() -> list[str]:
    """The names that `method.loss` may have; raises MissingExtraError without pytorch-metric-learning."""
    losses = _library().losses
    base = losses.BaseMetricLossFunction
    return sorted(
        name
        for name, value in vars(losses).items()
        if isinstance(value, type) and issubclass(value, base) and name not in _NO_LOSSES
    )


class MetricLearningLoss(nn.Module):
    """A loss of the library, weighted anchor by anchor where it gives one value an anchor, else by the mean weight.

    Losses with weights of their own (proxies, class centres) get the number of classes and the embedding's size, and
    are trained with the network. Raises UnknownNameError for another name, ConfigError for options that do not fit.
    """

    def __init__(
        self, name: str, options: Mapping[str, Any], temperature: float, class_count: int, embedding_size: int
    ):
        super().__init__()
        library = _library()
        if name not in loss_names():
            raise UnknownNameError(f"method.loss: unknown loss {name!r}; {did_you_mean(name, loss_names())}")
        kind = getattr(library.losses, name)
        offered = {
            "temperature": temperature,
            "num_classes": class_count,
            "embedding_size": embedding_size,
            "descriptors_dim": embedding_size,
        }
        accepted = _parameters(kind)
        arguments = {key: value for key, value in offered.items() if key in accepted} | dict(options)
        try:
            self.loss = kind(**arguments)
        except (TypeError, ValueError, AssertionError) as error:
            known = ", ".join(sorted(accepted))
            raise ConfigError(f"method.loss_options do not fit {name} ({error}); it takes {known}") from error
        self.reducer = self.loss.reducer  # the loss's own way from values to a scalar
        self.loss.reducer = library.reducers.DoNothingReducer()

    def forward(self, z: Tensor, labels: Tensor, weights: Tensor, kept: Tensor | None = None) -> Tensor:
        """The weighted loss of embeddings `z` (B, d) with `labels` and `weights` (B,); rows not `kept` are left out."""
        if kept is not None:
            z, labels, weights = z[kept], labels[kept], weights[kept]
        if len(z) < 2:
            return (z * 0).sum()  # nothing to compare
        parts: dict[str, dict[str, Any]] = self.loss(z, labels)
        part = parts["loss"] if set(parts) == {"loss"} else {}
        if part.get("reduction_type") == "element":  # one value for each of the anchors `indices`
            if len(part["losses"]) == 0:
                return (z * 0).sum()
            part["losses"] = part["losses"] * weights[part["indices"]]
            return self._reduce(parts, z, labels)
        return weights.mean() * self._reduce(parts, z, labels)

    def _reduce(self, parts: dict[str, dict[str, Any]], z: Tensor, labels: Tensor) -> Tensor:
        scalar: Tensor = self.reducer(parts, z, labels)
        return scalar


def _parameters(kind: type) -> set[str]:
    """Names of all constructor arguments, those that go to base classes through **kwargs included."""
    return {
        name
        for parent in kind.__mro__
        if "__init__" in vars(parent) and parent not in (nn.Module, object)
        for name, parameter in inspect.signature(vars(parent)["__init__"]).parameters.items()
        if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def _library() -> Any:
    try:
        import pytorch_metric_learning
        import pytorch_metric_learning.losses
        import pytorch_metric_learning.reducers
    except ImportError as error:
        raise MissingExtraError(
            "method.loss other than SupConLoss needs pytorch-metric-learning; pip install 'ltgen-bench[methods]'"
        ) from error
    return pytorch_metric_learning
