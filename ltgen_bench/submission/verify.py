"""`verify`: measure a submission's samples again, compare, and say so in a file that only this writes.

A verification lives outside the submission folder, in `verifications/<data set>/<submission>/<seed>.json`, where the
submitter has no business: the workflow refuses strangers' changes there. It names the record by its hash, so it ends
with the first changed digit, and whoever reads it compares the numbers anew.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ltgen_bench.errors import SamplesError
from ltgen_bench.record import HEADLINE_METRICS, CodePart, Counts, EnvironmentPart, Name, Record, Sha256
from ltgen_bench.samples import Samples, npz_headers, read_samples
from ltgen_bench.storage import ARCHIVE_ERRORS, write_json
from ltgen_bench.submission.limits import SubmissionError, check_json, printable, read_bytes
from ltgen_bench.submission.validate import Submission

MAX_VERIFICATION_BYTES = 1 << 20

# (relative, absolute): the larger one counts. Another machine's kernels move features in the last digits of float32.
TOLERANCES: dict[str, tuple[float, float]] = {
    "fid": (1e-3, 1e-3),
    "fid_floor": (1e-3, 1e-3),
    "kid": (1e-2, 1e-4),
    "inception_score": (1e-3, 1e-3),
    "f8": (0.0, 0.01),  # k-means may put a sample on a border into the neighbouring cluster
    "f1_8": (0.0, 0.01),
    "density": (5e-3, 2e-3),
    # shares of samples: `share_tolerance` widens these to two samples
    "precision": (0.0, 2e-3),
    "recall": (0.0, 2e-3),
    "coverage": (0.0, 2e-3),
    "label_accuracy": (0.0, 2e-3),
    "fraction": (0.0, 2e-3),
}
_OF_REFERENCE = ("recall", "coverage")
_OF_SAMPLES = ("precision", "density", "label_accuracy", "fraction")
_OF_CLUSTERS = ("f8", "f1_8")


class Verification(BaseModel):
    """What a verifier measured, with which code and where, and what the submission said of itself then."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    format: Literal[1] = 1
    record_sha256: Sha256
    samples_sha256: Sha256
    method: Name
    seeds_run: Counts
    picture_sha256: Sha256 | None
    verified: Name  # UTC, ISO 8601
    measured: Annotated[dict[Name, float | None], Field(max_length=100)]
    environment: EnvironmentPart
    code: CodePart


def table_values(record: Record) -> dict[str, float | None]:
    """The numbers that are compared: the overall ones, those of the groups (`groups.few.fid`), and suspected copies."""
    return metric_values(record.metrics.model_dump(mode="json"))


def metric_values(metrics: dict[str, Any]) -> dict[str, float | None]:
    """The same from the metrics as JSON values."""
    values: dict[str, float | None] = {key: metrics.get(key) for key in HEADLINE_METRICS}
    for name, group in (metrics.get("groups") or {}).items():
        values |= {f"groups.{name}.{key}": group[key] for key in group if _metric(key) in TOLERANCES}
    for space, scores in (metrics.get("memorisation") or {}).items():
        values[f"memorisation.{space}.fraction"] = scores.get("fraction")
    return {key: None if value is None else float(value) for key, value in values.items()}


def _metric(key: str) -> str:
    return key.rpartition(".")[2].removeprefix("mean_class_")


def tolerance(record: Record, key: str, value: float, classes: Sequence[int] | None = None) -> float:
    """How far a measured value may lie from the record's; shares may differ by two of the images in `classes`."""
    relative, absolute = TOLERANCES[_metric(key)]
    if _metric(key) in _OF_CLUSTERS and key.startswith("groups."):
        absolute = 0.05  # few samples in many clusters: one that changes its cluster counts for more
    per_class, within = record.metrics.per_class, classes
    if within is None and key.startswith("groups."):
        within = record.dataset.groups.get(key.split(".")[1], [])  # type: ignore[call-overload]
    counts = []
    if _metric(key) in _OF_REFERENCE:
        counts = [per_class.n_reference[c] for c in (range(len(per_class.n_reference)) if within is None else within)]
    elif _metric(key) in _OF_SAMPLES and within is None:
        counts = [record.samples.count]  # also of samples that belong to no class
    elif _metric(key) in _OF_SAMPLES and within is not None:
        counts = [per_class.n_generated[c] for c in within]
    if "mean_class_" in key:
        counts = [min((count for count in counts if count), default=0)]
    if total := sum(counts):
        absolute = max(absolute, 2 / total + 1e-12)
    return max(relative * abs(value), absolute)


def disagreements(record: Record, measured: dict[str, float | None]) -> Iterator[str]:
    """One line for every number that was not met; a number that one side lacks counts as not met."""
    stated = table_values(record)
    for key in {**stated, **measured}:
        yield from _disagreement(record, key, stated.get(key), measured.get(key))


