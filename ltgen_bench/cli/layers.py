"""From options to configuration layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltgen_bench.core.config import merge, parse_overrides, read_toml
from ltgen_bench.core.errors import ConfigError

if TYPE_CHECKING:
    pass


def configuration_layers(
    *,
    config: Path | None,
    overrides: list[str],
    method: str | None = None,
    dataset: str | None = None,
    imbalance: float | None = None,
    per_class: int | None = None,
    path: Path | None = None,
    reference_path: Path | None = None,
    image_size: int | None = None,
    protocol: str | None = None,
    features: str | None = None,
    seed: int | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """The user's layers, later ones winning: the file, the options, `--set`.

    A protocol named in the options replaces the file's whole section: a run's config.toml has every field of its own
    protocol, which would otherwise be measured under the new name.
    """
    options: dict[str, Any] = {
        "method": {"name": method},
        "dataset": {
            "name": dataset,
            "imbalance": imbalance,
            "per_class": per_class,
            "path": None if path is None else str(path.expanduser().resolve()),
            "reference_path": None if reference_path is None else str(reference_path.expanduser().resolve()),
            "image_size": image_size,
        },
        "protocol": {"name": protocol, "extractor": features, "manifold_extractor": features},
        "execution": {"device": device},
    }
    given = {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in options.items()
    }
    file = read_toml(config) if config else {}
    if protocol is not None and isinstance(written := file.get("protocol"), dict) and "name" in written:
        del file["protocol"]  # a run's own, with every key: it would hide the one that is asked for
    changes = parse_overrides(overrides)
    _refuse_another_variant(file, changes)
    layers = [file, {section: values for section, values in given.items() if values}]
    if seed is not None:
        layers.append({"seed": seed})
    layers.append(changes)
    return merge(*layers)


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
