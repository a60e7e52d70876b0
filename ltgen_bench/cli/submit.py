"""`submit`, `validate` and `verify`: numbers on their way into a leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltgen_bench.cli.layers import configuration_layers
from ltgen_bench.cli.options import Options, offers
from ltgen_bench.cli.output import print_json
from ltgen_bench.core.errors import ConfigError

if TYPE_CHECKING:
    from ltgen_bench.evaluation.record import Record
    from ltgen_bench.leaderboard.submission import Submission


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("submit")(submit)
    app.command("validate")(validate)
    app.command("verify")(verify)


@offers(
    "sources method_name seeds_run paper paper_url code_url submitter note guidance_scale samples_url weights_url out "
    "leaderboards "
    "dataset imbalance protocol runs_dir data_root weights device as_json quiet"
)
def submit(
    options: Options,
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
    guidance_scale: Annotated[
        float | None,
        typer.Option(
            help="Of samples made elsewhere: w in eps_c + w (eps_c - eps_u), the cfg_scale of ADM, DiT, diffusers - 1."
        ),
    ] = None,
    samples_url: Annotated[
        list[str] | None,
        typer.Option(help="Where each source's samples.npz is published (https, s3, hf), in their order; repeatable."),
    ] = None,
    weights_url: Annotated[
        list[str] | None, typer.Option(help="The same of its trained model (model.safetensors); repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Default: LEADERBOARDS/records/DATASET/METHOD-NAME.")
    ] = None,
) -> None:
    """Make a submission folder (records, checksums, metadata) to commit. Samples are measured first.

    Example: ltgen-bench submit runs/digits-lt/mine/*-s0 runs/digits-lt/mine/*-s1 runs/digits-lt/mine/*-s2
    --seeds-run 0,1,2 --method-name "My method" --paper "A. Author, A title, 2026"
    """
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
            "guidance_scale": guidance_scale,
            "seeds_run": seeds,
            "declaration": DECLARATION,
            "files": _published(sources, seeds, samples_url or [], weights_url or []),
        },
        "submit",
    )
    if len(sources) != len(seeds):
        raise ConfigError(
            f"{len(sources)} runs are given and {len(seeds)} seeds were run ({seeds_run}); "
            "the best of several is not accepted: give one run per seed"
        )
    runs = [
        measured_run(_measured(options, source, method_name, seed)) for source, seed in zip(sources, seeds, strict=True)
    ]
    submission = create_submission(runs, metadata, out, leaderboards=options.leaderboards, data_root=options.data_root)
    _report(submission, options.as_json)


@offers("path data_root as_json")
def validate(
    options: Options,
    path: Annotated[Path, typer.Argument(help="A record.json or a submission folder.", metavar="PATH")],
) -> None:
    """Check a record or a submission: schema, hashes, ranges, counts, protocol, split, and every derivable value.

    Exit code 2 and one line when something is wrong.
    """
    from ltgen_bench.evaluation.record_files import MAX_RECORD_BYTES
    from ltgen_bench.leaderboard.submission import validate_record, validate_submission
    from ltgen_bench.leaderboard.submission.untrusted import read_bytes

    if path.is_dir():
        _report(validate_submission(path, options.data_root), options.as_json)
        return
    record = validate_record(read_bytes(path, MAX_RECORD_BYTES), str(path))
    facts = {
        "valid": True,
        "method": record.method.name,
        "dataset": record.dataset.name,
        "protocol": record.protocol.name,
        "protocol_hash": record.protocol_hash,
        "seed": record.seed,
    }
    if options.as_json:
        print_json(facts)
    else:
        print(f"{path} is a valid record: {record.method.name} on {record.dataset.name}, {record.protocol.name}")


@offers("path samples model draw retrain verifier leaderboards runs_dir data_root weights plugins device as_json quiet")
def verify(
    options: Options,
    path: Annotated[Path, typer.Argument(help="A submission folder.", metavar="SUBMISSION")],
    samples: Annotated[
        list[Path] | None,
        typer.Option(help="An .npz of one seed's samples; repeatable. Default: fetched from where it is published."),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(help="The trained model.safetensors behind --samples, in its order: rows are drawn again too."),
    ] = None,
    draw: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many rows --model draws again.")] = 64,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train each seed's configuration again too, in --runs-dir (hours).")
    ] = False,
    verifier: Annotated[
        str, typer.Option(help="Your name or address, which the tables show; without one the row says 'own machine'.")
    ] = "",
) -> None:
    """Check a submission as far as you can, and say so in a file of its own, with your name and environment.

    Samples alone: everything is measured again ('remeasured', no rank), and they are asked whether they can be honest.
    With --model: random rows are drawn again from the weights ('resampled', ranked); --plugin brings the method's code.
    With --retrain: the configuration is trained again ('retrained'). Exit code 2 and one line when something does not
    hold.

    Example: ltgen-bench verify leaderboards/records/digits-lt/mine --samples s0.npz --model s0.safetensors
    """
    options.load_plugins()
    from ltgen_bench.evaluation.provenance import code_state
    from ltgen_bench.leaderboard.submission import validate_submission
    from ltgen_bench.leaderboard.submission.verify import refuse_alike_seeds, verify_samples

    submission = validate_submission(path, options.data_root)
    where, progress = options.places(), options.progress()
    if code_state().clean is False:
        progress.say("the code in this checkout has changes, so the verification will not count; commit first")
    samples, models = samples or [], list[Path | None](model or [])
    if not samples:
        samples, models = _fetched(options, submission)
    models = models or [None for _ in samples]
    if len(models) != len(samples):
        raise ConfigError(f"{len(samples)} files of samples and {len(models)} models; give one --model for each")
    if len(samples) > 1:
        refuse_alike_seeds(submission, samples, device=options.device or "auto")
    written = []
    for file, weights in zip(samples, models, strict=True):
        target, found = verify_samples(
            submission,
            file,
            leaderboards=options.leaderboards,
            places=where,
            verifier=verifier,
            weights=weights,
            draw=draw,
            retrained=_trained_again(options, submission, file) if retrain else None,
            device=options.device or "auto",
            progress=progress,
        )
        written.append(target)
        if found.redrawn_rows:
            progress.say(f"{found.redrawn_rows} rows drawn again from {weights} are equal")
    _report_checks(options, submission, written)


def _published(
    sources: list[Path], seeds: list[int], samples_url: list[str], weights_url: list[str]
) -> dict[str, dict[str, Any]]:
    """Addresses with the size and hash of the files here, by seed."""
    from ltgen_bench.core.errors import MissingFileError
    from ltgen_bench.core.storage import sha256_file

    found: dict[str, dict[str, Any]] = {}
    for what, urls, place in (
        ("samples", samples_url, "samples/samples.npz"),
        ("weights", weights_url, "checkpoints/model.safetensors"),
    ):
        if urls and len(urls) != len(sources):
            raise ConfigError(f"{len(sources)} sources and {len(urls)} --{what}-url; give one for each, in their order")
        for source, seed, url in zip(sources, seeds, urls, strict=False):
            file = source if source.is_file() and what == "samples" else source / place
            if not file.is_file():
                raise MissingFileError(f"--{what}-url needs the file itself for its size and hash; there is no {file}")
            entry = {"url": url, "size": file.stat().st_size, "sha256": sha256_file(file)}
            found.setdefault(str(seed), {})[what] = entry
    return found


def _fetched(options: Options, submission: Submission) -> tuple[list[Path], list[Path | None]]:
    """The published samples, and weights where all seeds have some, of a submission."""
    from ltgen_bench.leaderboard.exchange.fetch import fetch

    published = submission.metadata.files
    if not any(one.samples for one in published.values()):
        raise ConfigError(f"{submission.path} does not say where its samples are published; give --samples FILE")
    folder, samples, models = options.data_root / ".cache" / "fetched", list[Path](), list[Path | None]()
    with options.progress() as progress:
        for one in (published[seed] for seed in sorted(published, key=int) if published[seed].samples):
            for file, kept in ((one.samples, samples), (one.weights, models)):
                if file is not None:
                    progress.start(file.url, file.size, "bytes")
                    kept.append(fetch(file.remote(), folder, progress=lambda done, total: progress.update(done)))
    return samples, models if len(models) == len(samples) else [None for _ in samples]


def _report_checks(options: Options, submission: Submission, written: list[Path]) -> None:
    from ltgen_bench.leaderboard.submission.levels import level_of
    from ltgen_bench.leaderboard.submission.verification import verified_seeds

    checks, seeds = verified_seeds(options.leaderboards, submission), sorted(submission.records)
    level = level_of(checks, len(seeds))
    if options.as_json:
        facts: dict[str, Any] = {"level": level, "verified_seeds": sorted(checks), "seeds": seeds}
        print_json({**facts, "files": [str(target) for target in written]})
        return
    for target in written:
        print(f"all numbers met: {target}")
    missing = [str(seed) for seed in seeds if seed not in checks]
    print(f"{len(checks)} of {len(seeds)} seeds checked; the submission is {level}")
    if missing:
        print(f"still to be checked: seed {', '.join(missing)} (give their --samples)")
    elif level == "remeasured":
        print("ranks begin where rows were drawn again from the weights: give --model for each --samples")


def _trained_again(options: Options, submission: Submission, file: Path) -> Record:
    """The record of a run of the configuration behind `file`, made anew."""
    from ltgen_bench.core.plugins import plugin_code_sha256
    from ltgen_bench.leaderboard.submission import SubmissionError
    from ltgen_bench.leaderboard.submission.verification import find_record, read_untrusted_samples
    from ltgen_bench.runs.pipeline import Run
    from ltgen_bench.runs.resolve import resolve

    seed = find_record(submission, read_untrusted_samples(file, submission.first), str(file))
    method = submission.records[seed].method
    if method.config is None:
        raise SubmissionError("samples that were made elsewhere cannot be trained again here; leave --retrain out")
    resolved = resolve({**method.config, "seed": seed}, options.data_root)
    if method.code_sha256 is not None and plugin_code_sha256(resolved.method_class) != method.code_sha256:
        raise SubmissionError(f"the code of method {method.name!r} here is not the submission's; give its --plugin")
    folder = options.runs_dir / "retrained"
    return Run.at(resolved, folder, options.places(), options.progress()).run_all()


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds-run wants seeds such as 0,1,2; got {text!r}") from None
    return seeds


def _measured(options: Options, source: Path, method_name: str, seed: int) -> Path:
    """The folder with the record of `source`: itself, or a new one for a file of samples."""
    if source.is_dir():
        return source
    from ltgen_bench.evaluation.provenance import code_state
    from ltgen_bench.evaluation.samples import read_samples
    from ltgen_bench.runs.external import evaluate_external
    from ltgen_bench.runs.resolve import resolve

    if options.dataset is None:
        raise ConfigError(f"which data set are the samples {source} of? give --dataset")
    if code_state().clean is False:
        raise ConfigError(f"{source} would be measured with changed code, which is not accepted; commit it first")
    loaded = read_samples(source)
    resolved = resolve(configuration_layers(options), options.data_root)
    folder, _ = evaluate_external(
        loaded, resolved, options.places(), options.progress(), source=str(source), name=method_name, seed=seed,
        runs_dir=options.runs_dir, out=None,
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
