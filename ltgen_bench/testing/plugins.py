"""`check_plugin`: everything that a file registers, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ltgen_bench.core.errors import PluginError
from ltgen_bench.core.plugins import load_plugin_file
from ltgen_bench.core.registry import Registry
from ltgen_bench.datasets import DATASETS
from ltgen_bench.features import EXTRACTORS
from ltgen_bench.methods import METHODS
from ltgen_bench.testing.checklist import CheckResult
from ltgen_bench.testing.datasets import check_dataset
from ltgen_bench.testing.extractors import check_extractor
from ltgen_bench.testing.methods import check_methods


def check_plugin(
    path: Path,
    layers: Mapping[str, Any] | None = None,
    weights: Mapping[str, Path] | None = None,
    data_root: Path = Path("data"),
    tell: Callable[[str], None] = lambda line: None,
) -> list[CheckResult]:
    """Import a file as `--plugin` does and check the methods, data sets and feature extractors that it registers.

    `layers` are configuration keys for the methods' trial runs and for the data sets' options, `weights` files by the
    extractors' names; `tell` takes lines that say what is being done. Raises PluginError for a file that cannot be
    imported or registers nothing.
    """
    layers, weights = layers or {}, weights or {}
    registries: tuple[Registry[Any], ...] = (METHODS, DATASETS, EXTRACTORS)
    before = [set(registry.names()) for registry in registries]
    load_plugin_file(path)
    methods, datasets, extractors = (
        [name for name in registry.names() if name not in known]
        for registry, known in zip(registries, before, strict=True)
    )
    if not (methods or datasets or extractors):
        raise PluginError(
            f"--plugin {path}: registers nothing: put @METHODS.register('my-method') above the class (or DATASETS, "
            "EXTRACTORS)"
        )
    options = {key: value for key, value in dict(layers.get("dataset", {})).items() if key != "name"}
    results = check_methods(methods, layers, data_root, tell)
    for name in datasets:
        tell(f"checking data set {name}")
        results += check_dataset(name, options, data_root)
    for name in extractors:
        tell(f"checking feature extractor {name}")
        results += check_extractor(name, weights.get(name), data_root)
    return results
