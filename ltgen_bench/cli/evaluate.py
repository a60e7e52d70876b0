"""`evaluate`: every number of the protocol for anybody's samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ltgen_bench.cli.layers import configuration_layers
from ltgen_bench.cli.options import DATASET_DETAILS, Options, offers
from ltgen_bench.cli.output import print_json, print_tables
from ltgen_bench.core.choices import Conditioning
from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.mappings import merge

if TYPE_CHECKING:
    from ltgen_bench.evaluation.record import Record

FIGURES = ("samples.png", "per-class.png", "closest-pairs.png")


_Samples = Annotated[
    list[Path],
    typer.Argument(
        help="An .npz with arr_0 uint8 (N,H,W,C) and labels (N,); several: one a seed; images.npy labels.npy; a folder "
        "of class folders; or a run's folder.",
        metavar="SAMPLES",
    ),
]
_Shards = Annotated[bool, typer.Option("--shards", help="Several .npz are parts of one set of samples, in this order.")]
_Resize = Annotated[
    Literal["antialias"] | None, typer.Option(help="Resize samples of another size; recorded, and '+custom'.")
]
_Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        "-s",
        help="Seed of the model that made the samples (of the first file; the others count on); changes no number.",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("evaluate")(evaluate)


@offers(
    f"samples shards dataset {DATASET_DETAILS} protocol features resize method_name seed out overrides runs_dir "
    "data_root weights plugins device as_json quiet debug",
    dataset=Annotated[
        str | None,
        typer.Option(
            "--dataset", "-d", help="Data set that the samples are of; see 'list datasets'. Required, but for a run."
        ),
    ],
    plugins=Annotated[
        list[Path],
        typer.Option(
            "--plugin", metavar="FILE.py", help="A Python file that registers your extractor or method; repeatable."
        ),
    ],
)
def evaluate(
    options: Options,
    samples: _Samples,
    shards: _Shards = False,
    resize: _Resize = None,
    method_name: Annotated[str, typer.Option(help="What to call the model in tables and in the record.")] = "unnamed",
    seed: _Seed = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for record and figures. Default: under --runs-dir.")
    ] = None,
) -> None:
    """Measure samples from any model: no training stack, no checkpoint needed.

    Labels are class indices in the data set's order, which 'data show' prints ('folder': largest class first). Another
    number of samples than the protocol's is measured too, and the protocol is then called '+custom'. Features are
    cached by content, so an evaluation that was stopped continues where it was.

    Examples:

        ltgen-bench evaluate samples.npz --dataset cifar10lt --method-name "my GAN"

        ltgen-bench evaluate seed0.npz seed1.npz seed2.npz --dataset cifar10lt --method-name "my GAN" --seed 0
    """
    from ltgen_bench.evaluation.sample_sources import load_samples
    from ltgen_bench.runs.external import evaluate_external
    from ltgen_bench.runs.resolve import resolve

    options.load_plugins()
    is_run = is_run_folder(samples)
    layers, samples = source_layers(options, samples)
    if is_run:
        method_name = str(layers["method"]["name"]) if method_name == "unnamed" else method_name
        seed = layers.get("seed") if seed is None else seed
    if resize is not None:
        layers = merge(layers, {"protocol": {"resize": resize}})
    where, progress = options.places(), options.progress()
    if options.path is not None:
        progress.say(f"reading the images in {options.path} (decoded the first time, then cached)")
    resolved = resolve(layers, options.data_root)
    labelled = resolved.config.labelled
    cache = options.data_root / ".cache" / "samples"
    measured = []
    for number, files in enumerate(sets := sets_of_samples(samples, shards)):
        loaded = load_samples(files, resolved.dataset.class_names, cache, labelled=labelled)
        own = out if out is None or len(sets) == 1 else out / str(number)
        of = seed if len(sets) == 1 else (seed or 0) + number
        measured.append(
            evaluate_external(
                loaded, resolved, where, progress, source=", ".join(map(str, files)), name=method_name, seed=of,
                runs_dir=options.runs_dir, out=own,
            )
        )  # fmt: skip
    _report(measured, options.as_json)


def sets_of_samples(samples: list[Path], shards: bool) -> list[list[Path]]:
    """The files of each set: several .npz are one a seed, unless they are shards; anything else is one set."""
    several = len(samples) > 1 and all(path.suffix == ".npz" for path in samples)
    return [[path] for path in samples] if several and not shards else [samples]


def is_run_folder(samples: list[Path]) -> bool:
    """Whether the argument of a command that takes samples is a run."""
    return len(samples) == 1 and (samples[0] / "config.toml").is_file()


def source_layers(options: Options, samples: list[Path]) -> tuple[dict[str, Any], list[Path]]:
    """Configuration layers, and the files to read, of samples or of a run that has some."""
    if is_run_folder(samples):
        return _run_as_source(options, samples[0])
    return _layers_of_external(options), samples


def _report(measured: list[tuple[Path, Record]], as_json: bool) -> None:
    """Tables, or JSON: a record, and a list of them for several seeds."""
    if as_json:
        records = [record.model_dump(mode="json") for _, record in measured]
        print_json(records[0] if len(records) == 1 else records)
        return
    from ltgen_bench.evaluation.report import record_tables

    for folder, record in measured:
        parts: list[Any] = [*record_tables(record), "", f"record   {folder / 'record.json'}"]
        parts += [f"figures  {folder / name}" for name in FIGURES if (folder / name).exists()]
        print_tables(parts)
    if len(measured) > 1:
        print_tables([f"compare  ltgen-bench compare {' '.join(str(folder) for folder, _ in measured)} OTHERS"])


def _run_as_source(options: Options, run: Path) -> tuple[dict[str, Any], list[Path]]:
    """The layers of a run's own configuration, and its samples."""
    from ltgen_bench.runs.folder import RunFolder

    for name in ("dataset", *DATASET_DETAILS.split()):
        if getattr(options, name) is not None:
            raise ConfigError(f"{run} is a run and knows its data set; leave out --{name.replace('_', '-')}")
    folder = RunFolder(run)
    return configuration_layers(replace(options, config=folder.config)), [folder.samples]


def _layers_of_external(options: Options) -> dict[str, Any]:
    if options.dataset is None:
        raise ConfigError("which data set are the samples of? give --dataset; 'ltgen-bench list datasets' lists them")
    layers = configuration_layers(options)
    # unconditional samples have no guidance, whatever the data set's recipe says
    unconditional = (layers.get("sampling") or {}).get("conditioning") == Conditioning.NONE
    return merge(layers, {"sampling": {"guidance_scale": 0.0}}) if unconditional else layers
