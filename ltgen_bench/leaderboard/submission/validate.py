"""`validate`: a record, or a submission folder, against everything that can be known without the samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ltgen_bench.core.errors import RecordError
from ltgen_bench.core.mappings import difference
from ltgen_bench.core.plain_text import printable, shown, text_problem
from ltgen_bench.core.protocol import PROTOCOLS
from ltgen_bench.core.storage import sha256_bytes
from ltgen_bench.evaluation.contradictions import contradictions
from ltgen_bench.evaluation.record import Record
from ltgen_bench.evaluation.record_files import parse_record
from ltgen_bench.leaderboard.submission.completeness import gaps
from ltgen_bench.leaderboard.submission.departures import dataset_of, departures, unchecked
from ltgen_bench.leaderboard.submission.metadata import SubmissionMetadata, parse_metadata
from ltgen_bench.leaderboard.submission.names import title_problem
from ltgen_bench.leaderboard.submission.terms import SEEDS_WANTED
from ltgen_bench.leaderboard.submission.untrusted import (
    CHECKSUMS,
    FOLDER_NAME,
    METADATA,
    RECORD_NAME,
    SubmissionError,
    check_json,
    check_picture,
    parse_sums,
    read_bytes,
    scan_folder,
    size_limit,
)


@dataclass(frozen=True)
class Submission:
    """A submission folder that passed: its records by seed, and the hashes of their files and pictures."""

    path: Path
    metadata: SubmissionMetadata
    records: dict[int, Record]
    sha256: dict[int, str]
    pictures: dict[int, str]
    notes: list[str] = field(default_factory=list)

    @property
    def first(self) -> Record:
        """The record of the lowest seed; what all seeds share stands in any of them."""
        return self.records[min(self.records)]


def validate_record(data: bytes, source: str) -> Record:
    """Check a record's bytes: limits, schema, and everything derivable. Raises SubmissionError of one line."""
    try:
        text = data.decode("utf-8")
        check_json(data, source)
        record = parse_record(text, source)
    except UnicodeDecodeError:
        raise SubmissionError(f"{source} is not UTF-8 text") from None
    except RecordError as error:
        raise SubmissionError(printable(str(error))[:600]) from None
    for name in ("name", "title", "paper"):
        if problem := text_problem(getattr(record.method, name), markup=False):
            raise SubmissionError(f"{source}: method.{name} {problem}")
    for name in ("name", "title"):
        if (value := getattr(record.method, name)) and (problem := title_problem(value)):
            raise SubmissionError(f"{source}: method.{name} {problem}")
    for problem in (*contradictions(record), *gaps(record)):
        raise SubmissionError(f"{source}: {printable(problem)}")
    return record


def validate_submission(folder: Path, data_root: Path = Path("data"), *, pixels: bool = True) -> Submission:
    """Check a submission folder as a stranger's: raises SubmissionError, one line, for the first thing wrong.

    `pixels=False` leaves out the comparison of fingerprints, which reads the data set.
    """
    folder, data_root = Path(folder), Path(data_root)
    sizes = scan_folder(folder)
    if not FOLDER_NAME.fullmatch(folder.resolve().name):
        raise SubmissionError(
            f"{folder}: a submission folder's name has lower case letters, digits, '.', '_' and '-' only"
        )
    for name in (METADATA, CHECKSUMS):
        if name not in sizes:
            raise SubmissionError(f"{folder} has no {name}; 'ltgen-bench submit' makes a complete folder")
    contents = {name: read_bytes(folder / name, size_limit(name) or 0) for name in sizes}
    metadata = parse_metadata(contents[METADATA], f"{folder / METADATA}")
    _check_sums(folder, contents)
    records, sums = {}, {}
    for name in sorted(sizes):
        if not RECORD_NAME.fullmatch(name):
            continue
        seed, source = int(name.removesuffix(".json")), str(folder / name)
        record = validate_record(contents[name], source)
        if record.seed != seed:
            raise SubmissionError(f"{source}: seed is {record.seed}; a record's file is called by its seed")
        if record.protocol.is_custom:
            raise SubmissionError(f"{source}: {_why_custom(record)}; only published protocols enter a leaderboard")
        if set(record.metrics.memorisation or {}) != {"features", "pixels"}:
            raise SubmissionError(
                f"{source}: metrics.memorisation lacks features or pixels; measure the samples again with 'evaluate'"
            )
        for problem in departures(record, data_root, pixels=pixels):
            raise SubmissionError(f"{source}: {printable(problem)}")
        records[seed], sums[seed] = record, sha256_bytes(contents[name])
    pictures = {int(name.removesuffix(".png")) for name in sizes if name.endswith(".png")}
    if orphans := pictures - set(records):
        raise SubmissionError(f"{folder}: {min(orphans)}.png has no record {min(orphans)}.json")
    for seed in sorted(pictures):
        check_picture(contents[f"{seed}.png"], str(folder / f"{seed}.png"))
    _check_seeds(folder, metadata, records)
    _check_together(folder, records)
    records = dict(sorted(records.items()))
    notes = unchecked(next(iter(records.values())), data_root)
    if len(records) < SEEDS_WANTED:
        notes.append(f"n = {len(records)}: fewer than {SEEDS_WANTED} seeds are shown and not ranked")
    shown_as = {seed: sha256_bytes(contents[f"{seed}.png"]) for seed in sorted(pictures)}
    return Submission(folder, metadata, records, sums, shown_as, notes)


