"""`verify`: measure a submission's samples again, compare, and say so in a file that only this writes.

A verification lives outside the submission folder, in `verifications/<data set>/<submission>/<seed>.json`, where the
submitter has no business: the workflow refuses strangers' changes there. It names the record by its hash, so it ends
with the first changed digit, and every reader compares the numbers again.
"""

from __future__ import annotations

import datetime
import math
import zipfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ltgen_bench.core.errors import SamplesError, first_mistake
from ltgen_bench.core.generated import check_real_folder
from ltgen_bench.core.npz import npz_headers
from ltgen_bench.core.plain_text import printable, text_problem
from ltgen_bench.core.storage import ARCHIVE_ERRORS, write_json
from ltgen_bench.core.text_files import parse_json
from ltgen_bench.evaluation.record import CodePart, Counts, EnvironmentPart, Name, Record, Sha256
from ltgen_bench.evaluation.samples import Samples, read_samples
from ltgen_bench.leaderboard.submission.completeness import code_problems, time_problem
from ltgen_bench.leaderboard.submission.tolerance import disagreements
from ltgen_bench.leaderboard.submission.untrusted import SubmissionError, check_json, read_bytes
from ltgen_bench.leaderboard.submission.validate import Submission

MAX_VERIFICATION_BYTES = 1 << 20


class Retrained(BaseModel):
    """A training from the record's configuration, and the distance that its own samples have."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    fid: Annotated[float, Field(ge=0)]
    low: float  # the interval in which it had to lie, from the seeds' spread
    high: float
    equal_samples: bool  # whether its samples are those of the record, to the last bit


class PrivateHalf(BaseModel):
    """Distances to as many public and private real images, and how far they are apart (`metrics.private_half`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    images: Annotated[int, Field(ge=1)]
    public: Annotated[float, Field(ge=0)]
    private: Annotated[float, Field(ge=0)]
    low: float  # the 95 % interval of private minus public
    high: float
    z: float


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
    redrawn_rows: Annotated[int, Field(ge=0, le=10**9)] = 0  # drawn again from the weights, and found equal
    equal_rows: Annotated[int, Field(ge=0, le=10**9)] | None = None  # of those, equal to the last bit
    weights_sha256: Sha256 | None = None  # those weights; None where nothing was drawn again
    rounded_weights_sha256: Sha256 | None = None  # of their tensors as `leaderboards/evidence` keeps them
    retrained: Retrained | None = None
    # what was asked of the samples alone (`evaluation.authenticity`), and the seed of the random networks
    authenticity: Annotated[dict[Name, float | None], Field(max_length=50)] | None = None
    authenticity_seed: Annotated[int, Field(ge=0)] | None = None
    private_half: PrivateHalf | None = None  # None where the verifier has no private images
    verifier: Annotated[str, Field(max_length=200)] = ""  # who measured; empty where nobody is named
    measured: Annotated[dict[Name, float | None], Field(max_length=100)]
    environment: EnvironmentPart
    code: CodePart


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
    return read_samples(path, labelled=record.samples.labelled)


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


def write_verification(leaderboards: Path, path: Path, verification: Verification) -> None:
    """Write a verification below `leaderboards` as JSON, atomically; raises StorageError where a link leads out."""
    check_real_folder(path.parent, leaderboards)
    write_json(path, verification.model_dump(mode="json"))


def read_verification(path: Path) -> Verification:
    """Read a verification; raises SubmissionError of one line."""
    data = read_bytes(path, MAX_VERIFICATION_BYTES)
    check_json(data, str(path))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise SubmissionError(f"{path} is not UTF-8 text") from None
    parse_json(text, str(path), error=SubmissionError)  # no key twice
    try:
        verification = Verification.model_validate_json(text)
        if problem := text_problem(verification.verifier, markup=False):
            raise SubmissionError(f"{path}: verifier {problem}")
        if problem := time_problem(verification.verified):
            raise SubmissionError(f"{path}: verified {problem}")
        for problem in code_problems(verification.code):
            raise SubmissionError(f"{path}: {problem}")
        return verification
    except ValidationError as error:
        mistake = first_mistake(error)
        place, message = printable(mistake.place or "file"), printable(mistake.message)[:200]
        raise SubmissionError(f"{path}: {place}: {message}") from None


def _precedes(verified: str, created: str) -> bool:
    """Whether something was verified before it was there; a clock may be wrong by some minutes."""
    times = [datetime.datetime.fromisoformat(text) for text in (verified, created)]
    return times[0] < times[1] - datetime.timedelta(minutes=10)


def verified_seeds(leaderboards: Path, submission: Submission) -> dict[int, Verification]:
    """The seeds whose verification names the record as it is now, by clean code, with numbers within tolerance.

    The method's name, the seeds and the picture have to be those that were verified as well.
    """
    found = {}
    for seed, record in submission.records.items():
        path = verification_path(leaderboards, submission, seed)
        check_real_folder(path.parent, leaderboards)
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
            and not _precedes(verification.verified, record.timing.created)
        ):
            found[seed] = verification
    return found
