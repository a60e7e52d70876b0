"""The work behind `verify`: evaluate samples again by the record's data set and protocol."""

from __future__ import annotations

from pathlib import Path

from ltgen_bench.core.devices import measuring_device, resolve_device
from ltgen_bench.core.progress import Progress
from ltgen_bench.evaluation.evaluate import Evaluator
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.provenance import code_state, environment, now
from ltgen_bench.leaderboard.submission.departures import dataset_of
from ltgen_bench.leaderboard.submission.real_images import MOST_COPIES, reference_copies
from ltgen_bench.leaderboard.submission.redraw import redraw_rows
from ltgen_bench.leaderboard.submission.tolerance import class_disagreements, disagreements, metric_values
from ltgen_bench.leaderboard.submission.untrusted import SubmissionError, text_problem
from ltgen_bench.leaderboard.submission.validate import Submission
from ltgen_bench.leaderboard.submission.verification import (
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
    device: str = "auto",
    batch_size: int = 128,
    progress: Progress | None = None,
) -> tuple[Path, Verification]:
    """Measure one seed's samples again; where every number is met, write and return the verification by `verifier`.

    With `weights`, the file of the trained model, some rows are drawn again as well (`redraw`).

    Raises SamplesError when the file does not hold a record's samples, SubmissionError with the first number that is
    not met (and then nothing is written).
    """
    if problem := text_problem(verifier, markup=False):
        raise SubmissionError(f"the verifier's name {problem}")
    samples = read_untrusted_samples(file, submission.first)
    seed = find_record(submission, samples, str(file))
    record = submission.records[seed]
    dataset = dataset_of(record.dataset.name, places.data_root)
    chosen = measuring_device(resolve_device(device))
    copies = reference_copies(samples.images, dataset, device=str(chosen))
    if copies > MOST_COPIES * len(samples):
        raise SubmissionError(
            f"{submission.path}: seed {seed}: {copies:,} of {len(samples):,} samples are reference images outside of "
            "the training set, which no model trained on it can have made: no verification"
        )
    redrawn = None if weights is None else redraw_rows(record, samples, weights, dataset, resolve_device(device))
    evaluator = Evaluator(places, chosen, batch_size, progress or Progress())
    evaluation = evaluator.measure(samples, dataset, record.protocol)
    metrics = evaluation.to_dict()
    measured = metric_values(metrics)
    if evaluation.dataset != record.dataset:
        raise SubmissionError(f"{submission.path}: seed {seed}: the data set here is not the record's: no verification")
    for problem in (*disagreements(record, measured), *class_disagreements(record, metrics)):
        raise SubmissionError(f"{submission.path}: seed {seed}: {problem}")
    verification = Verification(
        record_sha256=submission.sha256[seed],
        samples_sha256=record.samples.sha256,
        method=submission.metadata.method,
        seeds_run=sorted(submission.metadata.seeds_run),
        picture_sha256=submission.pictures.get(seed),
        verified=now(),
        verifier=verifier,
        redrawn_rows=0 if redrawn is None else redrawn.rows,
        weights_sha256=None if redrawn is None else redrawn.weights_sha256,
        measured=measured,
        environment=environment(chosen),
        code=code_state(),
    )
    path = verification_path(leaderboards, submission, seed)
    write_verification(path, verification)
    return path, verification
