"""`run`, `train` and `sample`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltgen_bench.cli.layers import configuration_layers
from ltgen_bench.cli.options import DATASET_DETAILS, Options, is_first_process, offers
from ltgen_bench.cli.output import print_json, print_tables
from ltgen_bench.core.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from ltgen_bench.runs.pipeline import Run


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("run")(run)
    app.command("train")(train)
    app.command("sample")(sample)


@offers(
    f"method recipe dataset seed {DATASET_DETAILS} protocol features overrides config runs_dir run_dir data_root "
    "weights plugins device speed track dry_run as_json quiet debug"
)
def run(
    options: Options,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done and what it costs; write nothing.")
    ] = False,
) -> None:
    """Train, sample, evaluate and record one method on one data set.

    Everything is resumable: the same command continues where it stopped, and a finished run prints its record again.
    Without options it runs DDPM on the embedded long-tailed digits, which takes minutes on a laptop.

    Examples:

        ltgen-bench run --method ddpm --dataset cifar100lt

        ltgen-bench run --dataset cifar10lt --imbalance 0.001 --seed 1

        ltgen-bench run --dataset folder --path my-images --image-size 32 --protocol offline-10k.v1

        ltgen-bench run --set training.steps=2000 --set sampling.guidance_scale=0.5
    """
    work = prepared(replace(options, quiet=options.quiet or dry_run), check=not dry_run)
    if dry_run:
        _print_plan(work, options.as_json)
        return
    from ltgen_bench.core.distributed import leave_world
    from ltgen_bench.evaluation.report import record_tables

    record = work.run_all()
    leave_world()
    if not is_first_process():
        return  # under torchrun the first process prints
    if options.as_json:
        print_json(record.model_dump(mode="json"))
        return
    folder = work.folder
    print_tables(
        [
            *record_tables(record),
            "",
            f"record   {folder.record}",
            f"samples  {folder.samples}",
            *(f"figures  {file}" for file in sorted(folder.figures.glob("*.png"), reverse=True)),
        ]
    )


@offers(
    f"method recipe dataset seed {DATASET_DETAILS} overrides config runs_dir run_dir data_root plugins device speed "
    "track as_json quiet debug"
)
def train(options: Options) -> None:
    """Train only; 'sample' and 'run' continue from its folder.

    Example: ltgen-bench train --method ddpm --dataset cifar10lt --set execution.checkpoint_every=5000
    """
    work = prepared(options, evaluate=False)
    from ltgen_bench.core.distributed import leave_world

    facts = work.train_only()
    leave_world()
    if not is_first_process():
        return
    if options.as_json:
        print_json({"run": str(work.folder.path), "checkpoint": str(work.folder.model), **facts})
    else:
        print_tables([f"model  {work.folder.model}", f"next   ltgen-bench sample {work.folder.path}"])


@offers("run_folder count seed out overrides data_root plugins device as_json quiet debug")
def sample(
    options: Options,
    run_folder: Annotated[Path, typer.Argument(help="The folder of a trained run.", metavar="RUN")],
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="How many. Default: the protocol's.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", "-s", min=0, help="Another seed for the samples. Default: the run's.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The .npz to write. Default: in the run's folder.")
    ] = None,
) -> None:
    """Draw samples with uniform labels from a trained run into an ADM-style .npz (arr_0 N,H,W,C and labels).

    Example: ltgen-bench sample runs/digits-lt/ddpm/77c9727649-s0 -n 200 --set sampling.guidance_scale=1 -o guided.npz
    """
    from ltgen_bench.runs.folder import RunFolder

    folder = RunFolder(run_folder)
    if not folder.config.is_file():
        raise ConfigError(f"{run_folder} is not a run: it has no config.toml; give a folder that 'train' or 'run' made")
    for override in options.overrides:
        if not override.startswith(("sampling.", "execution.")):
            raise ConfigError(f"--set {override}: sampling takes the keys sampling.* and execution.* only")
    work = prepared(replace(options, config=folder.config, run_dir=run_folder), check=False)
    if not work.folder.model.is_file():
        raise CheckpointError(
            f"{run_folder} is not fully trained; continue with: "
            f"ltgen-bench train --config {folder.config} --run-dir {run_folder}"
        )
    from ltgen_bench.core.distributed import leave_world

    path, digest = work.sample_only(count, seed, out)
    leave_world()
    if not is_first_process():
        return
    if options.as_json:
        print_json({"samples": str(path), "sha256": digest})
    else:
        free = "" if work.config.labelled else " --set sampling.conditioning=none"
        print_tables(
            [f"samples  {path}", f"next     ltgen-bench evaluate {path} --dataset {work.config.dataset.name}{free}"]
        )


def prepared(options: Options, *, check: bool = True, evaluate: bool = True) -> Run:
    """The run that the options describe; with `check`, make sure that everything it needs is there."""
    options.load_plugins()
    from ltgen_bench.runs.pipeline import Run
    from ltgen_bench.runs.preflight import preflight
    from ltgen_bench.runs.resolve import resolve

    resolved = resolve(configuration_layers(options), options.data_root)
    where, progress = options.places(), options.progress()
    work = Run.at(resolved, options.runs_dir, where, progress, options.run_dir)
    for note in resolved.notes:
        progress.say(f"note: {note}")
    if check:
        preflight(resolved, where, progress, evaluate=evaluate)
    return work


def _print_plan(work: Run, as_json: bool) -> None:
    from ltgen_bench.core.speed import speed_words
    from ltgen_bench.evaluation.places import missing_protocol_weights, refuse_unused_weights
    from ltgen_bench.runs.cost import estimate_cost

    dataset, config = work.resolved.dataset, work.config
    refuse_unused_weights(config.protocol, work.places)
    weights = missing_protocol_weights(config.protocol, work.places)
    missing = [str(file) for file in (*dataset.missing_files(), *weights.values())]
    cost = estimate_cost(work.resolved)
    if as_json:
        print_json(
            {
                "config": config.values(),
                "config_hash": config.hash(),
                "protocol_hash": config.protocol.hash(),
                "run": str(work.folder.path),
                "dataset": {
                    "name": dataset.name,
                    "total": dataset.total,
                    "class_counts": list(dataset.class_counts),
                    "image_shape": list(dataset.image_shape),
                },
                "speed": speed_words(config),
                "cost": cost,
                "missing": missing,
            }
        )
        return
    counts = dataset.class_counts
    lines = [
        config.to_toml(),
        f"# run folder        {work.folder.path}",
        f"# data set          {dataset.name}: {dataset.total:,} images of {'x'.join(map(str, dataset.image_shape))}, "
        f"{dataset.class_count} classes, {max(counts):,} ... {min(counts):,} a class",
    ]
    lines += [f"# speed             {speed_words(config)}"]
    lines += [f"# note              {note}" for note in work.resolved.notes]
    lines += [f"# {key.replace('_', ' '):<24} {_readable(key, value)}" for key, value in cost.items()]
    lines += [f"# MISSING           {file}" for file in missing] or ["# everything it needs is there"]
    print("\n".join(lines))


def _readable(key: str, value: Any) -> str:
    if key.endswith("_bytes"):
        size, unit = float(value), 0
        while size >= 1024 and unit < 4:
            size, unit = size / 1024, unit + 1
        return f"{size:.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"
    if isinstance(value, list):
        return " to ".join(f"{number:,.3g}" for number in value)
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
