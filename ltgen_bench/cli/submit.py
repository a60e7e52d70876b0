"""`submit`, `validate` and `verify`: numbers on their way into a leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltgen_bench.cli import options as o
from ltgen_bench.cli.layers import configuration_layers
from ltgen_bench.cli.output import print_json
from ltgen_bench.core.errors import ConfigError

if TYPE_CHECKING:
    from ltgen_bench.leaderboard.submission import Submission

Leaderboards = Annotated[Path, typer.Option(help="The folder with records/, published/ and verifications/.")]


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("submit")(submit)
    app.command("validate")(validate)
    app.command("verify")(verify)


def submit(
    sources: Annotated[
        list[Path],
        typer.Argument(help="One per seed: a run's folder, a folder 'evaluate' wrote, or an .npz of samples."),
    ],
    method_name: Annotated[str, typer.Option(help="The method, as tables will show it.")],
    seeds_run: Annotated[
        str, typer.Option(help="Every seed that was run, such as 0,1,2; leaving one out is not accepted.")
    ],
    paper: Annotated[str, typer.Option(help="Authors, title, venue, year.")] = "",
    paper_url: Annotated[str, typer.Option(help="https://...")] = "",
    code_url: Annotated[str, typer.Option(help="https://...")] = "",
    submitter: Annotated[str, typer.Option(help="Who hands it in.")] = "",
    note: Annotated[str, typer.Option(help="What a reader should know, in one line.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Default: LEADERBOARDS/records/DATASET/METHOD-NAME.")
    ] = None,
    leaderboards: Leaderboards = Path("leaderboards"),
    dataset: o.DatasetName = None,
    imbalance: o.Imbalance = None,
    protocol: o.ProtocolName = None,
    runs_dir: o.RunsDir = Path("runs"),
    data_root: o.DataRoot = Path("data"),
    weights: o.Weights = [],  # noqa: B006 - typer reads the default
    device: o.Device = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Make a submission folder (records, checksums, metadata) to commit. Samples are measured first.

    Example: ltgen-bench submit runs/digits-lt/mine/*-s0 runs/digits-lt/mine/*-s1 runs/digits-lt/mine/*-s2
    --seeds-run 0,1,2 --method-name "My method" --paper "A. Author, A title, 2026"
    """
    from ltgen_bench.evaluation.provenance import code_state
    from ltgen_bench.leaderboard.submission import DECLARATION
    from ltgen_bench.leaderboard.submission.create import create_submission, measured_run
    from ltgen_bench.leaderboard.submission.metadata import make_metadata

    seeds = _seeds(seeds_run)
    metadata = make_metadata(
        {
            "method": method_name,
            "paper": paper,
            "paper_url": paper_url,
            "code_url": code_url,
            "submitter": submitter,
            "note": note,
            "seeds_run": seeds,
            "declaration": DECLARATION,
        },
        "submit",
    )
    if len(sources) != len(seeds):
        raise ConfigError(
            f"{len(sources)} runs are given and {len(seeds)} seeds were run ({seeds_run}); "
            "the best of several is not accepted: give one run per seed"
        )
    layers = configuration_layers(
        config=None, overrides=[], dataset=dataset, imbalance=imbalance, protocol=protocol, device=device
    )
    runs = []
    for source, seed in zip(sources, seeds, strict=True):
        folder = source
        if not source.is_dir():
            if dataset is None:
                raise ConfigError(f"which data set are the samples {source} of? give --dataset")
            if code_state().clean is False:
                raise ConfigError(
                    f"{source} would be measured with changed code, which is not accepted; commit it first"
                )
            folder = _measure(source, layers, method_name, seed, runs_dir, data_root, weights, quiet)
        runs.append(measured_run(folder))
    submission = create_submission(runs, metadata, out, leaderboards=leaderboards, data_root=data_root.expanduser())
    _report(submission, as_json)


