"""`export` and `import`: finished runs that travel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ltgen_bench.cli.options import Options, offers
from ltgen_bench.cli.output import print_json

if TYPE_CHECKING:
    from ltgen_bench.metrics import GaussianStatistics


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("export")(export)
    app.command("import")(import_)


@offers("run out reference_statistics data_root weights plugins device as_json quiet")
def export(
    options: Options,
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.", metavar="RUN")],
    out: Annotated[Path, typer.Argument(help="The folder to write; it must not exist.", metavar="DIR")],
    reference_statistics: Annotated[
        bool,
        typer.Option(
            "--reference-statistics",
            help="Also the reference's mean and covariance: whoever has them computes the distance without its images.",
        ),
    ] = False,
) -> None:
    """Write a finished run as a folder to publish: averaged weights, samples, record, model card, sha256 of each.

    'ltgen-bench import DIR' makes a run of it again, anywhere. Upload the folder as it is to a model hub or an archive,
    and hand in its addresses with 'submit --samples-url ... --weights-url ...'.

    Example: ltgen-bench export runs/digits-lt/coral/2f8ed00e48-s0 coral-digits
    """
    options.load_plugins()
    from ltgen_bench.leaderboard.exchange.bundle import export_run

    files = export_run(run, out, _statistics(options, run) if reference_statistics else None)
    if options.as_json:
        print_json({"folder": str(out), "files": {name: path.stat().st_size for name, path in files.items()}})
        return
    for name, path in files.items():
        print(f"{path.stat().st_size:>12,}  {name}")
    print(f"written to {out}; its README.md is the model card")


@offers("bundle runs_dir as_json quiet")
def import_(
    options: Options,
    bundle: Annotated[Path, typer.Argument(help="A folder that 'export' wrote.", metavar="DIR")],
) -> None:
    """Make a run of somebody's exported folder, after checking that everything in it belongs together.

    Sizes, names and sha256 first; then the record, its configuration and its samples. The run can be sampled,
    evaluated, compared and submitted like one of your own. Exit code 2 and one line when something does not fit.

    Example: ltgen-bench import coral-digits
    """
    from ltgen_bench.leaderboard.exchange.bundle import place_bundle, read_bundle
    from ltgen_bench.runs.folder import run_path

    found = read_bundle(bundle)
    path = run_path(options.runs_dir, found.config, found.record.dataset.name)
    place_bundle(found, path)
    if found.record.method.code_sha256 is not None:
        options.progress().say("its method is a plug-in: give the file with --plugin to sample from it")
    if options.as_json:
        print_json({"run": str(path)})
    else:
        print(path)


def _statistics(options: Options, run: Path) -> GaussianStatistics:
    """Mean and covariance of what the run was compared with, in the protocol's network."""
    from ltgen_bench.core.devices import measuring_device, resolve_device
    from ltgen_bench.evaluation.compared import reference_of
    from ltgen_bench.evaluation.evaluate import Evaluator
    from ltgen_bench.metrics import gaussian_statistics
    from ltgen_bench.runs.loaded import load_run

    loaded = load_run(run, data_root=options.data_root)
    dataset, protocol = loaded.dataset, loaded.record.protocol
    reference = reference_of(dataset, protocol)[1]
    device = measuring_device(resolve_device(options.device or "auto"))
    sets = Evaluator(options.places(), device, progress=options.progress()).feature_sets(protocol)
    return gaussian_statistics(sets.of_images("reference", reference.images))
