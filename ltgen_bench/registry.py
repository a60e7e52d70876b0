"""Names to things: one registry each for methods, data sets and feature extractors.

Entries are lazy: a name maps to `"module:attribute"` and is imported when asked for, so that `--help` and error
messages cost nothing. Three doors lead in: `register()` in Python, an entry point group of an installed package
(`ltgen_bench.methods`, `ltgen_bench.datasets`, `ltgen_bench.features`), and a file given with `--plugin`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from ltgen_bench.errors import ConfigError, UnknownNameError, did_you_mean
from ltgen_bench.storage import sha256_file, sha256_json

T = TypeVar("T")
_OWN_PACKAGES = ("baselines", "ltgen_bench")


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


def load_plugin_file(path: Path) -> Any:
    """Import a Python file given with `--plugin`; what it registers is known from then on. Returns the module."""
    path = Path(path)
    if not path.is_file() or path.suffix != ".py":
        raise ConfigError(f"--plugin wants a Python file, and {path} is not one")
    name = f"ltgen_bench_plugin_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ConfigError(f"--plugin {path} cannot be imported")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses and pickles look their module up by name
    specification.loader.exec_module(module)
    return module


def plugin_code_sha256(thing: type) -> str | None:
    """The sha256 of a plug-in's code: the file that defines `thing`, and what it imports from the same folder.

    None for what this package brings itself, which the commit names.
    """
    if thing.__module__.split(".")[0] in _OWN_PACKAGES:
        return None
    folder = Path(inspect.getfile(thing)).resolve().parent
    found: dict[str, str] = {}
    waiting, seen = [thing.__module__], set()
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if name in seen or not isinstance(file, str) or name.split(".")[0] in _OWN_PACKAGES:
            continue
        seen.add(name)
        path = Path(file).resolve()
        if folder not in path.parents or "site-packages" in path.relative_to(folder).parts:
            continue
        found[path.relative_to(folder).as_posix()] = sha256_file(path)
        for value in vars(module).values():
            of = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
            waiting += [of] if isinstance(of, str) else []
    return sha256_json(found)
