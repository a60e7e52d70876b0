"""Plug-ins: imported by path, hashed for the record, and named by file, line and class when their code fails."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ltgen_bench.core.errors import ConfigError, PluginError, UserError
from ltgen_bench.core.storage import sha256_file, sha256_json
from ltgen_bench.core.version import PACKAGE_ROOT

# Where our own code lies; a stranger's package may have any name, and `baselines` is a likely one.
_OWN_ROOTS = (PACKAGE_ROOT, PACKAGE_ROOT.parent / "baselines")
_FILE_MODULE = "ltgen_bench_plugin_"  # what modules of files are called


def load_plugin_file(path: Path) -> Any:
    """Import a Python file given with `--plugin`; what it registers is known from then on. Returns the module.

    Raises ConfigError for what is not a Python file, and PluginError with file and line when its import fails.
    """
    path = Path(path)
    if not path.is_file() or path.suffix != ".py":
        raise ConfigError(f"--plugin wants a Python file, and {path} is not one")
    name = f"{_FILE_MODULE}{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ConfigError(f"--plugin {path} cannot be imported")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses and pickles look their module up by name
    try:
        specification.loader.exec_module(module)
    except UserError:
        raise
    except SyntaxError as error:
        raise PluginError(f"--plugin {error.filename or path}, line {error.lineno}: {error.msg}") from error
    except Exception as error:
        where = _failing_line(error, path.resolve().parent) or str(path)
        raise PluginError(f"--plugin {where}: cannot be imported: {in_one_line(error)}") from error
    return module


def is_own(thing: Any) -> bool:
    """Whether a class or function is defined in this package or in the baselines beside it."""
    file = getattr(sys.modules.get(thing.__module__), "__file__", None)
    return isinstance(file, str) and _is_own_file(file)


def _is_own_file(file: str) -> bool:
    return any(root in Path(file).resolve().parents for root in _OWN_ROOTS)


def plugin_code_sha256(thing: type) -> str | None:
    """The sha256 of a plug-in's code: the file that defines `thing`, and what it imports from the same folder.

    None for what this package brings itself, which the commit names. Of joined methods: of the plug-ins among them.
    """
    if parts := getattr(thing, "made_of", ()):
        found_parts = [own for part in parts if (own := plugin_code_sha256(part)) is not None]
        return found_parts[0] if len(found_parts) == 1 else sha256_json(found_parts) if found_parts else None
    if is_own(thing):
        return None
    folder = Path(inspect.getfile(thing)).resolve().parent
    found: dict[str, str] = {}
    waiting, seen = [thing.__module__], set()
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if name in seen or not isinstance(file, str) or _is_own_file(file):
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


def plugin_origin(thing: type) -> str | None:
    """Where a plug-in's class is from: the name of its file, or `package NAME VERSION`; None for what is our own."""
    if parts := getattr(thing, "made_of", ()):
        return ", ".join(origin for part in parts if (origin := plugin_origin(part)))[:200] or None
    if is_own(thing):
        return None
    if not thing.__module__.startswith(_FILE_MODULE):
        names = importlib.metadata.packages_distributions().get(thing.__module__.partition(".")[0], [])
        if names:
            return f"package {names[0]} {importlib.metadata.version(names[0])}"
    return Path(inspect.getfile(thing)).name[:200]


def where_defined(owner: Any, member: Callable[..., Any] | None = None) -> str:
    """File, line and class (or function) for messages; the line of `member` where it is given and the class has it."""
    try:
        place: Any = owner if member is None else inspect.unwrap(member)
        file = inspect.getsourcefile(place) or inspect.getfile(place)
        line = inspect.getsourcelines(place)[1]
    except (OSError, TypeError):
        return _called(owner)  # made in an interactive session
    return f"{file}, line {line}, {_called(owner)}"


def _called(owner: Any) -> str:
    return f"{'class' if isinstance(owner, type) else 'function'} {owner.__qualname__}"


@contextlib.contextmanager
def author_code(owner: Any, call: str) -> Iterator[None]:
    """Turn an exception from a plug-in's own code into a PluginError: file, line, class, what failed.

    Errors of one line pass as they are, and so do those of our own code (bugs of ours) and those that say that memory
    has run out, for which others know the advice.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        if is_own(owner) or "out of memory" in str(error) or "allocate memory" in str(error):
            raise
        file = getattr(sys.modules.get(owner.__module__), "__file__", None)
        where = _failing_line(error, Path(file).resolve().parent) if file else None
        place = f"{where}, {_called(owner)}" if where else where_defined(owner)
        raise PluginError(f"{place}: {call} failed: {in_one_line(error)}") from error


def _failing_line(error: BaseException, folder: Path) -> str | None:
    """File and line of the innermost call in the plug-in's own files."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        own = folder in path.parents and "site-packages" not in path.relative_to(folder).parts
        if own and not _is_own_file(frame.filename):
            return f"{frame.filename}, line {frame.lineno}"
    return None


def in_one_line(error: BaseException) -> str:
    """Type and text of an exception, of at most about 300 characters."""
    text = " ".join(str(error).split())
    shown = text if len(text) <= 300 else f"{text[:300]}..."
    return f"{type(error).__name__}: {shown}" if text else type(error).__name__
