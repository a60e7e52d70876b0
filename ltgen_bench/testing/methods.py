"""`check_method`: all checks of a method, in the sense of scikit-learn's `check_estimator`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ltgen_bench.core.errors import ConfigError
from ltgen_bench.methods import METHODS, Method
from ltgen_bench.testing.checklist import Checklist, CheckResult, PluginCheck
from ltgen_bench.testing.diffusion_checks import DIVISION, LOSSES
from ltgen_bench.testing.method_checks import BUILT, DRAWS, recipe_checks
from ltgen_bench.testing.method_trials import MethodTrial
from ltgen_bench.testing.two_processes import ProcessPair


def check_method(
    method: type[Method] | str, layers: Mapping[str, Any] | None = None, data_root: Path = Path("data")
) -> list[CheckResult]:
    """Check a method, a class or the name that it is registered under, on the embedded digits with a tiny network.

    `layers` are configuration keys, nested as in a recipe, that win over the trial's: a smaller `fit` for a model of
    another kind, `{"method": {"epochs": 1}}`, or another data set with its files in `data_root`. Takes some ten
    seconds, most of them for two processes. Raises ConfigError for a class that is not registered.
    """
    return check_methods([method], layers, data_root)


def check_methods(
    methods: Sequence[type[Method] | str],
    layers: Mapping[str, Any] | None = None,
    data_root: Path = Path("data"),
    tell: Callable[[str], None] = lambda line: None,
) -> list[CheckResult]:
    """The results of `check_method` for several methods, one after the other, with one pair of processes for all.

    `tell` takes lines that say what is being done.
    """
    named = [
        (method, METHODS.get(method)) if isinstance(method, str) else (_name(method), method) for method in methods
    ]
    with tempfile.TemporaryDirectory(prefix="ltgen-bench-check-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        lists = []
        for number, (name, method_class) in enumerate(named):
            place = folder / f"method-{number}"
            place.mkdir()
            trial = MethodTrial(name, method_class, layers or {}, data_root, place)
            lists.append(Checklist(f"method {name}", method_class, trial))
            tell(f"checking method {name}")
            lists[-1].run(_checks(trial))
        diffusion = [each for each in lists if each.thing.is_diffusion]
        ready = [each.thing for each in diffusion if not each.blocked]
        if ready:
            tell(f"training {', '.join(trial.name for trial in ready)} with two processes")
        pair = ProcessPair(ready, folder)
        for each in diffusion:
            each.run([PluginCheck("two processes train what one process trains", pair.check)])
        return [result for each in lists for result in each.results]


def _checks(trial: MethodTrial) -> list[PluginCheck[MethodTrial]]:
    """What one process can check."""
    checks = [*BUILT, *recipe_checks(trial.name, trial.method_class)]
    if trial.is_diffusion:
        return [*checks, LOSSES, *DRAWS, *DIVISION]  # losses before `fit`, which would fail in other words
    return [*checks, *DRAWS]


def _name(method: type[Method]) -> str:
    """The name that a class is registered under."""
    for name in METHODS.names():
        with contextlib.suppress(Exception):  # another plug-in that cannot be imported
            if METHODS.get(name) is method:
                return name
    raise ConfigError(f"{method.__qualname__} has no name: put @METHODS.register('my-method') above the class")
