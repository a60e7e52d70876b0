"""`evaluate`: every number of the protocol for anybody's samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ltgen_bench.cli import options as o
from ltgen_bench.cli.layers import configuration_layers
from ltgen_bench.cli.output import print_json, print_tables
from ltgen_bench.core.choices import Conditioning
from ltgen_bench.core.config import merge
from ltgen_bench.core.errors import ConfigError

FIGURES = ("samples.png", "per-class.png", "closest-pairs.png")


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("evaluate")(evaluate)


def evaluate(
    samples: Annotated[
        list[Path],
        typer.Argument(
            help="An .npz with arr_0 uint8 (N,H,W,C) and labels (N,); several such shards; images.npy labels.npy; a "
            "folder of class folders; or a run's folder.",
            metavar="SAMPLES",
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="Data set that the samples are of; see 'list datasets'.  [required]"),
    ] = None,
    imbalance: o.Imbalance = None,
    per_class: o.PerClass = None,
    path: o.DataPath = None,
    reference_path: o.ReferencePath = None,
    image_size: o.ImageSize = None,
    protocol: o.ProtocolName = None,
    features: o.Features = None,
    resize: Annotated[
        Literal["antialias"] | None, typer.Option(help="Resize samples of another size; recorded, and '+custom'.")
    ] = None,
    method_name: Annotated[str, typer.Option(help="What to call the model in tables and in the record.")] = "unnamed",
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", "-s", help="Seed of the model that made the samples; recorded for 'compare', changes no number."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for record and figures. Default: under --runs-dir.")
    ] = None,
    overrides: o.Overrides = [],  # noqa: B006 - typer reads the default
    runs_dir: o.RunsDir = Path("runs"),
    data_root: o.DataRoot = Path("data"),
    weights: o.Weights = [],  # noqa: B006
    plugins: Annotated[
        list[Path],
        typer.Option(
            "--plugin", metavar="FILE.py", help="A Python file that registers your extractor or method; repeatable."
        ),
    ] = [],  # noqa: B006
    device: o.Device = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Measure samples from any model: no training stack, no checkpoint needed.

    Labels are class indices in the data set's order, which 'data show' prints ('folder': largest class first). Another
    number of samples than the protocol's is measured too, and the protocol is then called '+custom'. Features are
    cached by content, so an evaluation that was stopped goes on where it was.

    Example: ltgen-bench evaluate samples.npz --dataset cifar10lt --method-name "my GAN"
    """
    from ltgen_bench.evaluation.sample_sources import load_samples
    from ltgen_bench.runs.external import evaluate_external
    from ltgen_bench.runs.folder import RunFolder
    from ltgen_bench.runs.resolve import resolve

    data_root = data_root.expanduser()
    o.load_plugins(plugins)
    if len(samples) == 1 and (samples[0] / "config.toml").is_file():
        own = {
            "--dataset": dataset, "--imbalance": imbalance, "--per-class": per_class, "--path": path,
            "--reference-path": reference_path, "--image-size": image_size,
        }  # fmt: skip
        for option, value in own.items():
            if value is not None:
                raise ConfigError(f"{samples[0]} is a run and knows its data set; leave out {option}")
        folder = RunFolder(samples[0])
        layers = configuration_layers(
            config=folder.config, overrides=overrides, protocol=protocol, features=features, device=device
        )
        method_name = str(layers["method"]["name"]) if method_name == "unnamed" else method_name
        seed = layers.get("seed") if seed is None else seed
        samples = [folder.samples]
    elif dataset is None:
        raise ConfigError("which data set are the samples of? give --dataset; 'ltgen-bench list datasets' lists them")
    else:
        layers = configuration_layers(
            config=None, overrides=overrides, dataset=dataset, imbalance=imbalance, per_class=per_class, path=path,
            reference_path=reference_path, image_size=image_size, protocol=protocol, features=features, device=device,
        )  # fmt: skip
        # unconditional samples have no guidance, whatever the data set's recipe says
        unconditional = (layers.get("sampling") or {}).get("conditioning") == Conditioning.NONE
        layers = merge(layers, {"sampling": {"guidance_scale": 0.0}} if unconditional else {})
    if resize is not None:
        layers = merge(layers, {"protocol": {"resize": resize}})
    where, progress = o.places(data_root, weights), o.make_progress(quiet)
    if path is not None:
        progress.say(f"reading the images in {path} (decoded the first time, then cached)")
    resolved = resolve(layers, data_root)
    labelled = resolved.config.sampling.labelled
    cache = data_root / ".cache" / "samples"
    loaded = load_samples(samples, resolved.dataset.class_names, cache, labelled=labelled)
    folder_out, record = evaluate_external(
        loaded, resolved, where, progress, source=", ".join(map(str, samples)), name=method_name, seed=seed,
        runs_dir=runs_dir, out=out,
    )  # fmt: skip
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    from ltgen_bench.evaluation.report import record_tables

    parts: list[Any] = [*record_tables(record), "", f"record   {folder_out / 'record.json'}"]
    parts += [f"figures  {folder_out / name}" for name in FIGURES if (folder_out / name).exists()]
    print_tables(parts)
