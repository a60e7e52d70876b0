"""The keys of a configuration, with what each is for: read from the sections themselves."""

from __future__ import annotations

import difflib
import json
import types
import typing
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from ltgen_bench.core.config import RunConfig
from ltgen_bench.core.errors import ConfigError
from ltgen_bench.methods import METHODS


@dataclass(frozen=True)
class Key:
    """A key that `--set` takes: its name, what values it takes, its built-in default as JSON, what it is for."""

    name: str
    values: str
    default: str
    text: str
    methods: tuple[str, ...] = ()  # that have it; empty: it belongs to every run

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "methods": list(self.methods)}


def all_keys() -> list[Key]:
    """Every key: the sections', the protocol's, and those of every registered method."""
    found = []
    for section, info in RunConfig.model_fields.items():
        model = info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            found += [_key(f"{section}.{name}", field) for name, field in model.model_fields.items()]
    found.append(Key("method.name", "name", '"ddpm"', "The method; see 'ltgen-bench list methods'."))
    options: dict[tuple[str, str, str, str], list[str]] = {}
    for method in METHODS.names():
        for key in _keys_of(METHODS.get(method).Config, "method"):
            options.setdefault((key.name, key.values, key.default, key.text), []).append(method)
    found += [Key(*key, tuple(methods)) for key, methods in options.items()]
    return sorted(found, key=lambda key: (key.name.partition(".")[0] != "training", key.name))


def _keys_of(config: type[BaseModel], where: str) -> list[Key]:
    """The keys of a method's section and of the sections in it, but for its name."""
    found = []
    default = config.model_construct()
    for name, field in config.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            values = getattr(default, name)  # a section may have other defaults here than by itself
            for key in _keys_of(part, f"{where}.{name}"):
                own = key.name.rpartition(".")[2]
                found.append(replace(key, default=json.dumps(getattr(values, own), default=str)))
        elif name != "name":
            found.append(_key(f"{where}.{name}", field))
    return found


def explained(name: str) -> list[Key]:
    """The keys called `name`, in full or by what is behind a dot; raises ConfigError with the closest ones.

    Of joined methods, method.coral.weight is CORAL's method.weight.
    """
    keys = all_keys()
    found = [key for key in keys if name == key.name or key.name.endswith(f".{name}") or f".{name}." in key.name]
    section, _, rest = name.partition(".")
    part, _, own = rest.partition(".")
    if not found and section == "method" and own and part in METHODS:
        found = [replace(key, name=name) for key in keys if key.name == f"method.{own}" and part in key.methods]
    if not found:
        near = difflib.get_close_matches(name, [key.name for key in keys], n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ConfigError(f"no key {name!r}; {hint}'ltgen-bench list keys' has all of them")
    return found


def _key(name: str, field: Any) -> Key:
    default = field.get_default(call_default_factory=True)
    shown = json.dumps(default, default=str) if not isinstance(default, tuple) else json.dumps(list(default))
    return Key(name, _values(field.annotation, field.metadata), shown, " ".join((field.description or "").split()))


def _values(annotation: Any, metadata: list[Any]) -> str:
    """The values that a key takes, in words."""
    limits = [
        f"{sign} {getattr(part, attribute):g}"
        for part in metadata
        for attribute, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if getattr(part, attribute, None) is not None
    ]
    return " ".join([_type_words(annotation), *limits])


def _type_words(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _values(arguments[0], list(arguments[1:]))
    if origin is typing.Literal:
        return " | ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " | ".join("null" if part is type(None) else _type_words(part) for part in arguments)
    if origin in (tuple, list):
        return f"list of {_type_words(arguments[0])}"
    if origin is dict:
        return "table"
    if isinstance(annotation, type) and hasattr(annotation, "__members__"):
        return " | ".join(str(member) for member in annotation)  # type: ignore[attr-defined]
    words = {"int": "integer", "float": "number", "str": "text", "bool": "true | false", "Path": "path"}
    return words.get(getattr(annotation, "__name__", ""), str(annotation))