def validate(
    path: Annotated[Path, typer.Argument(help="A record.json or a submission folder.", metavar="PATH")],
    data_root: o.DataRoot = Path("data"),
    as_json: o.Json = False,
) -> None:
    """Check a record or a submission: schema, hashes, ranges, counts, protocol, split, and every derivable value.

    Exit code 2 and one line when something is wrong.
    """
    from ltgen_bench.evaluation.record_files import MAX_BYTES
    from ltgen_bench.leaderboard.submission import validate_record, validate_submission
    from ltgen_bench.leaderboard.submission.untrusted import read_bytes

    if path.is_dir():
        _report(validate_submission(path, data_root.expanduser()), as_json)
        return
    record = validate_record(read_bytes(path, MAX_BYTES), str(path))
    facts = {
        "valid": True,
        "method": record.method.name,
        "dataset": record.dataset.name,
        "protocol": record.protocol.name,
        "protocol_hash": record.protocol_hash,
        "seed": record.seed,
    }
    if as_json:
        print_json(facts)
    else:
        print(f"{path} is a valid record: {record.method.name} on {record.dataset.name}, {record.protocol.name}")


def verify(
    path: Annotated[Path, typer.Argument(help="A submission folder.", metavar="SUBMISSION")],
    samples: Annotated[list[Path], typer.Option(help="An .npz of one seed's samples; repeatable.")],
    leaderboards: Leaderboards = Path("leaderboards"),
    data_root: o.DataRoot = Path("data"),
    weights: o.Weights = [],  # noqa: B006
    device: o.Device = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Measure a submission's samples again and compare; what agrees becomes 'verified', with your environment.

    Exit code 2 and one line when a number is not met.
    """
    from ltgen_bench.evaluation.provenance import code_state
    from ltgen_bench.leaderboard.submission import validate_submission
    from ltgen_bench.leaderboard.submission.verification import verified_seeds
    from ltgen_bench.leaderboard.submission.verify import verify_samples

    submission = validate_submission(path, data_root.expanduser())
    where, progress = o.places(data_root, weights), o.make_progress(quiet)
    if code_state().clean is False:
        progress.say("the code in this checkout has changes, so the verification will not count; commit first")
    written = []
    for file in samples:
        target, _ = verify_samples(
            submission, file, leaderboards=leaderboards, places=where, device=device or "auto", progress=progress
        )
        written.append(target)
    verified = sorted(verified_seeds(leaderboards, submission))
    if as_json:
        facts: dict[str, Any] = {"verified_seeds": verified, "seeds": sorted(submission.records)}
        print_json({**facts, "files": [str(target) for target in written]})
        return
    for target in written:
        print(f"all numbers met: {target}")
    print(f"{len(verified)} of {len(submission.records)} seeds verified")


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds-run wants seeds such as 0,1,2; got {text!r}") from None
    return seeds


def _measure(
    source: Path,
    layers: dict[str, Any],
    method_name: str,
    seed: int,
    runs_dir: Path,
    data_root: Path,
    weights: list[str],
    quiet: bool,
) -> Path:
    from ltgen_bench.evaluation.samples import read_samples
    from ltgen_bench.runs.external import evaluate_external
    from ltgen_bench.runs.resolve import resolve

    loaded = read_samples(source)
    resolved = resolve(layers, data_root.expanduser())
    where, progress = o.places(data_root, weights), o.make_progress(quiet)
    folder, _ = evaluate_external(
        loaded, resolved, where, progress, source=str(source), name=method_name, seed=seed, runs_dir=runs_dir,
        out=None,
    )  # fmt: skip
    return folder


def _report(submission: Submission, as_json: bool) -> None:
    first = submission.first
    facts: dict[str, Any] = {
        "valid": True,
        "path": str(submission.path),
        "method": submission.metadata.method,
        "dataset": first.dataset.name,
        "protocol": first.protocol.name,
        "protocol_hash": first.protocol_hash,
        "seeds": sorted(submission.records),
        "notes": submission.notes,
    }
    if as_json:
        print_json(facts)
        return
    count = len(submission.records)
    print(
        f"{submission.path} is a valid submission: {submission.metadata.method} on {first.dataset.name}, "
        f"{first.protocol.name}, {count} {'seed' if count == 1 else 'seeds'}"
    )
    for note in submission.notes:
        print(f"note: {note}")
