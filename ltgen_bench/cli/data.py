"""`data show`, `data prepare` and `data verify`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ltgen_bench.cli.layers import configuration_layers
from ltgen_bench.cli.options import DATASET_DETAILS, Options, offers
from ltgen_bench.cli.output import print_json, print_tables

if TYPE_CHECKING:
    from ltgen_bench.core.progress import Progress
    from ltgen_bench.datasets import Check, Dataset, Tick

DatasetName = Annotated[str, typer.Argument(help="A data set; see 'list datasets'.", metavar="DATASET")]
DownloadPath = Annotated[
    Path | None,
    typer.Option(
        "--path",
        metavar="FOLDER",
        help="Your download of CelebA, ImageNet or TinyImageNet; for DATASET folder: your folder of class folders. "
        "Default: its place in the data root.",
        show_default=False,
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    data = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Data sets: look at them, prepare and verify them.",
        context_settings={},
    )
    data.command("show")(show)
    data.command("prepare")(prepare)
    data.command("verify")(verify)
    app.add_typer(data, name="data")


@offers(f"dataset {DATASET_DETAILS} overrides plugins data_root as_json", dataset=DatasetName)
def show(options: Options) -> None:
    """Class counts, groups, reference set and fingerprints of a data set. Counts need no pixels on disk.

    Example: ltgen-bench data show cifar10lt --imbalance 0.001
    """
    options.load_plugins()
    summary = _load(options).summary()
    if options.as_json:
        print_json(summary)
        return
    from rich.table import Table
    from rich.text import Text

    group_of = {index: group for group, members in summary["groups"].items() for index in members}
    total = "number of images unknown" if summary["total"] is None else f"{summary['total']:,} images"
    table = Table(title=Text(f"{summary['title']}: {total}"), title_justify="left", box=None, pad_edge=False)
    for column, justify in (("class", "right"), ("name", "left"), ("images", "right"), ("group", "left"), ("", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    counts = summary["class_counts"] or [None] * len(summary["class_names"])
    top = max(count or 1 for count in counts)
    for index, (name, count) in enumerate(zip(summary["class_names"], counts, strict=True)):
        bar = "" if count is None else "█" * max(1, round(40 * count / top))
        table.add_row(str(index), Text(name), "?" if count is None else f"{count:,}", group_of.get(index, ""), bar)
    reference = summary["reference"]
    lines = [
        f"groups       {summary['groups_rule']}",
        f"reference    {reference['name']}: {reference['description']}",
        f"fingerprint  {summary['fingerprint'] or 'unknown until the images are on disk'}",
        f"licence      {summary['licence']}",
    ]
    lines += [f"{word:<12} {summary[f'{word}_rule']}" for word in ("index", "pixel") if summary.get(f"{word}_rule")]
    lines += [f"control      {summary['control']}: so poor that only which classes are rare makes a gap"] * bool(
        summary["control"]
    )
    lines += [f"missing      {missing}" for missing in summary["missing"]]
    lines += [f"remark       {remark}" for remark in summary["remarks"]]
    lines += [f"unknown      {summary['unknown']}"] if summary["unknown"] and not summary["missing"] else []
    print_tables([table, "", *(Text(line) for line in lines)])


@offers(
    "dataset source reference_path image_size cut_seed class_order overrides data_root quiet as_json",
    dataset=DatasetName,
)
def prepare(options: Options, source: DownloadPath = None) -> None:
    """Make a data set ready: download, unpack, or decode your own copy once; then verify it.

    It can be interrupted at any time; the same command continues where it stopped.

    Example: ltgen-bench data prepare imagenet-lt --path /datasets/imagenet
    """
    from ltgen_bench.datasets import IMAGE_FOLDERS

    own = options.dataset in IMAGE_FOLDERS  # whose path is a part of the configuration
    chosen = _load(replace(options, path=source) if own else options)
    with options.progress() as progress:
        bar = _bar(progress, chosen.name)
        chosen.prepare(None if own or source is None else source.expanduser(), progress.say, bar)
        progress.finish()
        _report(chosen, _verify(chosen, options.data_root, progress), options.as_json, "ready")


@offers(f"dataset {DATASET_DETAILS} overrides plugins data_root quiet as_json", dataset=DatasetName)
def verify(options: Options) -> None:
    """Check files, class counts, index list and fingerprints. Exit code 2 and one line when something differs.

    They are compared with the manifest; what no manifest states is computed on first use, kept under the data root,
    and compared the next time.
    """
    options.load_plugins()
    chosen = _load(options)
    with options.progress() as progress:
        _report(chosen, _verify(chosen, options.data_root, progress), options.as_json, "as it should be")


def _load(options: Options) -> Dataset:
    from ltgen_bench.core.config import DatasetConfig, build
    from ltgen_bench.datasets import load_dataset

    layers = configuration_layers(options)
    return load_dataset(build(DatasetConfig, layers["dataset"], "dataset"), options.data_root)


def _verify(dataset: Dataset, data_root: Path, progress: Progress) -> list[Check]:
    from ltgen_bench.datasets import verify_dataset

    return verify_dataset(dataset, data_root, progress.say)


def _report(dataset: Dataset, checks: list[Check], as_json: bool, verdict: str) -> None:
    if as_json:
        print_json(
            {
                "name": dataset.name,
                "total": dataset.total,
                "checks": [{"what": check.what, "value": check.value, "against": check.against} for check in checks],
            }
        )
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("checked", "value", "compared with"):
        table.add_column(column, overflow="fold")
    for check in checks:
        table.add_row(Text(check.what), Text(check.value), Text(check.against))
    print_tables([table, "", Text(f"{dataset.name} is {verdict}: {dataset.total:,} training images")])


def _bar(progress: Progress, name: str) -> Tick:
    """Progress as a bar, which opens with the first number."""
    started = False

    def tick(done: int, total: int) -> None:
        nonlocal started
        if not started:
            started = True
            progress.start(f"preparing {name}", total, "images", done)
        progress.update(done)

    return tick