def _why_custom(record: Record) -> str:
    """In which settings a custom protocol departs from the published one that it is called by."""
    name = record.protocol.name.removesuffix("+custom")
    published = PROTOCOLS.get(name)
    if published is None:
        return f"protocol {shown(record.protocol.name)} is none that is published ('ltgen-bench list protocols')"
    if record.protocol.samples != published.samples:
        return f"{record.protocol.samples:,} samples instead of the {published.samples:,} of protocol {name}"
    changes = difference(published.model_dump(mode="json"), record.protocol.model_dump(mode="json"))
    return f"protocol {name} with other settings ({'; '.join(change for change in changes if 'name' not in change)})"


def _check_sums(folder: Path, contents: dict[str, bytes]) -> None:
    """`SHA256SUMS` names every other file once, with its hash, in the format of `sha256sum`."""
    source = folder / CHECKSUMS
    stated = parse_sums(contents[CHECKSUMS], source)
    for name in sorted(set(stated) ^ (set(contents) - {CHECKSUMS})):
        where = "is named there and not in the folder" if name in stated else "is in the folder and not named there"
        raise SubmissionError(f"{source}: {shown(name)} {where}")
    for name, digest in stated.items():
        if sha256_bytes(contents[name]) != digest:
            raise SubmissionError(f"{folder / name} is not the file that {CHECKSUMS} names: its sha256 differs")


def _check_seeds(folder: Path, metadata: SubmissionMetadata, records: dict[int, Record]) -> None:
    run, given = set(metadata.seeds_run), set(records)
    if left_out := sorted(run - given):
        raise SubmissionError(
            f"{folder}: seeds {_list(sorted(run))} were run and {_list(left_out)} are not here; the best of several "
            "is not accepted, so add every seed's record"
        )
    if undeclared := sorted(given - run):
        raise SubmissionError(f"{folder}: seeds {_list(undeclared)} are here and not declared in seeds_run")


def _check_together(folder: Path, records: dict[int, Record]) -> None:
    """The records of one submission differ in their seeds only."""
    first_seed = min(records)
    first = records[first_seed]
    for seed, record in sorted(records.items()):
        for name, ours, theirs in (
            ("data set", first.dataset, record.dataset),
            ("protocol", first.protocol_hash, record.protocol_hash),
            ("method", first.method.name, record.method.name),
            ("configuration", first.method.config_hash, record.method.config_hash),
            ("extractors", first.extractors, record.extractors),
            ("title of the method", first.method.title, record.method.title),
            ("paper", first.method.paper, record.method.paper),
            ("code of the method", first.method.code_sha256, record.method.code_sha256),
            ("size of the model", first.method.facts, record.method.facts),
            ("version of the code", first.code, record.code),
        ):
            if ours != theirs:
                raise SubmissionError(f"{folder}: seeds {first_seed} and {seed} have another {name}")
    seen: dict[str, int] = {}
    for seed, record in sorted(records.items()):
        if record.samples.sha256 in seen:
            raise SubmissionError(f"{folder}: seeds {seen[record.samples.sha256]} and {seed} measured the same samples")
        seen[record.samples.sha256] = seed


def _list(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))


__all__ = ["Submission", "SubmissionError", "dataset_of", "validate_record", "validate_submission"]
