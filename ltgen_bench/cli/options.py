"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.models import ArgumentInfo

from ltgen_bench.core.errors import ConfigError, UserError

if TYPE_CHECKING:
    from ltgen_bench.core.progress import Progress
    from ltgen_bench.evaluation.places import EvaluationPlaces

DATASET_DETAILS = "imbalance per_class cut_seed class_order path reference_path image_size"
"""The options that say which of a data set's variants is meant."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says. A command offers some of these options; the others keep their defaults."""

    method: Annotated[str | None, typer.Option("--method", "-m", help="Method; see 'list methods'. Default: ddpm.")] = (
        None
    )
    recipe: Annotated[
        str | None,
        typer.Option(help="A further recipe of the method, such as cbdm's ada or finetune.", show_default=False),
    ] = None
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Data set; see 'list datasets'. Default: digits-lt.")
    ] = None
    seed: Annotated[int | None, typer.Option("--seed", "-s", help="Seed of everything random. Default: 0.")] = None
    imbalance: Annotated[
        float | None, typer.Option(help="Smallest class / largest class, such as 0.001.", show_default=False)
    ] = None
    per_class: Annotated[
        int | None, typer.Option(help="A balanced subset of this many images a class.", show_default=False)
    ] = None
    cut_seed: Annotated[
        int | None,
        typer.Option(
            help="Other images in the tail: the seed of the cut. Default: 0, the papers'.", show_default=False
        ),
    ] = None
    class_order: Annotated[
        str | None,
        typer.Option(
            help="Other classes in the tail: index, reversed, or the seed of a permutation.",
            metavar="index|reversed|SEED",
            show_default=False,
        ),
    ] = None
    path: Annotated[
        Path | None,
        typer.Option("--path", help="For --dataset folder: your folder of class folders.", show_default=False),
    ] = None
    reference_path: Annotated[
        Path | None,
        typer.Option(help="For --dataset folder: held-out images in the same class folders.", show_default=False),
    ] = None
    image_size: Annotated[
        int | None, typer.Option(help="For --dataset folder: resize to this many pixels.", show_default=False)
    ] = None
    protocol: Annotated[
        str | None, typer.Option("--protocol", "-p", help="Protocol; see 'list protocols'. Default: the data set's.")
    ] = None
    features: Annotated[
        str | None,
        typer.Option(
            "--features", help="Another feature extractor; see 'list features'. The protocol becomes '+custom'."
        ),
    ] = None
    overrides: Annotated[
        list[str],
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override any configuration key; repeatable."),
    ] = field(default_factory=list)
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A TOML configuration, such as the config.toml of a run.", show_default=False),
    ] = None
    runs_dir: Annotated[Path, typer.Option(envvar="LTGEN_BENCH_RUNS_DIR", help="Where runs are kept.")] = Path("runs")
    run_dir: Annotated[Path | None, typer.Option(help="Exactly this folder for the run.", show_default=False)] = None
    leaderboards: Annotated[Path, typer.Option(help="The folder with records/, published/ and verifications/.")] = Path(
        "leaderboards"
    )
    data_root: Annotated[
        Path, typer.Option(envvar="LTGEN_BENCH_DATA_ROOT", help="Where data sets, weights and caches are kept.")
    ] = Path("data")
    weights: Annotated[
        list[str],
        typer.Option(
            "--weights", metavar="EXTRACTOR=FILE", help="Weights of a feature extractor kept elsewhere; repeatable."
        ),
    ] = field(default_factory=list)
    plugins: Annotated[
        list[Path],
        typer.Option(
            "--plugin", metavar="FILE.py", help="A Python file that registers your method or data set; repeatable."
        ),
    ] = field(default_factory=list)
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps. Default: auto.")] = None
    track: Annotated[
        list[str],
        typer.Option("--track", metavar="NAME", help="tensorboard, wandb or trackio: gets what training logs."),
    ] = field(default_factory=list)
    speed: Annotated[
        str | None,
        typer.Option(
            help="exact (fp32), fast (bf16, TF32, channels_last, compiled) or auto: fast on CUDA. Default: auto.",
            metavar="exact|fast|auto",
            show_default=False,
        ),
    ] = None
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error as well.")] = False

    def __post_init__(self) -> None:
        for name in ("runs_dir", "data_root"):
            object.__setattr__(self, name, getattr(self, name).expanduser())

    def places(self) -> EvaluationPlaces:
        """Where weights and caches live; raises UnknownNameError for weights of an unregistered extractor."""
        from ltgen_bench.evaluation.places import EvaluationPlaces
        from ltgen_bench.features import extractor_info

        own = {}
        for entry in self.weights:
            name, equals, file = entry.partition("=")
            if not equals or not file:
                raise ConfigError(
                    f"--weights wants EXTRACTOR=FILE, as in inception-v3-fid=/path/weights.pth; got {entry!r}"
                )
            extractor_info(name)  # asked only whether there is one
            own[name] = Path(file).expanduser()
        return EvaluationPlaces(self.data_root, own)

    def load_plugins(self) -> None:
        """Import the files given with `--plugin`."""
        from ltgen_bench.core.plugins import load_plugin_file

        for plugin in self.plugins:
            load_plugin_file(plugin)

    def progress(self) -> Progress:
        """Progress on stderr, or silence; in a job of several processes only the first one prints."""
        from ltgen_bench.core.progress import Progress, TerminalProgress

        return Progress() if self.quiet or not is_first_process() else TerminalProgress()


def offers(names: str, **descriptions: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function that takes `Options` first: its options are `names`, in the order of `--help`.

    The function's own parameters stand among the names too. `descriptions` replace those of shared options; an
    argument among them is required.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[1:]
        hints = get_type_hints(function, include_extras=True)
        parameters = {each.name: each.replace(annotation=hints[each.name]) for each in own}
        shared = {name: _PARAMETERS[name] for name in names.split() if name not in parameters}
        for name, description in descriptions.items():
            required = isinstance(description.__metadata__[0], ArgumentInfo)
            default = inspect.Parameter.empty if required else shared[name].default
            shared[name] = shared[name].replace(annotation=description, default=default)
        if forgotten := parameters.keys() - set(names.split()):
            raise TypeError(f"{function.__name__}: {', '.join(sorted(forgotten))} is not among the names")
        ordered = [(parameters | shared)[name] for name in names.split()]

        def command(**values: Any) -> None:
            options = Options(**{name: values.pop(name) for name in shared})
            try:
                function(options, **values)
            except UserError:
                if options.debug:
                    traceback.print_exc()
                raise

        command.__doc__, command.__name__ = function.__doc__, function.__name__
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what typer reads
            [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in ordered]
        )
        command.__annotations__ = {each.name: each.annotation for each in ordered}
        return command

    return decorate


def _parameters() -> dict[str, inspect.Parameter]:
    hints = get_type_hints(Options, include_extras=True)
    return {
        each.name: inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=[] if callable(each.default_factory) else each.default,
            annotation=hints[each.name],
        )
        for each in fields(Options)
    }


_PARAMETERS = _parameters()


def is_first_process() -> bool:
    """Whether this is the only process, or the one under torchrun that prints."""
    return os.environ.get("RANK", "0") == "0"
