"""Options that several commands share, and how they become configuration layers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltgen_bench.config import merge, parse_overrides, read_toml
from ltgen_bench.errors import ConfigError

if TYPE_CHECKING:
    from ltgen_bench.evaluation import EvaluationPlaces
    from ltgen_bench.progress import Progress

MethodName = Annotated[str | None, typer.Option("--method", "-m", help="Method; see 'list methods'. Default: ddpm.")]
DatasetName = Annotated[
    str | None, typer.Option("--dataset", "-d", help="Data set; see 'list datasets'. Default: digits-lt.")
]
Imbalance = Annotated[
    float | None, typer.Option(help="Smallest class / largest class, such as 0.001.", show_default=False)
]
PerClass = Annotated[
    int | None, typer.Option(help="A balanced subset of this many images a class.", show_default=False)
]
DataPath = Annotated[
    Path | None, typer.Option("--path", help="For --dataset folder: your folder of class folders.", show_default=False)
]
ReferencePath = Annotated[
    Path | None,
    typer.Option(help="For --dataset folder: held-out images in the same class folders.", show_default=False),
]
ImageSize = Annotated[
    int | None, typer.Option(help="For --dataset folder: resize to this many pixels.", show_default=False)
]
ProtocolName = Annotated[
    str | None, typer.Option("--protocol", "-p", help="Protocol; see 'list protocols'. Default: the data set's.")
]
Features = Annotated[
    str | None,
    typer.Option("--features", help="Another feature extractor; see 'list features'. The protocol becomes '+custom'."),
]
Seed = Annotated[int | None, typer.Option("--seed", "-s", help="Seed of everything random. Default: 0.")]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override any configuration key; repeatable."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="A TOML configuration, such as the config.toml of a run.", show_default=False),
]
RunsDir = Annotated[Path, typer.Option(envvar="LTGEN_BENCH_RUNS_DIR", help="Where runs are kept.")]
RunDir = Annotated[Path | None, typer.Option(help="Exactly this folder for the run.", show_default=False)]
DataRoot = Annotated[
    Path, typer.Option(envvar="LTGEN_BENCH_DATA_ROOT", help="Where data sets, weights and caches are kept.")
]
Weights = Annotated[
    list[str],
    typer.Option(
        "--weights", metavar="EXTRACTOR=FILE", help="Weights of a feature extractor kept elsewhere; repeatable."
    ),
]
Plugins = Annotated[
    list[Path],
    typer.Option("--plugin", metavar="FILE.py", help="A Python file that registers your method; repeatable."),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps. Default: auto.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


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


def places(data_root: Path, weights: list[str]) -> EvaluationPlaces:
    """Where weights and caches live; raises UnknownNameError for weights of an extractor that is not registered."""
    from ltgen_bench.evaluation import EvaluationPlaces
    from ltgen_bench.features import extractor_info

    own = {}
    for entry in weights:
        name, equals, file = entry.partition("=")
        if not equals or not file:
            raise ConfigError(
                f"--weights wants EXTRACTOR=FILE, as in inception-v3-fid=/path/weights.pth; got {entry!r}"
            )
        extractor_info(name)  # asked only whether there is one
        own[name] = Path(file).expanduser()
    return EvaluationPlaces(data_root.expanduser(), own)


def load_plugins(plugins: list[Path]) -> None:
    """Import the files given with `--plugin`."""
    from ltgen_bench.registry import load_plugin_file

    for plugin in plugins:
        load_plugin_file(plugin)


def make_progress(quiet: bool) -> Progress:
    """Progress on stderr, or silence; in a job of several processes only the first one speaks."""
    from ltgen_bench.progress import Progress, TerminalProgress

    return Progress() if quiet or not is_first_process() else TerminalProgress()


def is_first_process() -> bool:
    """Whether this is the only process, or the one under torchrun that prints."""
    return os.environ.get("RANK", "0") == "0"


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False, ensure_ascii=False)
    sys.stdout.write("\n")


def print_tables(parts: list[Any]) -> None:
    """Tables and text on stdout; as wide as they need where stdout is no terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    for part in parts:
        console.print(part)