def class_disagreements(record: Record, metrics: dict[str, Any]) -> Iterator[str]:
    """The same for the numbers of single classes and the confusion table; `metrics` as JSON values."""
    stated, found = record.metrics.per_class.model_dump(mode="json"), metrics.get("per_class") or {}
    if stated["n_generated"] != found.get("n_generated"):
        yield "samples.class_counts are not those of the samples' labels"
        return
    for key in {**stated, **found}:
        if _metric(key) not in TOLERANCES:
            continue
        for c in range(len(record.dataset.class_names)):
            pair = [None if (values := side.get(key)) is None else values[c] for side in (stated, found)]
            yield from _disagreement(record, f"per_class.{key}.{c}", *pair, classes=[c], metric=key)
    ours, theirs = record.metrics.confusion, metrics.get("confusion")
    if (ours is None) != (theirs is None):
        yield "metrics.confusion is there in only one of the record and what was measured again"
    elif ours is not None and theirs is not None:
        moved = int(np.abs(np.array(ours) - np.array(theirs)).sum())
        most = max(4, 4e-3 * record.samples.count)  # a sample that moves changes two entries
        if moved > most:
            yield f"metrics.confusion differs in {moved / 2:g} samples from what was measured again"


def _disagreement(
    record: Record,
    key: str,
    stated: float | None,
    found: float | None,
    *,
    classes: Sequence[int] | None = None,
    metric: str | None = None,
) -> Iterator[str]:
    if stated is None and found is None:
        return
    if stated is None or found is None:
        yield f"{key} is {stated} in the record and {found} measured again"
        return
    allowed = tolerance(record, metric or key, stated, classes)
    if not math.isclose(stated, found, rel_tol=0, abs_tol=allowed):
        yield (f"{key} is {stated:.6g} in the record and {found:.6g} measured again, more than {allowed:.2g} apart")


def read_untrusted_samples(path: Path, record: Record) -> Samples:
    """Samples that have to be a record's: sizes are compared before anything is unpacked.

    Raises SamplesError for another shape, for an archive that would unpack to more than the record's samples need,
    and for whatever `read_samples` refuses.
    """
    channels, height, width = record.dataset.image_shape
    wanted = (record.samples.count, height, width, channels)
    most = math.prod(wanted) + 8 * record.samples.count + (64 << 10)
    try:
        if not path.is_file():
            raise SamplesError(f"there is no samples file {path}")
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except ARCHIVE_ERRORS as error:
        raise SamplesError(f"{path} is not a readable .npz file ({printable(str(error))[:100]})") from None
    total = sum(entry.file_size for entry in entries)
    if len(entries) > 16 or total > most:
        raise SamplesError(
            f"{path} would unpack to {len(entries)} arrays with {total:,} bytes; the record's samples need {most:,}"
        )
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise SamplesError(f"{path} holds an array twice")
    shape = npz_headers(path).get("arr_0", ((), None))[0]
    if shape != wanted:
        raise SamplesError(f"{path}: 'arr_0' has the shape {shape}; the record's samples have {wanted}")
    return read_samples(path)


def find_record(submission: Submission, samples: Samples, source: str) -> int:
    """The seed whose record measured these samples; raises SamplesError when none did."""
    digest = samples.sha256()
    for seed, record in submission.records.items():
        if record.samples.sha256 == digest:
            return seed
    raise SamplesError(f"{source} (sha256 {digest[:16]}...) are not the samples of any record in {submission.path}")


def verification_path(leaderboards: Path, submission: Submission, seed: int) -> Path:
    """Where the verification of one seed lives."""
    name = submission.path.resolve().name
    return leaderboards / "verifications" / submission.first.dataset.name / name / f"{seed}.json"


def write_verification(path: Path, verification: Verification) -> None:
    """Write a verification as JSON, atomically."""
    write_json(path, verification.model_dump(mode="json"))


def read_verification(path: Path) -> Verification:
    """Read a verification; raises SubmissionError of one line."""
    data = read_bytes(path, MAX_VERIFICATION_BYTES)
    check_json(data, str(path))
    try:
        return Verification.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "file"
        raise SubmissionError(f"{path}: {printable(place)}: {printable(first['msg'])[:200]}") from None


def verified_seeds(leaderboards: Path, submission: Submission) -> dict[int, Verification]:
    """The seeds whose verification names the record as it is now, by clean code, with numbers within tolerance.

    The method's name, the seeds and the picture have to be those that were verified as well.
    """
    found = {}
    for seed, record in submission.records.items():
        path = verification_path(leaderboards, submission, seed)
        if not path.exists():
            continue
        verification = read_verification(path)
        if (
            verification.record_sha256 == submission.sha256[seed]
            and verification.samples_sha256 == record.samples.sha256
            and verification.method == submission.metadata.method
            and verification.seeds_run == sorted(submission.metadata.seeds_run)
            and verification.picture_sha256 == submission.pictures.get(seed)
            and verification.code.clean is not False
            and not any(disagreements(record, verification.measured))
        ):
            found[seed] = verification
    return found
