"""The work behind `verify`: evaluate samples again by the record's data set and protocol."""

from __future__ import annotations

from pathlib import Path

from ltgen_bench.devices import resolve_device
from ltgen_bench.environment import code_state, environment
from ltgen_bench.evaluation import EvaluationPlaces, evaluate_samples
from ltgen_bench.pipeline import now
from ltgen_bench.progress import Progress
from ltgen_bench.submission.limits import SubmissionError
from ltgen_bench.submission.official import dataset_of
from ltgen_bench.submission.validate import Submission
from ltgen_bench.submission.verify import (
    Verification,
    disagreements,
    find_record,
    metric_values,
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
    device: str = "auto",
    batch_size: int = 128,
    progress: Progress | None = None,
) -> tuple[Path, Verification]:
    """Measure one seed's samples again; where every number is met, write and return the verification.

    Raises SamplesError when the file does not hold a record's samples, SubmissionError with the first number that is
    not met (and then nothing is written).
    """
    samples = read_untrusted_samples(file, submission.first)
    seed = find_record(submission, samples, str(file))
    record = submission.records[seed]
    chosen = resolve_device(device)
    evaluation = evaluate_samples(
        samples,
        dataset_of(record.dataset.name, places.data_root),
        record.protocol,
        places=places,
        device=chosen,
        batch_size=batch_size,
        progress=progress,
        labelled=record.samples.labelled,
    )
    measured = metric_values(evaluation.to_dict())
    if evaluation.dataset != record.dataset:
        raise SubmissionError(f"{submission.path}: seed {seed}: the data set here is not the record's: no verification")
    for problem in disagreements(record, measured):
        raise SubmissionError(f"{submission.path}: seed {seed}: {problem}")
    verification = Verification(
        record_sha256=submission.sha256[seed],
        samples_sha256=record.samples.sha256,
        verified=now(),
        measured=measured,
        environment=environment(chosen),
        code=code_state(),
    )
    path = verification_path(leaderboards, submission, seed)
    write_verification(path, verification)
    return path, verification
