"""`submit`: from finished runs to a small folder that can be committed."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import unicodedata
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from ltgen_bench.core.errors import MissingFileError
from ltgen_bench.core.storage import sha256_bytes, storage_errors
from ltgen_bench.evaluation.record_files import MAX_RECORD_BYTES
from ltgen_bench.leaderboard.submission.metadata import SubmissionMetadata
from ltgen_bench.leaderboard.submission.untrusted import CHECKSUMS, METADATA, SubmissionError, read_bytes
from ltgen_bench.leaderboard.submission.validate import Submission, validate_record, validate_submission

PICTURE_WIDTH = 720  # pixels of the sample grid on a record's page
PICTURE_COLOURS = 128


@dataclass(frozen=True)
class MeasuredRun:
    """A run's record and, where there is one, its picture of samples; the seed that its submitter says it has."""

    record: Path
    picture: Path | None
    seed: int | None = None


def measured_run(folder: Path, seed: int | None = None) -> MeasuredRun:
    """The record and picture in a run's folder or in a folder that `evaluate` wrote, perhaps without a seed."""
    folder = Path(folder)
    record = folder / "record.json"
    if not record.is_file():
        raise MissingFileError(f"{folder} has no record.json; finish the run, or measure samples with 'evaluate'")
    pictures = [folder / "figures" / "samples.png", folder / "samples.png"]
    return MeasuredRun(record, next((path for path in pictures if path.is_file()), None), seed)


def folder_name(method: str) -> str:
    """A method's name as a folder's name: lower case letters, digits and hyphens.

    Accents are left out; where nothing is left of a name in another script, it is `method-` and a hash of the name.
    """
    plain = unicodedata.normalize("NFKD", method).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:64]
    return name if len(name) > 1 else f"method-{sha256_bytes(method.encode())[:8]}"


def create_submission(
    runs: list[MeasuredRun],
    metadata: SubmissionMetadata,
    out: Path | None,
    *,
    leaderboards: Path = Path("leaderboards"),
    data_root: Path = Path("data"),
) -> Submission:
    """Write the submission folder, by default `<leaderboards>/records/<data set>/<method>`; it is validated first.

    Raises SubmissionError for whatever `validate` would refuse, and when the folder exists: nothing is overwritten.
    """
    files: dict[str, bytes] = {METADATA: metadata.to_toml().encode()}
    dataset = ""
    for run in runs:
        data = read_bytes(run.record, MAX_RECORD_BYTES)
        record = validate_record(data, str(run.record))
        if record.seed is None and run.seed is not None:  # `evaluate` was not told it: it changes no number
            record = record.model_copy(update={"seed": run.seed})
            data = (json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()
        if record.seed is None:
            raise SubmissionError(f"{run.record} has no seed; measure the samples again with --seed")
        if broken := record.metrics.notes.get("authenticity"):
            raise SubmissionError(f"{run.record}: {broken}: 'verify' would refuse these samples")
        if f"{record.seed}.json" in files:
            raise SubmissionError(f"{run.record}: seed {record.seed} is given twice")
        dataset = record.dataset.name
        files[f"{record.seed}.json"] = data
        if run.picture is not None:
            files[f"{record.seed}.png"] = small_picture(run.picture)
    files[CHECKSUMS] = "".join(f"{sha256_bytes(data)}  {name}\n" for name, data in sorted(files.items())).encode()
    target = out or leaderboards / "records" / dataset / folder_name(metadata.method)
    if target.exists():
        raise SubmissionError(f"{target} exists; a submission is not overwritten: remove it, or choose --out")
    with tempfile.TemporaryDirectory() as temporary:
        draft = Path(temporary) / target.resolve().name
        draft.mkdir()
        for name, data in files.items():
            (draft / name).write_bytes(data)
        try:
            validate_submission(draft, data_root)
        except SubmissionError as error:
            raise SubmissionError(str(error).replace(str(draft), str(target))) from None
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(draft, target)
    return validate_submission(target, data_root)


def small_picture(path: Path) -> bytes:
    """A run's sample grid as a PNG of about a hundred kilobytes."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB")
        if small.width > PICTURE_WIDTH:
            small = small.resize(
                (PICTURE_WIDTH, round(small.height * PICTURE_WIDTH / small.width)), Image.Resampling.BOX
            )
        buffer = BytesIO()
        small.quantize(PICTURE_COLOURS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
