"""`metrics`: every number from features alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ltgen_bench.cli import options as o
from ltgen_bench.cli.output import print_json, print_tables
from ltgen_bench.core.errors import ConfigError, DeviceError, SamplesError

if TYPE_CHECKING:
    from ltgen_bench.datasets import Dataset
    from ltgen_bench.metrics import MetricSettings


def add_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command("metrics")(metrics)


def metrics(
    generated: Annotated[Path, typer.Argument(help="Features of generated samples.", metavar="GENERATED.npz")],
    reference: Annotated[
        Path, typer.Argument(help="Features of real images, or statistics mu, sigma, n.", metavar="REFERENCE.npz")
    ],
    only: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: fid, per_class_fid, kid, inception_score, prd, precision_recall, memorisation. "
            "Default: all."
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="Take class names and head/medium/tail groups from this data set."),
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
    overrides: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="A metric setting, such as k=5 or prd_runs=3; repeatable."),
    ] = [],  # noqa: B006 - typer reads the default
    data_root: o.DataRoot = Path("data"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda, for precision, recall, density, coverage.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all.")] = 0,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Compare two sets of features. Nothing but features is needed: no images, no network, no checkpoint.

    Each .npz has 'features' (N, D) and may have 'labels' (N,), 'probabilities' (N, K) for the Inception Score and
    'manifold_features' (N, D2) for precision and recall. Probabilities with one column a class also give the label
    accuracy. What cannot be computed is null, with the reason in 'notes'. What each number is, and which input it
    needs, is in ltgen_bench/metrics/README.md.

    Example: ltgen-bench metrics generated.npz reference.npz --only fid,prd --json
    """
    from ltgen_bench.core.devices import cpu_threads, resolve_device
    from ltgen_bench.evaluation.feature_files import (
        read_features,
        read_reference,
        reference_statistics,
        write_statistics,
    )
    from ltgen_bench.metrics import MemorisationInputs, check_metric_names, compute_metrics

    if export_statistics is not None and export_statistics.is_dir():
        raise ConfigError(f"--export-statistics {export_statistics} is a folder; name the .npz file to write")
    names = check_metric_names(None if only is None else [name.strip() for name in only.split(",") if name.strip()])
    settings = _settings(overrides, fid_infinity)
    where = resolve_device(device)
    if where.type == "mps":  # which has no float64
        raise DeviceError("--device is mps and metrics are computed on cpu or cuda; use --device cpu")
    ours, theirs = read_features(generated), read_reference(reference)
    known = _dataset(dataset, data_root)
    class_count = known.class_count if known else None
    if class_count is None and ours.labels is not None:
        labels = [ours.labels] + (
            [theirs.features.labels] if theirs.features and theirs.features.labels is not None else []
        )
        class_count = 1 + max(int(each.max()) for each in labels)
    classifier = (
        ours.probabilities is not None and ours.labels is not None and ours.probabilities.shape[1] == class_count
    )
    copies = None
    if training is not None:
        train = read_features(training)
        copies = MemorisationInputs(
            training_features=train.features,
            training_labels=train.labels,
            held_out_features=None if held_out is None else read_features(held_out).features,
        )
    elif held_out is not None:
        raise ConfigError("--held-out is compared with the training images: give --training as well")
    progress = o.make_progress(quiet)
    with cpu_threads(threads):
        report = compute_metrics(
            ours,
            theirs.features,
            settings=settings,
            class_count=class_count,
            groups=known.groups.as_dict() if known else None,
            only=names,
            classifier_probabilities=ours.probabilities if classifier else None,
            training=copies,
            reference_statistics=theirs.statistics,
            progress=progress.say,
            device=str(where),
        )
    if as_json:
        print_json(report.to_dict())
    else:
        from ltgen_bench.evaluation.report.tables import metric_tables

        print_tables(
            metric_tables(
                report.to_dict(),
                heading=f"{generated.name} against {reference.name}, {len(ours.features):,} samples",
                label="Frechet distance",
                class_names=known.class_names if known else [str(index) for index in range(class_count or 0)],
                class_counts=known.class_counts if known else None,
            )
        )
    if export_statistics is not None:  # last: a full disk must not cost the numbers
        with cpu_threads(threads):
            write_statistics(export_statistics, reference_statistics(theirs))


def _settings(overrides: list[str], fid_infinity: bool) -> MetricSettings:
    """Metric settings with KEY=VALUE overrides."""
    import dataclasses

    from ltgen_bench.core.config import parse_overrides
    from ltgen_bench.core.errors import did_you_mean
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
    from ltgen_bench.datasets import load_dataset

    if name == "folder":
        raise SamplesError("--dataset folder has no classes without its --path; leave --dataset out")
    return load_dataset(DatasetConfig(name=name), data_root)
