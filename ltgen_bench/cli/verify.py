"""`verify`: a submission checked, as far up the ladder as somebody can."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ltgen_bench.cli.layers import configuration_layers, know_own_images
from ltgen_bench.cli.options import DATASET_DETAILS, Options, offers
from ltgen_bench.cli.output import print_json
from ltgen_bench.core.errors import ConfigError

if TYPE_CHECKING:
    from ltgen_bench.core.progress import Progress
    from ltgen_bench.evaluation.record import Record
    from ltgen_bench.leaderboard.submission import Submission
    from ltgen_bench.leaderboard.submission.verification import Verification


_Models = Annotated[
    list[Path] | None,
    typer.Option(help="The trained model.safetensors behind each of the samples, in order: rows are drawn again."),
]
_Private = Annotated[
    Path | None,
    typer.Option(help="Real images that no submitter has, class folders or an .npz: nearer to the public ones?"),
]


def add_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command("verify")(verify)


@offers(
    f"folder files samples model draw retrain private_reference verifier leaderboards {DATASET_DETAILS} runs_dir "
    "data_root weights plugins device as_json quiet"
)
def verify(
    options: Options,
    folder: Annotated[Path, typer.Argument(help="A submission folder.", metavar="SUBMISSION")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="An .npz of samples a seed. Default: fetched from where they are published.", metavar="[SAMPLES]..."
        ),
    ] = None,
    samples: Annotated[list[Path] | None, typer.Option(help="The same as an option; repeatable.")] = None,
    model: _Models = None,
    draw: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many rows --model draws again.")] = 64,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train each seed's configuration again too, in --runs-dir (hours).")
    ] = False,
    private_reference: _Private = None,
    verifier: Annotated[str, typer.Option(help="Your name or address, for the tables; without: 'own machine'.")] = "",
) -> None:
    """Check a submission as far as you can, and say so in a file of its own, with your name and environment.

    Samples alone: everything is measured again ('remeasured', no rank), and they are asked whether they can be honest.
    With --model: random rows are drawn again from the weights ('resampled', ranked); --plugin brings the method's code.
    With --retrain: the configuration is trained again ('retrained'). Exit code 2 and one line where it does not hold.

    Example: ltgen-bench verify leaderboards/records/digits-lt/mine s0.npz --model s0.safetensors
    """
    options.load_plugins()
    know_own_images(options)
    from ltgen_bench.evaluation.provenance import code_state
    from ltgen_bench.leaderboard.submission import validate_submission
    from ltgen_bench.leaderboard.submission.verify import refuse_alike_seeds, verify_samples

    submission = validate_submission(folder, options.data_root)
    progress = options.progress()
    if code_state().clean is False:
        progress.say("the code in this checkout has changes, so the verification will not count; commit first")
    samples, models = _files(options, submission, [*(files or []), *(samples or [])], model or [])
    device, written = options.device or "auto", []
    if len(samples) > 1:
        refuse_alike_seeds(submission, samples, device=device)
    for file, weights in zip(samples, models, strict=True):
        target, found = verify_samples(
            submission,
            file,
            leaderboards=options.leaderboards,
            places=options.places(),
            verifier=verifier,
            weights=weights,
            draw=draw,
            private=private_reference,
            retrained=_trained_again(options, submission, file) if retrain else None,
            device=device,
            progress=progress,
        )
        written.append(target)
        _say_found(progress, found, weights)
    _report_checks(options, submission, written)


def _say_found(progress: Progress, found: Verification, weights: Path | None) -> None:
    if (half := found.private_half) is not None:
        progress.say(
            f"{half.images:,} public images at {half.public:.3g}, as many private ones at {half.private:.3g}: "
            f"{half.low:+.2g} ... {half.high:+.2g} (z = {half.z:.1f})"
        )
    if found.redrawn_rows:
        progress.say(f"{found.redrawn_rows} rows drawn again from {weights} are equal")


def _fetched(options: Options, submission: Submission) -> tuple[list[Path], list[Path | None]]:
    """The published samples, and weights where all seeds have some, of a submission."""
    from ltgen_bench.leaderboard.exchange.fetch import fetch_remote

    published = submission.metadata.files
    if not any(one.samples for one in published.values()):
        raise ConfigError(f"{submission.path} does not say where its samples are published; give --samples FILE")
    folder, samples, models = options.data_root / ".cache" / "fetched", list[Path](), list[Path | None]()
    with options.progress() as progress:
        for one in (published[seed] for seed in sorted(published, key=int) if published[seed].samples):
            for file, kept in ((one.samples, samples), (one.weights, models)):
                if file is not None:
                    progress.start(file.url, file.size, "bytes")
                    kept.append(fetch_remote(file.remote(), folder, progress=lambda done, total: progress.update(done)))
    return samples, models if len(models) == len(samples) else [None for _ in samples]


def _files(
    options: Options, submission: Submission, samples: list[Path], models: list[Path]
) -> tuple[list[Path], list[Path | None]]:
    """What is given, or what is published where nothing is."""
    if not samples:
        return _fetched(options, submission)
    if models and len(models) != len(samples):
        raise ConfigError(f"{len(samples)} files of samples and {len(models)} models; give one --model for each")
    return samples, [*models] or [None for _ in samples]


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
    from ltgen_bench.core.mappings import merge
    from ltgen_bench.core.plugins import plugin_code_sha256
    from ltgen_bench.leaderboard.submission import SubmissionError
    from ltgen_bench.leaderboard.submission.verification import find_record, read_untrusted_samples
    from ltgen_bench.runs.pipeline import Run
    from ltgen_bench.runs.resolve import resolve

    seed = find_record(submission, read_untrusted_samples(file, submission.first), str(file))
    method = submission.records[seed].method
    if method.config is None:
        raise SubmissionError("samples that were made elsewhere cannot be trained again here; leave --retrain out")
    own = configuration_layers(options).get("dataset", {})  # images lie elsewhere here
    layers = merge(method.config, {"dataset": own} if options.path else {}, {"seed": seed})
    resolved = resolve(layers, options.data_root)
    if method.code_sha256 is not None and plugin_code_sha256(resolved.method_class) != method.code_sha256:
        raise SubmissionError(f"the code of method {method.name!r} here is not the submission's; give its --plugin")
    folder = options.runs_dir / "retrained"
    return Run.at(resolved, folder, options.places(), options.progress()).run_all()
