"""`train-classifier`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ltgen_bench.cli.layers import written_method
from ltgen_bench.cli.options import DATASET_DETAILS, Options, is_first_process, offers
from ltgen_bench.cli.output import print_json, print_tables
from ltgen_bench.cli.run import prepared
from ltgen_bench.core.mappings import read_toml


def add_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command("train-classifier")(train_classifier)


@offers(
    f"dataset seed {DATASET_DETAILS} out overrides config runs_dir data_root plugins device speed as_json quiet debug"
)
def train_classifier(
    options: Options,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to copy it. Default: its folder under --runs-dir.")
    ] = None,
) -> None:
    """Train a classifier of noisy images, whose gradient guides any diffusion method.

    Its keys are method.classifier.* ('ltgen-bench explain classifier' has them). The noise schedule is diffusion.*, and
    has to be that of the model it guides: --config RUN/config.toml takes it and the data set from a run. The same
    command resumes. --method ddpm-cg brings its own and needs none.

    Examples:

        ltgen-bench train-classifier --dataset digits-lt -o digits.safetensors

        ltgen-bench train-classifier --config RUN/config.toml --set method.classifier.class_sampling=balanced

        ltgen-bench run --method coral --set sampling.guidance=classifier --set sampling.classifier=digits.safetensors
    """
    file = read_toml(options.config) if options.config else {}
    section = file.get("method")
    own = written_method(file) if isinstance(section, dict) and "classifier" in section else None
    work = prepared(replace(options, method=own or "ddpm-cg"), evaluate=False)
    from ltgen_bench.core.distributed import join_world, leave_world, lost_processes
    from ltgen_bench.runs.classifiers import train_classifier as train

    with lost_processes(join_world()):
        facts = train(work.resolved, options.runs_dir, work.progress, out)
    leave_world()
    if not is_first_process():
        return
    if options.as_json:
        print_json(facts)
        return
    right = ", ".join(f"{share:.0%} at t = {level}" for level, share in facts["reference_accuracy"].items())
    print_tables(
        [
            f"classifier  {facts['classifier']}",
            f"sha256      {facts['sha256']}",
            f"right       {right} (reference images)",
            "next        ltgen-bench run --set sampling.guidance=classifier --set "
            f"sampling.classifier={facts['classifier']}",
        ]
    )
