"""Names to things: one registry each for methods, data sets and feature extractors.

Entries are lazy: a name maps to `"module:attribute"` and is imported when asked for, so that `--help` and error
messages cost nothing. Three doors lead in: `register()` in Python, an entry point group of an installed package
(`ltgen_bench.methods`, `ltgen_bench.datasets`, `ltgen_bench.features`), and a file given with `--plugin`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Generic, TypeVar

from ltgen_bench.core.errors import ConfigError, PluginError, UnknownNameError, UserError, did_you_mean

_T = TypeVar("_T")


class Registry(Generic[_T]):
    """The things of one kind by name; `kind` is a word for messages ("method"), `group` the entry point group.

    `check` takes a name and what is registered under it, and raises ConfigError for what cannot be used.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        builtin: dict[str, str] | None = None,
        check: Callable[[str, object], None] | None = None,
    ):
        self.kind, self.group, self._check = kind, group, check
        self._entries: dict[str, _T | str] = dict(builtin or {})
        self._entry_points_read = False
        self._sign, self._joined = "", dict[str, _T]()
        self._join: Callable[[str], _T] | None = None

    def join_by(self, sign: str, join: Callable[[str], _T]) -> None:
        """Names with `sign` in them stand for what `join` makes of the things between."""
        self._sign, self._join = sign, join

    def __contains__(self, name: str) -> bool:
        """Whether `name`, or every name that it joins, is known; `get` may still refuse to join them."""
        self._read_entry_points()
        parts = name.split(self._sign) if self._sign else [name]
        return name in self._entries or all(part in self._entries for part in parts)

    def register(self, name: str) -> Callable[[_T], _T]:
        """Class or function decorator: enter what it decorates under `name`; a name that is taken is refused."""

        def enter(thing: _T) -> _T:
            if self._check is not None:
                self._check(name, thing)
            self._read_entry_points()
            known = self._entries.get(name)
            where = f"{getattr(thing, '__module__', '?')}:{getattr(thing, '__qualname__', '?')}"
            if known is not None and known is not thing and known != where:
                raise ConfigError(f"{self.kind} {name!r} is registered already; choose another name")
            self._entries[name] = thing
            self._joined.clear()
            return thing

        return enter

    def replace(self, name: str, thing: _T) -> None:
        """Enter `thing` under `name`, whatever was known by it."""
        self._read_entry_points()
        self._entries[name] = thing
        self._joined.clear()

    def names(self) -> list[str]:
        """All known names, sorted."""
        self._read_entry_points()
        return sorted(self._entries)

    def get(self, name: str) -> _T:
        """The thing called `name`, imported now if it was not; raises UnknownNameError with the closest name."""
        self._read_entry_points()
        if self._join is not None and self._sign in name and name not in self._entries:
            if name not in self._joined:
                self._joined[name] = self._join(name)
            return self._joined[name]
        if name not in self._entries:
            raise UnknownNameError(f"unknown {self.kind} {name!r}; {did_you_mean(name, self._entries)}")
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            try:
                entry = getattr(importlib.import_module(module), attribute)
            except UserError:
                raise
            except Exception as error:
                where = f"{self.kind} {name!r} cannot be loaded from {module}:{attribute}"
                raise PluginError(f"{where}: {' '.join(str(error).split())}") from error
            if self._check is not None:
                self._check(name, entry)
            self._entries[name] = entry
        return entry

    def _read_entry_points(self) -> None:
        if self._entry_points_read:
            return
        self._entry_points_read = True
        for point in importlib.metadata.entry_points(group=self.group):
            self._entries.setdefault(point.name, point.value)
