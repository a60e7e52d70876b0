"""`analyze`: how far the classes lie apart in what trained models make of real images."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltgen_bench.cli.options import Options, offers
from ltgen_bench.cli.output import print_json, print_tables
from ltgen_bench.core.errors import ConfigError, UserError

if TYPE_CHECKING:
    from ltgen_bench.runs.analysis.analyze import Analysis
    from ltgen_bench.runs.analysis.settings import AnalysisSettings

_Levels = Annotated[
    str | None, typer.Option("--t", help="Noise levels, 1 to diffusion.timesteps. Default: 11,100,300,500.")
]
_Label = Annotated[
    str | None,
    typer.Option(help="Whether the network is told the class: withheld, given or both. Default: withheld."),
]
_Images = Annotated[
    str | None,
    typer.Option(help="reference (balanced), train, or unseen (that nobody trained on). Default: reference."),
]
_Noise = Annotated[str | None, typer.Option(help="on: add the noise of level t; off: clean images. Default: on.")]
_AsPublished = Annotated[
    bool,
    typer.Option(
        "--as-published",
        help="As CORAL's code makes its maps: clean training images, t = 100, the class fed in. They show the label.",
    ),
]
_Maps = Annotated[str | None, typer.Option(help="Draw maps: tsne, umap, localmap, comma-separated ([maps]).")]
_Control = Annotated[
    bool, typer.Option("--untrained", help="Beside each run the network that it began with, as a control.")
]
_Correlate = Annotated[
    bool, typer.Option("--correlate", help="Over the runs: does separation go with the records' quality?")
]
_Runs = Annotated[list[Path], typer.Argument(help="Folders of trained runs, of one data set.", metavar="RUN...")]
_Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder for maps. Default: the first run's analysis/.")]


def add_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command("analyze")(analyze)


@offers(
    "runs levels label images noise as_published untrained correlate maps out data_root plugins device as_json quiet "
    "debug"
)
def analyze(
    options: Options,
    runs: _Runs,
    levels: _Levels = None,
    label: _Label = None,
    images: _Images = None,
    noise: _Noise = None,
    as_published: _AsPublished = False,
    untrained: _Control = False,
    correlate: _Correlate = False,
    maps: _Maps = None,
    out: _Out = None,
) -> None:
    """How far the classes lie apart in the bottleneck of trained models: numbers with intervals, and maps.

    Share of neighbours of the same class, silhouette, linear probe and more, overall, by group and by class, at every
    noise level. By default the class is withheld: fed in, every method's bottleneck separates the classes perfectly,
    because it shows the label. What was computed is kept in each run's analysis/ and, for finished runs, in the record.

    Examples:

        ltgen-bench analyze runs/digits-lt/ddpm/*-s0 runs/digits-lt/coral/*-s0

        ltgen-bench analyze runs/digits-lt/*/*-s0 --t 100 --maps tsne,umap,localmap --out maps
    """
    options.load_plugins()
    settings = _settings(as_published, levels, label, images, noise)
    kinds = [] if maps is None else maps.split(",")
    from ltgen_bench.evaluation.report.embedding import check_maps
    from ltgen_bench.runs.analysis.analyze import analyze as analyze_runs
    from ltgen_bench.runs.analysis.maps import draw_maps
    from ltgen_bench.runs.analysis.section import keep_in_records

    check_maps(tuple(kinds))
    with options.progress() as progress:
        analysis = analyze_runs(
            runs, settings, untrained=untrained, data_root=options.data_root, device=options.device or "auto",
            progress=progress,
        )  # fmt: skip
        keep_in_records(analysis, progress)
        pictures = draw_maps(analysis, kinds, out or runs[0] / "analysis", progress=progress) if kinds else []
    found = _correlations(analysis) if correlate else None
    if options.as_json:
        more = {} if found is None else {"correlations": found}
        print_json({**analysis.to_dict(), **more, "maps": list(map(str, pictures))})
        return
    print_tables([*_tables(analysis), *([] if found is None else _correlation_table(found))])
    for path in pictures:
        print(f"map  {path}")


def _settings(
    as_published: bool, levels: str | None, label: str | None, images: str | None, noise: str | None
) -> AnalysisSettings:
    from ltgen_bench.runs.analysis import settings

    if as_published:
        if any(value is not None for value in (levels, label, images, noise)):
            raise ConfigError("--as-published is --images train --t 100 --label given --noise off; leave those out")
        return settings.as_published()
    if noise not in (None, "on", "off"):
        raise ConfigError(f"--noise is on or off; got {noise!r}")
    try:
        chosen: dict[str, Any] = {} if levels is None else {"t": tuple(int(part) for part in levels.split(","))}
    except ValueError:
        raise ConfigError(f"--t wants noise levels such as 11,100; got {levels!r}") from None
    if label is not None:
        chosen["labels"] = ("withheld", "given") if label == "both" else (label,)
    if images is not None:
        chosen["images"] = images
    return settings.AnalysisSettings(**chosen, noise=noise != "off")


_COLUMNS = (
    ("knn_purity", "all", "neighbours of the same class: all"),
    ("knn_purity", "many", "head"),
    ("knn_purity", "medium", "medium"),
    ("knn_purity", "few", "tail"),
    ("neighbours_in:many", "few", "tail's neighbours in the head"),
    ("silhouette", "all", "silhouette"),
    ("nearest_mean_accuracy", "all", "nearest mean"),
    ("probe_accuracy", "all", "linear probe"),
    ("nc1", "all", "NC1 (lower)"),
)


def _tables(analysis: Analysis) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    from ltgen_bench.metrics.separation import NEIGHBOURS
    from ltgen_bench.runs.analysis.summary import by_method

    summary = by_method(analysis.rows)
    found: list[Any] = []
    for t in analysis.settings.t:
        for label in analysis.settings.labels:
            rows = {(r["method"], r["metric"], r["group"]): r for r in summary if (r["t"], r["label"]) == (t, label)}
            table = Table(title=Text(f"t = {t}, class {label}"), title_justify="left")
            table.add_column("method")
            for _, _, title in _COLUMNS:
                table.add_column(title, justify="right", overflow="fold")
            for method in dict.fromkeys(method for method, _, _ in rows):
                cells = [_cell(rows.get((method, metric, group))) for metric, group, _ in _COLUMNS]
                seeds = max(rows[key]["n"] for key in rows if key[0] == method)
                table.add_row(Text(f"{method} (n = {seeds})"), *cells)
            found.append(table)
    images = analysis.images
    drawn = f"{len(images.images):,} of {images.available:,} images"
    found.append(Text(f"{analysis.settings.caption()}; {drawn}, k = {NEIGHBOURS}"))
    found.append(
        "mean ± standard deviation over seeds; with one seed (95 % interval: other images of the same classes). "
        "--json has every class, chance, effective ranks and who neighbours whom"
    )
    return found


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or row["mean"] is None:
        return "-"
    if row["std"] is not None:
        return f"{row['mean']:.3f} ± {row['std']:.3f}"
    return f"{row['mean']:.3f}" if row["low"] is None else f"{row['mean']:.3f} ({row['low']:.3f}-{row['high']:.3f})"


def _correlations(analysis: Analysis) -> list[dict[str, Any]]:
    from ltgen_bench.evaluation.record_files import read_record
    from ltgen_bench.runs.analysis.summary import correlations

    records = {}
    for subject in (one for one in analysis.subjects if not one.untrained):
        path = subject.run.folder
        if path.record.is_file():
            with contextlib.suppress(UserError):  # said where the numbers were to be written into it
                records[str(path.path)] = read_record(path.record)
    return correlations([row for row in analysis.rows if "untrained" not in row["method"]], records)


def _correlation_table(found: list[dict[str, Any]]) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text("rank correlation of the neighbours' share with quality, over runs"), title_justify="left")
    for column in ("t", "class", "share of", "with", "runs", "rho (95 % interval)", "p"):
        table.add_column(column)
    for row in found:
        if row["rho"] is None:
            words = [row["reason"], "-"]
        else:
            words = [f"{row['rho']:+.2f} ({row['low']:+.2f} ... {row['high']:+.2f})", f"{row['p']:.3f}"]
        place = {"all": "all classes", "few": "the tail"}[row["group"]]
        table.add_row(str(row["t"]), row["label"], place, row["quality"], str(row["runs"]), *words)
    return [table]
