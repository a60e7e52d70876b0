"""Names to things: one registry each for methods, data sets and feature extractors.

Entries are lazy: a name maps to `"module:attribute"` and is imported when asked for, so that `--help` and error
messages cost nothing. Three doors lead in: `register()` in Python, an entry point group of an installed package
(`ltgen_bench.methods`, `ltgen_bench.datasets`, `ltgen_bench.features`), and a file given with `--plugin`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Generic, TypeVar

from ltgen_bench.core.errors import ConfigError, UnknownNameError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """The things of one kind by name; `kind` is a word for messages ("method"), `group` the entry point group."""

    def __init__(self, kind: str, group: str, builtin: dict[str, str] | None = None):
        self.kind, self.group = kind, group
        self._entries: dict[str, T | str] = dict(builtin or {})
        self._entry_points_read = False

    def register(self, name: str) -> Callable[[T], T]:
        """Class or function decorator: enter what it decorates under `name`; a name that is taken is refused."""

        def enter(thing: T) -> T:
            self._read_entry_points()
            known = self._entries.get(name)
            where = f"{getattr(thing, '__module__', '?')}:{getattr(thing, '__qualname__', '?')}"
            if known is not None and known is not thing and known != where:
                raise ConfigError(f"{self.kind} {name!r} is registered already; choose another name")
            self._entries[name] = thing
            return thing

        return enter

    def names(self) -> list[str]:
        """All known names, sorted."""
        self._read_entry_points()
        return sorted(self._entries)

    def get(self, name: str) -> T:
        """The thing called `name`, imported now if it was not; raises UnknownNameError with the closest name."""
        self._read_entry_points()
        if name not in self._entries:
            raise UnknownNameError(f"unknown {self.kind} {name!r}; {did_you_mean(name, self._entries)}")
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            try:
                entry = getattr(importlib.import_module(module), attribute)
            except (ImportError, AttributeError) as error:
                raise ConfigError(
                    f"{self.kind} {name!r} cannot be loaded from {module}:{attribute}: {error}"
                ) from error
            self._entries[name] = entry
        return entry

    def _read_entry_points(self) -> None:
        if self._entry_points_read:
            return
        self._entry_points_read = True
        for point in importlib.metadata.entry_points(group=self.group):
            self._entries.setdefault(point.name, point.value)
