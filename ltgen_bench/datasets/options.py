"""Checks of the options that choose a data set; each mistake is a ConfigError of one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.datasets.longtail import MAX_PARETO_ALPHA

if TYPE_CHECKING:
    from ltgen_bench.core.config import DatasetConfig

CUT_OPTIONS = ("cut_seed", "class_order")  # what every artificial tail takes, see `cut`


def refuse_unknown_options(options: DatasetConfig, known: tuple[str, ...], hint: str = "") -> None:
    """Raise ConfigError for the first option that differs from its default and is not among `known`."""
    for key, field in type(options).model_fields.items():
        if key == "name" or key in known or getattr(options, key) == field.default:
            continue
        takes = f"it takes {', '.join(known)}" if known else "it takes no options"
        raise ConfigError(f"data set {options.name!r} has no option {key!r}; {takes}{hint}")


def check_imbalance(imbalance: float) -> float:
    """`imbalance` (rho, smallest / largest class) if it lies in (0, 1]; raises ConfigError if not."""
    if not 0 < imbalance <= 1:
        raise ConfigError(f"imbalance is smallest / largest class, in (0, 1]; got {imbalance}")
    return imbalance


def check_pareto_alpha(alpha: float) -> float:
    """`alpha`, the power of a Pareto cut, if it can be used; raises ConfigError if not."""
    if not 0 < alpha <= MAX_PARETO_ALPHA:
        raise ConfigError(f"pareto_alpha must lie above 0 and not above {MAX_PARETO_ALPHA}, got {alpha}")
    return alpha


def check_per_class(per_class: int, available: int, name: str) -> int:
    """`per_class` if it lies in 1 ... `available`; raises ConfigError if not."""
    if not 1 <= per_class <= available:
        raise ConfigError(f"data set {name!r} can give 1 to {available} images a class; got per_class {per_class}")
    return per_class


def suffix(value: float) -> str:
    """A number as the end of a canonical name: the shortest decimals that give it back, 1.0 as `1`."""
    return repr(value).removesuffix(".0")
