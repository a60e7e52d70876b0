"""`--method coral+cbdm`: methods joined by name into one, each with its own keys (`method.coral.weight`).

Order matters in two places: the first name's recipe wins where two say different things, and terms are computed in the
order of the names, which decides about the random numbers of dropout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, create_model
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.mappings import merge
from ltgen_bench.core.plugins import author_code
from ltgen_bench.core.seeding import derive_seed
from ltgen_bench.methods.batches import DiffusionBatch
from ltgen_bench.methods.interface import FIDELITIES, METHODS, Method, MethodConfig
from ltgen_bench.methods.model import parts_on
from ltgen_bench.methods.parts import PartMethod, Passes

# What only one of joined methods may define, and what that is.
_ONCE = {
    "target": "what is predicted",
    "adapt_network": "a change of the network",
    "image_weights": "how images are drawn",
}


_WHOLE = ("losses", "fit", "sample", "save", "load")  # what a part leaves to the whole


class JoinedMethod(PartMethod):
    """Several methods on one network; `join` makes a subclass for each list of names."""

    classes: ClassVar[Mapping[str, type[PartMethod]]] = {}
    parts: dict[str, PartMethod]

    def adapt_network(self, generator: torch.Generator) -> None:
        """Make the parts, on this method's network, and let the one that adapts it do so."""
        self.parts = {}
        for name, part_class in self.classes.items():
            own = self.run.model_copy(update={"method": getattr(self.config, name).model_dump()})
            with parts_on(self.network), author_code(part_class, "the constructor"):
                self.parts[name] = part_class(self.spec, own)
            self.parts[name].adapt_network(generator)
        self.in_batch = any(part.in_batch for part in self.parts.values())

    def extra_modules(self) -> dict[str, nn.Module]:
        """The parts' modules by the parts' names, each drawn as if the part were alone."""
        for part in self.parts.values():
            torch.manual_seed(derive_seed(self.run.seed, "extra modules"))
            part.extra = nn.ModuleDict(part.extra_modules())
        return {name: part.extra for name, part in self.parts.items() if len(part.extra)}

    def to(self, device: torch.device) -> None:
        """Move the parts as well."""
        super().to(device)
        for part in self.parts.values():
            part.to(device)

    def image_weights(self, labels: Tensor) -> Tensor | None:
        """Those of the part that has some."""
        found = [weights for part in self.parts.values() if (weights := part.image_weights(labels)) is not None]
        return found[0] if found else None

    def losses(self, batch: DiffusionBatch) -> dict[str, Tensor]:
        """The error against the one target, and every part's terms under the part's name."""
        passes = Passes(self.network, batch)
        prediction, target = passes.own.noise.float(), batch.noise
        for part in self.parts.values():
            if _defines(type(part), "target"):
                with author_code(type(part), "target"):
                    target = part.target(batch)
        losses = {"diffusion": mse_loss(prediction, target)}
        for name, part in self.parts.items():
            with author_code(type(part), "terms"):
                losses |= {f"{name}.{term}": value for term, value in part.terms(batch, passes).items()}
        return losses

    @classmethod
    def implied(cls, config: Any) -> dict[str, Any]:
        """What all parts imply; raises ConfigError where two contradict each other."""
        implied: dict[str, Any] = {}
        for name, part in cls.classes.items():
            layer = part.implied(getattr(config, name))
            if clash := _clash(implied, layer):
                raise ConfigError(
                    f"method {_name(cls.classes)}: {name} wants another {clash} than the parts before it; give all of "
                    "them the same variant"
                )
            implied = merge(implied, layer)
        blind = [name for name, part in cls.classes.items() if part.compares_classes]
        if blind and implied.get("training", {}).get("label_drop") == 1.0:
            raise ConfigError(
                f"method {_name(cls.classes)}: {blind[0]} compares what is predicted for different classes, and the "
                "other trains without labels"
            )
        return implied

    @classmethod
    def recipe(cls, method: str, dataset: str) -> dict[str, Any]:
        """The parts' recipes, each one's own keys under its name; of the rest the first part's count most."""
        recipe: dict[str, Any] = {}
        for name, part in reversed(list(cls.classes.items())):
            own = part.recipe(name, dataset)
            keys = {"method": {name: own["method"]}} if "method" in own else {}
            recipe = merge(recipe, {**own, **keys})
        return recipe

    @classmethod
    def recipe_names(cls, method: str) -> list[str]:
        """The data sets that the first part has recipes for."""
        name, part = next(iter(cls.classes.items()))
        return part.recipe_names(name)


def join(names: str) -> type[Method]:
    """The class of methods joined by `+`; raises ConfigError, in one line, for those that cannot be joined."""
    classes: dict[str, type[PartMethod]] = {}
    for name in names.split("+"):
        part = METHODS.get(name) if name else None
        if part is None or name in classes:
            raise ConfigError(f"method {names!r}: join different methods by their names, as in coral+cbdm")
        if name == "ddpm":
            raise ConfigError(f"method {names!r}: ddpm is what the others add to; leave it out")
        if not issubclass(part, PartMethod) or any(_defines(part, hook) for hook in _WHOLE):
            raise ConfigError(
                f"method {names!r}: {name} cannot be joined, it writes its whole loss or training itself (a "
                "PartMethod has terms or a target)"
            )
        classes[name] = part
    for hook, words in _ONCE.items():
        if len(both := [name for name, part in classes.items() if _defines(part, hook)]) > 1:
            raise ConfigError(f"method {names!r}: {both[0]} and {both[1]} cannot be joined, each fixes {words}")
    parts = list(classes.values())
    members = {
        "__doc__": f"{' with '.join(part.title or name for name, part in classes.items())}.",
        "__module__": __name__,
        "classes": classes,
        "made_of": tuple(parts),
        "title": " + ".join(part.title or name for name, part in classes.items()),
        "paper": "; ".join(dict.fromkeys(part.paper for part in parts if part.paper)),
        # no released code is the combination, even where there is one of every part
        "fidelity": max(("from the paper", *(part.fidelity for part in parts)), key=["", *FIDELITIES].index),
        "passes": 1 + sum(part.passes - 1 for part in parts),
        "in_batch": any(part.in_batch for part in parts),
        "compares_classes": any(part.compares_classes for part in parts),
        "Config": _config(classes),
    }
    return type(f"JoinedMethod[{names}]", (JoinedMethod,), members)


METHODS.join_by("+", join)


def _config(classes: Mapping[str, type[PartMethod]]) -> type[MethodConfig]:
    """One section a part, each with the part's keys."""
    fields: dict[str, Any] = {}
    for name, part in classes.items():
        only: Any = Literal[name]
        own = create_model(part.Config.__name__, __base__=part.Config, name=(only, name))
        fields[name] = (own, Field(default_factory=own, description=f"The keys of {name}."))
    return create_model("JoinedConfig", __base__=MethodConfig, **fields)


def _name(classes: Mapping[str, Any]) -> str:
    return "+".join(classes)


def _defines(part: type[PartMethod], hook: str) -> bool:
    return getattr(part, hook) is not getattr(PartMethod, hook)


def _clash(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> str | None:
    """The first dotted key that two nested mappings set to different values."""
    for key in first.keys() & second.keys():
        a, b = first[key], second[key]
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            if clash := _clash(a, b, f"{prefix}{key}."):
                return clash
        elif a != b:
            return f"{prefix}{key}"
    return None
