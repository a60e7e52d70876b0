"""`submit` and `validate`: numbers on their way into a leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltgen_bench.cli.layers import configuration_layers, know_own_images
from ltgen_bench.cli.options import DATASET_DETAILS, Options, offers
from ltgen_bench.cli.output import print_json
from ltgen_bench.core.errors import ConfigError, MissingFileError

if TYPE_CHECKING:
    from ltgen_bench.leaderboard.submission import Submission


_Scale = Annotated[
    float | None,
    typer.Option(
        help="Of samples made elsewhere: w in eps_c + w (eps_c - eps_u), the cfg_scale of ADM, DiT, diffusers - 1."
    ),
]
_Sources = Annotated[
    list[Path],
    typer.Argument(
        help="One per seed: a run's folder, a folder 'evaluate' wrote, an .npz of samples, or class folders."
    ),
]
_SamplesUrls = Annotated[
    list[str] | None,
    typer.Option(help="Where each source's samples.npz is published (https, s3, hf), in their order; repeatable."),
]
_WeightsUrls = Annotated[
    list[str] | None, typer.Option(help="The same of its trained model (model.safetensors); repeatable.")
]


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("submit")(submit)
    app.command("validate")(validate)


@offers(
    "sources method_name seeds_run paper paper_url code_url submitter note guidance_scale samples_url weights_url out "
    f"leaderboards dataset {DATASET_DETAILS} protocol runs_dir data_root weights plugins device as_json quiet",
    dataset=Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="Of samples made elsewhere: their data set. A run knows its own."),
    ],
)
def submit(
    options: Options,
    sources: _Sources,
    method_name: Annotated[str, typer.Option(help="The method, as tables will show it.")],
    seeds_run: Annotated[
        str, typer.Option(help="Every seed that was run, such as 0,1,2; leaving one out is not accepted.")
    ],
    paper: Annotated[str, typer.Option(help="Authors, title, venue, year.")] = "",
    paper_url: Annotated[str, typer.Option(help="https://...")] = "",
    code_url: Annotated[str, typer.Option(help="https://...")] = "",
    submitter: Annotated[str, typer.Option(help="Who hands it in.")] = "",
    note: Annotated[str, typer.Option(help="What a reader should know, in one line.")] = "",
    guidance_scale: _Scale = None,
    samples_url: _SamplesUrls = None,
    weights_url: _WeightsUrls = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Default: LEADERBOARDS/records/DATASET/METHOD-NAME.")
    ] = None,
) -> None:
    """Make a submission folder (records, checksums, metadata) to commit. Samples are measured first.

    Example: ltgen-bench submit runs/digits-lt/mine/*-s0 runs/digits-lt/mine/*-s1 runs/digits-lt/mine/*-s2
    --seeds-run 0,1,2 --method-name "My method" --paper "A. Author, A title, 2026"
    """
    options.load_plugins()
    know_own_images(options)
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
    _refuse_what_verify_would(options, sources)
    runs = [
        measured_run(_measured(options, source, method_name, seed), seed)
        for source, seed in zip(sources, seeds, strict=True)
    ]
    submission = create_submission(runs, metadata, out, leaderboards=options.leaderboards, data_root=options.data_root)
    _report(submission, options.as_json)
    if not options.as_json:
        _print_next(submission)


def _print_next(submission: Submission) -> None:
    print(f"next: ltgen-bench verify {submission.path} SAMPLES... --model MODEL... (ranks begin with the weights)")
    print("then: ltgen-bench leaderboard build, and commit the folder, its verifications and the tables")


@offers(f"what {DATASET_DETAILS} plugins data_root as_json")
def validate(
    options: Options,
    what: Annotated[Path, typer.Argument(help="A record.json or a submission folder.", metavar="RECORD")],
) -> None:
    """Check a record or a submission: schema, hashes, ranges, counts, protocol, split, and every derivable value.

    Exit code 2 and one line when something is wrong. A submission of your own images is checked with --path, one of a
    data set that a plug-in brings with --plugin.
    """
    options.load_plugins()
    know_own_images(options)
    from ltgen_bench.evaluation.record_files import MAX_RECORD_BYTES
    from ltgen_bench.leaderboard.submission import validate_record, validate_submission
    from ltgen_bench.leaderboard.submission.untrusted import read_bytes

    if what.is_dir() and (what / "record.json").is_file() and not (what / "submission.toml").exists():
        raise ConfigError(f"{what} is a run; validate {what / 'record.json'}, or make a submission of it with 'submit'")
    if what.is_dir():
        _report(validate_submission(what, options.data_root), options.as_json)
        return
    record = validate_record(read_bytes(what, MAX_RECORD_BYTES), str(what))
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
        print(f"{what} is a valid record: {record.method.name} on {record.dataset.name}, {record.protocol.name}")


def _published(
    sources: list[Path], seeds: list[int], samples_url: list[str], weights_url: list[str]
) -> dict[str, dict[str, Any]]:
    """Addresses with the size and hash of the files here, by seed."""
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


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds-run wants seeds such as 0,1,2; got {text!r}") from None
    return seeds


def _is_measured(source: Path) -> bool:
    """Whether a source is a folder that has, or should have, a record: a run, or what `evaluate` wrote."""
    return source.is_dir() and ((source / "record.json").exists() or (source / "config.toml").exists())


def _check_foreign(options: Options, source: Path) -> None:
    """What has to be known of samples before they are read, to be measured here."""
    from ltgen_bench.evaluation.provenance import code_state

    if options.dataset is None and source.is_dir():
        raise MissingFileError(
            f"{source} has no record.json; finish the run, or give --dataset where it holds class folders of samples"
        )
    if options.dataset is None:
        raise ConfigError(f"which data set are the samples {source} of? give --dataset")
    if code_state().clean is False:
        raise ConfigError(f"{source} would be measured with changed code, which is not accepted; commit it first")


def _measured(options: Options, source: Path, method_name: str, seed: int) -> Path:
    """The folder with the record of `source`: itself, or a new one for a file of samples."""
    if _is_measured(source):
        return source
    from ltgen_bench.evaluation.sample_sources import load_samples
    from ltgen_bench.runs.external import evaluate_external
    from ltgen_bench.runs.resolve import resolve

    resolved = resolve(configuration_layers(options), options.data_root)
    loaded = load_samples([source], resolved.dataset.class_names, options.data_root / ".cache" / "samples")
    folder, _ = evaluate_external(
        loaded, resolved, options.places(), options.progress(), source=str(source), name=method_name, seed=seed,
        runs_dir=options.runs_dir, out=None,
    )  # fmt: skip
    return folder


def _refuse_what_verify_would(options: Options, sources: list[Path]) -> None:
    """Ask the samples that are here what `verify` will ask: better said to the submitter than to everybody."""
    from ltgen_bench.core.devices import measuring_device, resolve_device
    from ltgen_bench.evaluation.authenticity import seeds_alike
    from ltgen_bench.evaluation.record_files import read_record
    from ltgen_bench.evaluation.sample_sources import load_samples
    from ltgen_bench.evaluation.samples import Samples, read_samples
    from ltgen_bench.leaderboard.submission import SubmissionError
    from ltgen_bench.leaderboard.submission.departures import dataset_of
    from ltgen_bench.leaderboard.submission.real_images import refuse_copies
    from ltgen_bench.runs.resolve import resolve

    device = str(measuring_device(resolve_device(options.device or "auto")))
    found: dict[int, Samples] = {}
    for position, source in enumerate(sources):
        if not _is_measured(source):
            _check_foreign(options, source)
            dataset = resolve(configuration_layers(options), options.data_root).dataset
            cache = options.data_root / ".cache" / "samples"
            found[position] = load_samples([source], dataset.class_names, cache)
        elif (file := source / "samples" / "samples.npz").is_file():
            record = read_record(source / "record.json")
            dataset = dataset_of(record.dataset.name, options.data_root)
            found[position] = read_samples(file, labelled=record.samples.labelled)
        else:
            continue  # a folder that `evaluate` wrote has the numbers only
        refuse_copies(found[position], dataset, str(source), device=device)
    for one in seeds_alike(found, seed=0, device=device):
        raise SubmissionError(f"{one.words} (counted as they are given, from 0)")


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
