"""From the folder `leaderboards/` to boards: submissions of one data set under one protocol, with their status."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ltgen_bench.core.choices import Level
from ltgen_bench.core.errors import UserError
from ltgen_bench.core.plain_text import shown
from ltgen_bench.core.storage import sha256_json
from ltgen_bench.evaluation.record import Record
from ltgen_bench.leaderboard.factors import is_control
from ltgen_bench.leaderboard.reference_rows import ReferenceRow, read_reference_rows, reference_rows_path
from ltgen_bench.leaderboard.submission import SEEDS_WANTED, Submission, SubmissionError, validate_submission
from ltgen_bench.leaderboard.submission.levels import RANKED_FROM, level_of
from ltgen_bench.leaderboard.submission.names import skeleton
from ltgen_bench.leaderboard.submission.untrusted import FOLDER_NAME
from ltgen_bench.leaderboard.submission.verification import Verification, verified_seeds

LABELS_BOUND = 0.2  # full transfer on digits, half of whose labels are wrong, has .44; permuted labels have 0


@dataclass(frozen=True)
class Entry:
    """One row: a submission, and the verifications that hold for it by seed."""

    submission: Submission
    verifications: Mapping[int, Verification]

    @property
    def name(self) -> str:
        """The submission's folder name, unique within its data set."""
        return self.submission.path.name

    @property
    def method(self) -> str:
        """The method's name as the submitter wrote it: to be escaped wherever it is shown."""
        return self.submission.metadata.method

    @property
    def records(self) -> dict[int, Record]:
        """Records by seed, ascending."""
        return self.submission.records

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.records)

    @property
    def level(self) -> Level:
        """How much of every seed has been checked."""
        return level_of(self.verifications, self.n)

    @property
    def status_text(self) -> str:
        """The level, how many seeds were measured again where it is some of them, and by whom.

        Whoever gives no name, or the submitter's, vouches for no more than the submitter's own machine.
        """
        if self.ignores_labels:
            return f"{self.level}, ignores its labels"
        if self.level is Level.REPORTED:
            some = f" ({len(self.verifications)} of {self.n} seeds remeasured)" if self.verifications else ""
            return self.level + some
        return f"{self.level} by {self.checked_by}"

    @property
    def checked_by(self) -> str:
        """Who checked all of it, in words; empty where nobody did."""
        names = {verification.verifier.strip() for verification in self.verifications.values()}
        own = {"", self.submission.metadata.submitter.strip().casefold()}
        others = sorted(name for name in names if name.casefold() not in own)
        if not names:
            return ""
        return "the submitter's own machine" if len(others) < len(names) else ", ".join(others)

    @property
    def checked_with(self) -> str:
        """The versions of the code that checked it, by commit where it came from a checkout."""
        codes = {one.code.commit[:12] if one.code.commit else one.code.version for one in self.verifications.values()}
        return ", ".join(sorted(codes))

    @property
    def comparable(self) -> bool:
        """Whether it can be ranked: drawn again, enough seeds, and samples of classes (others answer another task)."""
        labelled = all(record.samples.labelled for record in self.records.values())
        drawn = self.level.height >= RANKED_FROM.height
        return drawn and self.n >= SEEDS_WANTED and labelled and not self.ignores_labels

    @property
    def ignores_labels(self) -> bool:
        """Whether the linear probe sees the class asked for hardly more often than chance has it.

        That is: its accuracy, mean over seeds, is above chance by less than `LABELS_BOUND` of what real images are.
        """
        shares = []
        for record in self.records.values():
            metrics, chance = record.metrics, 1 / len(record.dataset.class_names)
            if metrics.probe_accuracy is None or metrics.probe_accuracy_ceiling is None:
                return False
            if metrics.probe_accuracy_ceiling <= chance:
                return False  # a probe that cannot tell real images apart says nothing
            shares.append((metrics.probe_accuracy - chance) / (metrics.probe_accuracy_ceiling - chance))
        return sum(shares) / len(shares) < LABELS_BOUND

    def values(self, key: str) -> list[float | None]:
        """A metric by seed: `fid`, or `groups.few.fid` for a group's."""
        return [record.metrics.number(key) for record in self.records.values()]


@dataclass(frozen=True)
class Board:
    """All submissions of one data set (one fingerprint) under one protocol: what may be compared."""

    slug: str
    entries: tuple[Entry, ...]
    references: tuple[ReferenceRow, ...] = ()  # never ranked
    controls: tuple[Entry, ...] = ()  # the same methods on the balanced set of the tail's size

    @property
    def record(self) -> Record:
        """Any record: they share data set, protocol and extractors."""
        return self.entries[0].submission.first

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.record.dataset.name

    @property
    def protocol(self) -> str:
        """The protocol's name."""
        return self.record.protocol.name

    @property
    def fid_label(self) -> str:
        """How the Frechet distance is called: FID for the Inception network, FD[...] for any other."""
        return self.record.extractors["features"].label


