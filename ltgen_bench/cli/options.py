"""Options that several commands share, and how they become configuration layers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ltgen_bench.core.errors import ConfigError

if TYPE_CHECKING:
    from ltgen_bench.core.progress import Progress
    from ltgen_bench.evaluation.places import EvaluationPlaces

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


def places(data_root: Path, weights: list[str]) -> EvaluationPlaces:
    """Where weights and caches live; raises UnknownNameError for weights of an extractor that is not registered."""
    from ltgen_bench.evaluation.places import EvaluationPlaces
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
    from ltgen_bench.core.plugins import load_plugin_file

    for plugin in plugins:
        load_plugin_file(plugin)


def make_progress(quiet: bool) -> Progress:
    """Progress on stderr, or silence; in a job of several processes only the first one speaks."""
    from ltgen_bench.core.progress import Progress, TerminalProgress

    return Progress() if quiet or not is_first_process() else TerminalProgress()


def is_first_process() -> bool:
    """Whether this is the only process, or the one under torchrun that prints."""
    return os.environ.get("RANK", "0") == "0"
