"""From options to configuration layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltgen_bench.cli.options import Options
from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.mappings import merge, parse_overrides, read_toml


def configuration_layers(options: Options) -> dict[str, Any]:
    """The user's layers, later ones winning: the file, the options, `--set`.

    A protocol named in the options replaces the file's whole section: a run's config.toml has every field of its own
    protocol, which would otherwise be measured under the new name. So does another method than the file's, whose keys
    it would not know: the rest of the file is what both are to share.
    """
    sections: dict[str, dict[str, Any]] = {
        "method": {"name": options.method},
        "dataset": {
            "name": options.dataset,
            "imbalance": options.imbalance,
            "per_class": options.per_class,
            "cut_seed": options.cut_seed,
            "class_order": _seed_or_word(options.class_order),
            "path": _absolute(options.path),
            "reference_path": _absolute(options.reference_path),
            "image_size": options.image_size,
        },
        "protocol": {
            "name": options.protocol,
            "extractor": options.features,
            "manifold_extractor": options.features,
        },
        "execution": {"device": options.device, "speed": options.speed, "track": options.track or None},
    }
    given: dict[str, Any] = {
        section: chosen
        for section, values in sections.items()
        if (chosen := {key: value for key, value in values.items() if value is not None})
    }
    given |= {key: value for key in ("seed", "recipe") if (value := getattr(options, key)) is not None}
    file = read_toml(options.config) if options.config else {}
    if options.protocol is not None and isinstance(written := file.get("protocol"), dict) and "name" in written:
        del file["protocol"]  # a run's own, with every key: it would hide the one that is asked for
    if None not in (options.method, written := written_method(file)) and written != options.method:
        del file["method"]  # keys without a name are for whichever method is named
    changes = parse_overrides(options.overrides)
    _refuse_another_variant(file, changes)
    return _spelled_out(merge(file, given, changes))


def written_method(file: dict[str, Any]) -> str | None:
    """The name of the method in a configuration file, None where it has none."""
    section = file.get("method")
    name = section.get("name") if isinstance(section, dict) else section
    return name if isinstance(name, str) else None


def know_own_images(options: Options) -> None:
    """With `--path`: make that folder's data set known by the name that records of it have."""
    if options.path is None:
        return
    from ltgen_bench.core.config import DatasetConfig, build
    from ltgen_bench.datasets import load_dataset
    from ltgen_bench.datasets.catalogue import know_dataset

    values = {"name": "folder", **configuration_layers(options).get("dataset", {})}
    know_dataset(load_dataset(build(DatasetConfig, values, "dataset"), options.data_root))


def _spelled_out(layers: dict[str, Any]) -> dict[str, Any]:
    """The layers with a canonical name, such as `cifar10lt-0.001-cut2`, as name and options."""
    dataset = layers.get("dataset")
    name = dataset.get("name") if isinstance(dataset, dict) else dataset
    if not isinstance(name, str):
        return layers
    from ltgen_bench.datasets import named_options

    named = named_options(name)
    if named["name"] == name:
        return layers
    given = dataset if isinstance(dataset, dict) else {}
    for key in named.keys() & given.keys() - {"name"}:
        if given[key] != named[key]:
            raise ConfigError(f"data set {name!r} says {key} {named[key]}, and the options say {given[key]}")
    return {**layers, "dataset": {**given, **named}}


def _seed_or_word(order: str | None) -> int | str | None:
    return int(order) if order is not None and order.isascii() and order.isdigit() else order


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.expanduser().resolve())


def _refuse_another_variant(file: dict[str, Any], changes: dict[str, Any]) -> None:
    """A variant chooses defaults; a complete configuration leaves nothing to choose, so only its name would change."""
    written, wanted = (
        layer["method"].get("variant") if isinstance(layer.get("method"), dict) else None for layer in (file, changes)
    )
    complete = set(file.get("method") or ()) - {"name", "variant"} or "label_drop_unit" in (file.get("training") or ())
    if complete and None not in (written, wanted) and written != wanted:
        raise ConfigError(
            f"--set method.variant={wanted} does not turn the configuration of a {written!r} variant into another: "
            "the file sets every key; leave --config out, or set the keys that differ (baselines/README.md)"
        )