def read_entries(leaderboards: Path, data_root: Path = Path("data"), left_out: list[str] | None = None) -> list[Entry]:
    """Every submission in `leaderboards/records/<data set>/<submission>`, validated, in the order of the paths.

    With `left_out`, what is wrong with a folder is added there, one line each, and the others are read; without it
    the first such line is raised as SubmissionError. Of two that share samples or a name the one of which more was
    checked stays.
    """
    root = Path(leaderboards) / "records"
    if root.is_symlink() or (root.exists() and not root.is_dir()):
        raise SubmissionError(f"{root} is not a folder")
    problems: list[str] = []
    entries: list[Entry] = []
    for dataset_folder in sorted(root.iterdir()) if root.exists() else []:
        try:
            if dataset_folder.is_symlink() or not dataset_folder.is_dir():
                raise SubmissionError(f"{root}: {shown(dataset_folder.name)} is not a data set's folder")
            folders = sorted(dataset_folder.iterdir())
        except SubmissionError as error:
            problems.append(str(error))
            continue
        for folder in folders:
            try:
                entries.append(_entry(folder, leaderboards, data_root))
            except UserError as error:
                problems.append(str(error))
    entries, duplicates = _without_duplicates(entries)
    problems += duplicates
    if problems and left_out is None:
        raise SubmissionError(problems[0])
    if left_out is not None:
        left_out += problems
    return entries


def _entry(folder: Path, leaderboards: Path, data_root: Path) -> Entry:
    if folder.is_symlink() or not folder.is_dir() or not FOLDER_NAME.fullmatch(folder.name):
        raise SubmissionError(f"{folder.parent}: {shown(folder.name)} is not a submission's folder")
    submission = validate_submission(folder, data_root, pixels=False)
    if submission.first.dataset.name != folder.parent.name:
        raise SubmissionError(f"{folder}: its data set is {submission.first.dataset.name}; move it there")
    return Entry(submission, verified_seeds(leaderboards, submission))


def _without_duplicates(entries: list[Entry]) -> tuple[list[Entry], list[str]]:
    """The entries, those of which more was checked first, without later ones that share samples or a name."""
    samples: dict[tuple[str, str], Path] = {}
    names: dict[tuple[str, str, str], Path] = {}
    kept, problems = [], []
    for entry in sorted(entries, key=lambda entry: -entry.level.height):
        path, first = entry.submission.path, entry.submission.first
        # the same run may stand under two protocols that ask for the same samples
        measured = [(record.protocol_hash, record.samples.sha256) for record in entry.records.values()]
        key = (first.dataset.name, first.protocol.name, skeleton(entry.method))
        if other := next((samples[one] for one in measured if one in samples), None):
            problems.append(f"{path} and {other} measured the same samples")
        elif key in names:
            problems.append(
                f"{path} and {names[key]} are both called {shown(entry.method)}, or look like it; give one another name"
            )
        else:
            samples |= dict.fromkeys(measured, path)
            names[key] = path
            kept.append(entry)
    return sorted(kept, key=lambda entry: entry.submission.path), sorted(problems)


def boards(entries: list[Entry], leaderboards: Path | None = None) -> list[Board]:
    """Entries grouped into what may be compared, in the order of data set and protocol.

    With `leaderboards`, each has the committed reference rows that fit it. Raises RecordError for a file that is none.

    Two fingerprints, or two extractor weights, under one name never share a board. Where there are several, the one
    with the most checked rows keeps the plain name, so that no submission can take it; the others carry their hash.
    """
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        first = entry.submission.first
        key = (
            first.dataset.name,
            first.protocol.name,
            first.protocol_hash,
            first.dataset.fingerprint,
            first.dataset.reference.fingerprint,
            *(f"{role}:{e.weights_sha256}:{e.version}:{e.precision}" for role, e in sorted(first.extractors.items())),
        )
        groups.setdefault(key, []).append(entry)
    alike: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for key in sorted(groups, key=lambda key: (-_checked(groups[key]), -len(groups[key]), key)):
        alike[f"{key[0]}--{key[1]}"].append(key)
    found = []
    for slug, keys in alike.items():
        for position, key in enumerate(keys):
            name = slug if position == 0 else f"{slug}--{sha256_json(list(key))[:12]}"
            board = Board(name, tuple(groups[key]))
            board = replace(board, controls=tuple(entry for entry in entries if _controls(entry, board)))
            if leaderboards is not None:
                path = reference_rows_path(leaderboards, board.dataset, board.protocol)
                rows = read_reference_rows(path)
                if rows is not None and rows.fits(board.record):
                    board = replace(board, references=tuple(rows.rows))
            found.append((key[:2], position, board))
    return [board for *_, board in sorted(found, key=lambda item: item[:2])]


def _controls(entry: Entry, board: Board) -> bool:
    first = entry.submission.first
    return first.protocol_hash == board.record.protocol_hash and is_control(first.dataset, board.record.dataset)


def _checked(entries: list[Entry]) -> int:
    return sum(entry.level is not Level.REPORTED for entry in entries)
