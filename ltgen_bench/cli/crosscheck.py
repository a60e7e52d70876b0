"""`crosscheck`: numbers checked by the field's own tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ltgen_bench.cli.evaluate import source_layers
from ltgen_bench.cli.options import DATASET_DETAILS, Options, offers
from ltgen_bench.cli.output import print_json, print_tables


def add_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command("crosscheck")(crosscheck)


@offers(
    f"samples dataset {DATASET_DETAILS} protocol features overrides data_root weights plugins device as_json quiet "
    "debug",
)
def crosscheck(
    options: Options,
    samples: Annotated[
        list[Path], typer.Argument(help="A run's folder, or samples as 'evaluate' takes them.", metavar="SAMPLES")
    ],
) -> None:
    """Compute FID, KID, Inception Score, precision, recall, density and coverage again with torch-fidelity and prdc.

    Both get the same features; where the network is InceptionV3 with its weights at hand, torch-fidelity extracts its
    own. Needs the extra [peers]. Exit code 1 when a number is outside its tolerance.

    Examples:

        ltgen-bench crosscheck runs/digits-lt/ddpm/77c9727649-s0

        ltgen-bench crosscheck samples.npz --dataset cifar10lt
    """
    from ltgen_bench.core.devices import resolve_device
    from ltgen_bench.evaluation.crosscheck import crosscheck as compare
    from ltgen_bench.evaluation.sample_sources import load_samples
    from ltgen_bench.runs.resolve import resolve

    options.load_plugins()
    layers, files = source_layers(options, samples)
    resolved = resolve(layers, options.data_root)
    labelled = resolved.config.labelled
    cache = options.data_root / ".cache" / "samples"
    loaded = load_samples(files, resolved.dataset.class_names, cache, labelled=labelled)
    device = resolve_device(resolved.config.execution.device)
    found = compare(
        loaded, resolved.dataset, resolved.config.protocol, options.places(), device, progress=options.progress()
    )
    if options.as_json:
        print_json([one.to_dict() for one in found])
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(f"{samples[0]}: ours and the peers'"), title_justify="left")
        for column in ("number", "ours", "theirs", "difference", "tolerance", "", "peer", "what is compared"):
            table.add_column(column, justify="right" if column in ("ours", "theirs", "difference") else "left")
        for one in found:
            cells = (f"{value:.6g}" for value in (one.ours, one.theirs, one.ours - one.theirs, one.tolerance))
            verdict = "agrees" if one.agrees else "DIFFERS"
            table.add_row(one.metric, *cells, verdict, one.peer, Text(one.note))
        print_tables([table])
    if not all(one.agrees for one in found):
        raise typer.Exit(1)
