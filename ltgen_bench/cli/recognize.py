"""`recognize`: what generated images are worth to a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltgen_bench.cli.evaluate import sets_of_samples
from ltgen_bench.cli.layers import configuration_layers
from ltgen_bench.cli.options import DATASET_DETAILS, Options, offers
from ltgen_bench.cli.output import print_json, print_tables
from ltgen_bench.core.errors import ConfigError

if TYPE_CHECKING:
    from ltgen_bench.datasets import Dataset
    from ltgen_bench.evaluation.recognition import RecognitionTask
    from ltgen_bench.evaluation.samples import Samples

_Sources = Annotated[
    list[Path],
    typer.Argument(
        help="Folders of runs with samples, of one data set; or samples as 'evaluate' takes them, with --dataset.",
        metavar="RUN_OR_SAMPLES",
    ),
]
_Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="cnn-8px, resnet32-32px, resnet10-64px, resnet18-64px, or a .toml file. Default: by the image size.",
        show_default=False,
    ),
]
_Fill = Annotated[
    str, typer.Option(help="Generated images beside real ones: balanced, a number a class, ratio:R, or ldmlr.")
]
_Weight = Annotated[float, typer.Option(min=0, max=1000, help="Weight of a generated image's loss among real ones.")]
_Filter = Annotated[
    bool,
    typer.Option(
        "--filter", help="Leave out generated images that a classifier of the real ones does not take for their class."
    ),
]
_Seeds = Annotated[int, typer.Option(min=1, max=100, help="Classifiers for every training set.")]
_Best = Annotated[
    bool, typer.Option("--show-best", help="Also the best epoch by the test images, the field's habit: optimistic.")
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be trained and how long that takes here; train nothing.")
]
_Out = Annotated[Path | None, typer.Option("--out", "-o", help="Also write the results as JSON to this file.")]


def add_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command("recognize")(recognize)


@offers(
    f"sources recipe fill weight filtered classifiers show_best dry_run dataset {DATASET_DETAILS} out data_root "
    "plugins device as_json quiet debug"
)
def recognize(
    options: Options,
    sources: _Sources,
    recipe: _Recipe = None,
    fill: _Fill = "balanced",
    weight: _Weight = 1.0,
    filtered: _Filter = False,
    classifiers: _Seeds = 3,
    show_best: _Best = False,
    dry_run: _DryRun = False,
    out: _Out = None,
) -> None:
    """Train classifiers on real, generated and filled-up images, and test them on real ones (CAS).

    Real: the long-tailed training set. Generated: as many generated images as that, and as a balanced set. Filled: the
    real ones, every class filled up. All by one recipe and with the same number of steps; what counts is the last
    epoch. Tested on real images that nobody trained on (CIFAR: the official test set; digits: the held-out half).
    Several runs of a method are seeds of it. Results are kept; the same command continues.

    Examples:

        ltgen-bench recognize runs/digits-lt/coral/*-s0

        ltgen-bench recognize samples.npz --dataset cifar10lt --fill ldmlr --dry-run
    """
    from ltgen_bench.core.devices import resolve_device
    from ltgen_bench.core.storage import write_json
    from ltgen_bench.evaluation.recognition import (
        RecognitionSettings,
        RecognitionTask,
        parse_fill,
        recognition_recipe,
        summarise,
    )

    options.load_plugins()
    dataset, named = _sources(options, sources)
    recipe_name, values = recognition_recipe(recipe, dataset.image_shape[1])
    seeds = tuple(range(classifiers))
    settings = RecognitionSettings(recipe_name, values, parse_fill(fill), weight, filtered, seeds, show_best)
    device = resolve_device(options.device or "auto")
    with options.progress() as progress:
        task = RecognitionTask(dataset, settings, options.places().recognition_cache, device, progress)
        if dry_run:
            _print_plan(options, task, named)
            return
        results = _measured(options, task, named)
    summary = {name: summarise(sets) for name, sets in results.items()}
    document = {"summary": summary, "results": results}
    if out is not None:
        write_json(out, document)
    if options.as_json:
        print_json(document)
        return
    first = next(iter(results.values()))[0]
    heading = _heading(first, first["rows"][0]["steps"])
    print_tables([heading, *_tables(summary, show_best, results), *_missing(results)])


def _print_plan(options: Options, task: RecognitionTask, named: list[tuple[str, list[Path], Path | None]]) -> None:
    from ltgen_bench.evaluation.recognition import recognition_plan
    from ltgen_bench.evaluation.recognition.recognize import ARMS

    with task.computing():
        plan = recognition_plan(task, [_samples(options, task, files) for _, files, _ in named])
    if options.as_json:
        print_json(plan)
        return
    rows = [
        {
            "samples": str(named[row["set"]][2] or named[row["set"]][1][0]),
            "trained on": ARMS[row["arm"]],
            "images": f"{row['images']:,}",
            "too few by": f"{row['missing']:,}" if row["missing"] else "",
        }
        for row in plan["rows"]
    ]
    low, high = plan["hours_here"]
    left = plan["classifiers"] - plan["kept"]
    until = f"; training {left} takes about {_duration(low)} to {_duration(high)} on {plan['device']}" if left else ""
    note = ["With --filter the filled set is known when the classifier that filters is trained: shown before it."]
    print_tables(
        [
            _heading(plan, plan["steps"]),
            "",
            _table(rows),
            "",
            *(note if task.settings.filtered else []),
            f"{plan['classifiers']} different classifiers, {plan['kept']} of them kept from before{until}",
        ]
    )


def _duration(hours: float) -> str:
    return f"{60 * hours:.1f} minutes" if hours < 1 else f"{hours:.1f} hours"


def _heading(found: dict[str, Any], steps: int) -> str:
    return (
        f"{found['dataset']}: {found['real_images']:,} real training images, {found['test_images']:,} real test images "
        f"that nobody trained on; {found['settings']['recipe']}, {steps:,} steps, last epoch"
    )


def _samples(options: Options, task: RecognitionTask, files: list[Path]) -> Samples:
    from ltgen_bench.evaluation.sample_sources import load_samples

    return load_samples(files, task.dataset.class_names, options.data_root / ".cache" / "samples")


def _measured(
    options: Options, task: RecognitionTask, named: list[tuple[str, list[Path], Path | None]]
) -> dict[str, list[dict[str, Any]]]:
    """The results by method; those of a run are kept in its folder as well."""
    from ltgen_bench.core.storage import write_json
    from ltgen_bench.evaluation.recognition import recognize

    results: dict[str, list[dict[str, Any]]] = {}
    with task.computing():
        for name, files, run in named:
            task.progress.say(f"{name}: {', '.join(map(str, files))}")
            result = recognize(task, _samples(options, task, files))
            results.setdefault(name, []).append(result)
            if run is not None:
                write_json(run / "recognition.json", result)
    return results


def _sources(options: Options, sources: list[Path]) -> tuple[Dataset, list[tuple[str, list[Path], Path | None]]]:
    """The data set; and of each set of samples a name, its files and its run."""
    from ltgen_bench.core.config import DatasetConfig, build
    from ltgen_bench.datasets import load_dataset
    from ltgen_bench.runs.folder import RunFolder, read_run_config

    runs = [path for path in sources if (path / "config.toml").is_file()]
    if runs and len(runs) != len(sources):
        raise ConfigError("give folders of runs, or samples, and not both")
    if not runs:
        if options.dataset is None:
            raise ConfigError("which data set are the samples of? give --dataset; see 'ltgen-bench list datasets'")
        layers = configuration_layers(options)
        dataset = load_dataset(build(DatasetConfig, layers["dataset"], "dataset"), options.data_root)
        return dataset, [("samples", files, None) for files in sets_of_samples(sources, False)]
    if options.dataset is not None:
        raise ConfigError(f"{runs[0]} is a run and knows its data set; leave out --dataset")
    datasets: dict[str, Dataset] = {}
    named: list[tuple[str, list[Path], Path | None]] = []
    for path in runs:
        folder = RunFolder(path)
        config = read_run_config(folder.config)
        if not folder.samples.is_file():
            raise ConfigError(f"{path} has no samples yet: 'ltgen-bench run' or 'sample' draws them")
        own = load_dataset(config.dataset, options.data_root)
        datasets[own.name] = own
        named.append((str(config.method["name"]), [folder.samples], path))
    if len(datasets) > 1:
        raise ConfigError(f"runs of one data set, please; these are of {', '.join(sorted(datasets))}")
    return next(iter(datasets.values())), named


def _tables(summary: dict[str, Any], show_best: bool, results: dict[str, list[dict[str, Any]]]) -> list[Any]:
    from ltgen_bench.evaluation.recognition.recognize import ARMS
    from ltgen_bench.evaluation.recognition.summary import PLACES
    from ltgen_bench.evaluation.report.tables import shown_gain

    rows, gains = [], []
    for name, found in summary.items():
        by = {(row["arm"], row["group"]): row for row in found["accuracy"]}
        for arm in ARMS:
            row = {"method": name, "trained on": arm, **{place: _cell(by[arm, place]) for place in PLACES}}
            if show_best:
                best = [each["best_epoch"] for sets in results[name] for each in sets["rows"] if each["arm"] == arm]
                row["best epoch, optimistic"] = f"{100 * sum(best) / len(best):.1f}"
            rows.append(row)
        gains.append({"method": name} | {gain["group"]: shown_gain(gain) for gain in found["gain"]})
    return [
        "",
        "Top-1 on real images, %, mean over classes",
        _table(rows),
        "",
        "Filled minus real, points (95 % interval)",
        _table(gains),
    ]


def _table(rows: list[dict[str, str]]) -> Any:
    from rich.table import Table

    table = Table()
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*row.values())
    return table


def _cell(row: dict[str, Any]) -> str:
    if row["mean"] is None:
        return "-"
    spread = "" if row["std"] is None else f" ± {100 * row['std']:.1f}"
    return f"{100 * row['mean']:.1f}{spread}"


def _missing(results: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What the samples were too few for."""
    most: dict[str, int] = {}
    for sets in results.values():
        for result in sets:
            for arm, count in result["missing"].items():
                most[arm] = max(most.get(arm, 0), count)
    return [
        f"note: {arm}: {count:,} generated images fewer than it asks for; 'ltgen-bench sample RUN -n N' draws more"
        for arm, count in most.items()
        if count
    ]
