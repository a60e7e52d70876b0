"""Nested mappings, as configurations are: merged, read from TOML and from the command line, compared."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.text_files import check_values, parse_toml, read_text_bounded


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; later layers win, mappings merge key by key, everything else is replaced."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
                merged[key] = merge(merged[key], value)
            else:
                merged[key] = merge(value) if isinstance(value, Mapping) else value
    return merged


def nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    """The layer that sets the key at `path`, such as ("method", "coral", "weight") of joined methods."""
    return {path[0]: value if len(path) == 1 else nested(path[1:], value)}


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Turn `section.key=value` strings into a nested mapping; values are TOML, and bare words are strings."""
    layer: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts) or len(parts) > (3 if parts[0] == "method" else 2):
            raise ConfigError(f"--set wants section.key=value, as in --set training.steps=2000; got {override!r}")
        layer = merge(layer, nested(parts, toml_value(text.strip(), f"--set {key.strip()}")))
    return layer


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file as nested mappings; raises ConfigError with the place of a syntax error."""
    path = Path(path)
    return parse_toml(read_text_bounded(path, error=ConfigError), f"the configuration {path}", error=ConfigError)


def toml_value(text: str, source: str) -> Any:
    """A value as TOML writes it, and as a string where it is none; raises ConfigError for one beyond all use."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError):
        raise ConfigError(f"{source}: the value has too many digits, or is nested too deeply") from None
    check_values(value, source, error=ConfigError)
    return value


def difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys in which two nested mappings differ, as `key: old -> new` strings."""
    lines = []
    for key in sorted({*old, *new}):
        dotted = f"{prefix}{key}"
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += difference(a, b, f"{dotted}.")
        elif _plain(a) != _plain(b):
            lines.append(f"{dotted}: {a} -> {b}")
    return lines


def without_none(value: Any) -> Any:
    """Nested mappings and lists without what is None, which TOML has no word for."""
    if isinstance(value, Mapping):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [without_none(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
