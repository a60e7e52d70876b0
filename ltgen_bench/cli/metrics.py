"""`metrics`: every number from features alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltgen_bench.cli.options import Options, offers
from ltgen_bench.cli.output import print_json, print_tables
from ltgen_bench.core.errors import ConfigError, SamplesError

if TYPE_CHECKING:
    from ltgen_bench.datasets import Dataset
    from ltgen_bench.evaluation.feature_files import Reference
    from ltgen_bench.metrics import FeatureArrays, MemorisationInputs, MetricReport, MetricSettings


def add_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command("metrics")(metrics)


@offers(
    "generated reference only dataset training held_out export_statistics fid_infinity overrides data_root device "
    "threads as_json quiet",
    dataset=Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="Take class names and head/medium/tail groups from this data set."),
    ],
    overrides=Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="A metric setting, such as k=5 or prd_runs=3; repeatable."),
    ],
)
def metrics(
    options: Options,
    generated: Annotated[Path, typer.Argument(help="Features of generated samples.", metavar="GENERATED.npz")],
    reference: Annotated[
        Path, typer.Argument(help="Features of real images, or statistics mu, sigma, n.", metavar="REFERENCE.npz")
    ],
    only: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: fid, per_class_fid, kid, inception_score, prd, precision_recall, vendi, "
            "memorisation. Default: all."
        ),
    ] = None,
    training: Annotated[
        Path | None, typer.Option(help="Features of the training images, for memorisation.", metavar="FILE.npz")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="Features of real images that were not trained on.", metavar="FILE.npz")
    ] = None,
    export_statistics: Annotated[
        Path | None, typer.Option(help="Also write the reference's mu, sigma and n here.", metavar="FILE.npz")
    ] = None,
    fid_infinity: Annotated[
        bool, typer.Option("--fid-infinity", help="Extrapolate FID to infinitely many samples.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda: for neighbours, PRD, per-class FID.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all.")] = 0,
) -> None:
    """Compare two sets of features. Nothing but features is needed: no images, no network, no checkpoint.

    Each .npz has 'features' (N, D) and may have 'labels' (N,), 'probabilities' (N, K) for the Inception Score and
    'manifold_features' (N, D2) for precision and recall. Probabilities with one column a class also give the label
    accuracy. What cannot be computed is null, with the reason in 'notes'. What each number is, and which input it
    needs, is in ltgen_bench/metrics/README.md.

    Example: ltgen-bench metrics generated.npz reference.npz --only fid,prd --json
    """
    from ltgen_bench.core.devices import cpu_threads, measuring_device, resolve_device
    from ltgen_bench.evaluation.feature_files import read_reference, reference_statistics, write_statistics
    from ltgen_bench.metrics import check_metric_names

    if export_statistics is not None and export_statistics.is_dir():
        raise ConfigError(f"--export-statistics {export_statistics} is a folder; name the .npz file to write")
    names = check_metric_names(None if only is None else [name.strip() for name in only.split(",") if name.strip()])
    settings = _settings(options.overrides, fid_infinity)
    where = measuring_device(resolve_device(device, what="--device"), options.progress().say)
    theirs = read_reference(reference)
    with cpu_threads(threads):
        _compare(
            options,
            generated,
            theirs,
            heading=f"{generated.name} against {reference.name}",
            training=_training(training, held_out),
            settings=settings,
            only=names,
            device=str(where),
        )
        if export_statistics is not None:  # last: a full disk must not cost the numbers
            write_statistics(export_statistics, reference_statistics(theirs))


def _compare(options: Options, generated: Path, theirs: Reference, *, heading: str, **arguments: Any) -> None:
    """Compute and print."""
    from ltgen_bench.evaluation.feature_files import read_features
    from ltgen_bench.metrics import compute_metrics

    ours = read_features(generated)
    dataset = _dataset(options.dataset, options.data_root)
    class_count = dataset.class_count if dataset else _class_count(ours, theirs.features)
    columns = None if ours.probabilities is None or ours.labels is None else ours.probabilities.shape[1]
    report = compute_metrics(
        ours,
        theirs.features,
        class_count=class_count,
        groups=dataset.groups.as_dict() if dataset else None,
        classifier_probabilities=ours.probabilities if columns == class_count else None,
        reference_statistics=theirs.statistics,
        progress=options.progress().say,
        **arguments,
    )
    if options.as_json:
        print_json(report.to_dict())
    else:
        _print_tables(report, f"{heading}, {len(ours.features):,} samples", dataset, class_count)


def _print_tables(report: MetricReport, heading: str, dataset: Dataset | None, class_count: int | None) -> None:
    from ltgen_bench.evaluation.report.tables import metric_tables

    print_tables(
        metric_tables(
            report.to_dict(),
            heading=heading,
            label="Frechet distance",
            class_names=dataset.class_names if dataset else [str(index) for index in range(class_count or 0)],
            class_counts=dataset.class_counts if dataset else None,
        )
    )


def _class_count(generated: FeatureArrays, reference: FeatureArrays | None) -> int | None:
    """One more than the largest label of either set; None where the samples have no labels."""
    if generated.labels is None:
        return None
    sets = [generated.labels, None if reference is None else reference.labels]
    return 1 + max(int(labels.max()) for labels in sets if labels is not None)


def _training(training: Path | None, held_out: Path | None) -> MemorisationInputs | None:
    from ltgen_bench.evaluation.feature_files import read_features
    from ltgen_bench.metrics import MemorisationInputs

    if training is None:
        if held_out is not None:
            raise ConfigError("--held-out is compared with the training images: give --training as well")
        return None
    images = read_features(training)
    others = None if held_out is None else read_features(held_out)
    return MemorisationInputs(
        training_features=images.features,
        training_labels=images.labels,
        held_out_features=None if others is None else others.features,
        held_out_labels=None if others is None else others.labels,
    )


def _settings(overrides: list[str], fid_infinity: bool) -> MetricSettings:
    """Metric settings with KEY=VALUE overrides."""
    import dataclasses

    from ltgen_bench.core.errors import did_you_mean
    from ltgen_bench.core.mappings import parse_overrides
    from ltgen_bench.metrics import MetricSettings

    values = parse_overrides(overrides)
    fields = {field.name: type(field.default) for field in dataclasses.fields(MetricSettings)}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(f"unknown metric setting {key!r}; {did_you_mean(key, fields)}")
        wanted = fields[key]
        if wanted is float and type(value) is int:
            values[key] = float(value)
        elif type(value) is not wanted:
            raise ConfigError(f"{key} wants a value of type {wanted.__name__}, got {value!r}")
    if fid_infinity:
        values["fid_infinity"] = True
    return MetricSettings(**values)


def _dataset(name: str | None, data_root: Path) -> Dataset | None:
    if name is None:
        return None
    from ltgen_bench.core.config import DatasetConfig
    from ltgen_bench.datasets import IMAGE_FOLDERS, load_dataset

    if name in IMAGE_FOLDERS:
        raise SamplesError(f"--dataset {name} has no classes without its --path; leave --dataset out")
    return load_dataset(DatasetConfig(name=name), data_root)
