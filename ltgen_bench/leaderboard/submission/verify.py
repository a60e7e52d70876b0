"""The work behind `verify`: evaluate samples again by the record's data set and protocol."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from ltgen_bench.core.devices import measuring_device, resolve_device
from ltgen_bench.core.plain_text import text_problem
from ltgen_bench.core.progress import Progress
from ltgen_bench.datasets import Dataset
from ltgen_bench.evaluation.authenticity import seeds_alike
from ltgen_bench.evaluation.evaluate import Evaluation, Evaluator
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.private_reference import MOST_PRIVATE_Z, compare_halves, load_private
from ltgen_bench.evaluation.provenance import code_state, environment, now
from ltgen_bench.evaluation.record import Record
from ltgen_bench.evaluation.samples import Samples
from ltgen_bench.leaderboard.submission.departures import dataset_of
from ltgen_bench.leaderboard.submission.real_images import refuse_copies
from ltgen_bench.leaderboard.submission.redraw import REDRAWN_ROWS, redraw_rows
from ltgen_bench.leaderboard.submission.retrain import trained_again
from ltgen_bench.leaderboard.submission.rounded_weights import rounded_sha256
from ltgen_bench.leaderboard.submission.tolerance import (
    class_disagreements,
    disagreements,
    memorisation_disagreements,
    metric_values,
)
from ltgen_bench.leaderboard.submission.untrusted import SubmissionError
from ltgen_bench.leaderboard.submission.validate import Submission
from ltgen_bench.leaderboard.submission.verification import (
    PrivateHalf,
    Verification,
    find_record,
    read_untrusted_samples,
    verification_path,
    write_verification,
)


def verify_samples(
    submission: Submission,
    file: Path,
    *,
    leaderboards: Path,
    places: EvaluationPlaces,
    verifier: str = "",
    weights: Path | None = None,
    draw: int = REDRAWN_ROWS,
    retrained: Record | None = None,
    private: Path | None = None,
    device: str = "auto",
    batch_size: int = 128,
    progress: Progress | None = None,
) -> tuple[Path, Verification]:
    """Measure one seed's samples again; where every number is met, write and return the verification by `verifier`.

    With `weights`, the file of the trained model, `draw` random rows are drawn again as well (`redraw`). `retrained` is
    the record of a run that trained this seed's configuration again. `private` are real images that no submitter has:
    the samples may not be nearer to the public ones (`evaluation.private_reference`). What samples alone can be asked
    is asked with a number that their sender could not foresee (`evaluation.authenticity`).

    Raises SamplesError when the file does not hold a record's samples, SubmissionError with the first number that is
    not met or rule that is broken (and then nothing is written).
    """
    if problem := text_problem(verifier, markup=False):
        raise SubmissionError(f"the verifier's name {problem}")
    samples = read_untrusted_samples(file, submission.first)
    seed = find_record(submission, samples, str(file))
    record = submission.records[seed]
    dataset = dataset_of(record.dataset.name, places.data_root)
    chosen = measuring_device(resolve_device(device))
    refuse_copies(samples, dataset, f"{submission.path}: seed {seed}", device=str(chosen))
    redrawn = None if weights is None else redraw_rows(record, samples, weights, dataset, resolve_device(device), draw)
    evaluator = Evaluator(places, chosen, batch_size, progress or Progress())
    evaluation = evaluator.measure(samples, dataset, record.protocol, secret=secrets.randbits(48))
    measured = _met(submission, seed, evaluation)
    half = None if private is None else _private_half(submission, seed, samples, dataset, private, evaluator)
    verification = Verification(
        record_sha256=submission.sha256[seed],
        samples_sha256=record.samples.sha256,
        method=submission.metadata.method,
        seeds_run=sorted(submission.metadata.seeds_run),
        picture_sha256=submission.pictures.get(seed),
        verified=now(),
        verifier=verifier,
        redrawn_rows=0 if redrawn is None else redrawn.rows,
        equal_rows=None if redrawn is None else redrawn.equal,
        weights_sha256=None if redrawn is None else redrawn.weights_sha256,
        rounded_weights_sha256=None if weights is None else rounded_sha256(weights),
        retrained=trained_again(submission, seed, retrained, mirrored=dataset.horizontal_flip),
        private_half=half,
        authenticity=evaluation.authenticity.values,
        authenticity_seed=evaluation.authenticity.seed,
        measured=measured,
        environment=environment(chosen),
        code=code_state(),
    )
    write_verification(leaderboards, path := verification_path(leaderboards, submission, seed), verification)
    return path, verification


def _private_half(
    submission: Submission, seed: int, samples: Samples, dataset: Dataset, private: Path, evaluator: Evaluator
) -> PrivateHalf:
    images = load_private(private, dataset, evaluator.places.data_root / ".cache")
    protocol = submission.records[seed].protocol
    sets = evaluator.feature_sets(protocol)
    found = compare_halves(samples, dataset, images, sets, protocol=protocol, seed=secrets.randbits(48))
    if found.z > MOST_PRIVATE_Z:
        raise SubmissionError(
            f"{submission.path}: seed {seed}: the samples are at {found.public:.3g} from {found.images:,} public "
            f"images and at {found.private:.3g} from as many private ones, {found.low:.2g} ... {found.high:.2g} more "
            f"(z = {found.z:.1f}): they were made from the public ones, no verification"
        )
    return PrivateHalf(**vars(found))


def _met(submission: Submission, seed: int, evaluation: Evaluation) -> dict[str, float | None]:
    """The numbers that were measured; raises SubmissionError where the record has others, or a rule is broken."""
    record, metrics = submission.records[seed], evaluation.to_dict()
    if evaluation.authenticity.broken:
        raise SubmissionError(f"{submission.path}: seed {seed}: {evaluation.authenticity.line()}: no verification")
    if evaluation.dataset != record.dataset:
        raise SubmissionError(f"{submission.path}: seed {seed}: the data set here is not the record's: no verification")
    measured = metric_values(metrics)
    behind = *class_disagreements(record, metrics), *memorisation_disagreements(record, metrics)
    for problem in (*disagreements(record, measured), *behind):
        raise SubmissionError(f"{submission.path}: seed {seed}: {problem}")
    return measured


def refuse_alike_seeds(submission: Submission, files: Sequence[Path], *, device: str = "auto") -> None:
    """Raise SubmissionError where two seeds' samples are nearer to each other than two draws of a generator are."""
    found = {}
    for file in files:
        samples = read_untrusted_samples(file, submission.first)
        found[find_record(submission, samples, str(file))] = samples
    chosen = measuring_device(resolve_device(device))
    for one in seeds_alike(found, seed=secrets.randbits(48), device=str(chosen)):
        raise SubmissionError(f"{submission.path}: {one.words}: no verification")
