"""Plug-in files: imported by path, and hashed for the record."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.storage import sha256_file, sha256_json

_OWN_PACKAGES = ("baselines", "ltgen_bench")


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
