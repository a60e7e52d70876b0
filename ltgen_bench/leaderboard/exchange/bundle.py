"""A finished run as a folder that can be published, and a run again from such a folder of anybody's.

A bundle is the run's own files under their own names, a model card, and the sha256 of each. What comes in is a
stranger's: plain files of known names and sizes, a record that is valid, samples and configuration that are its own.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ltgen_bench.core.config import RunConfig, build
from ltgen_bench.core.errors import DataError, MissingFileError
from ltgen_bench.core.mappings import read_toml
from ltgen_bench.core.plain_text import shown
from ltgen_bench.core.storage import sha256_file, storage_errors, write_text
from ltgen_bench.evaluation.feature_files import write_statistics
from ltgen_bench.evaluation.record import Record
from ltgen_bench.evaluation.record_files import MAX_RECORD_BYTES, read_record
from ltgen_bench.leaderboard.exchange.model_card import model_card
from ltgen_bench.leaderboard.submission.untrusted import CHECKSUMS, SubmissionError, check_json, parse_sums, read_bytes
from ltgen_bench.leaderboard.submission.validate import validate_record
from ltgen_bench.leaderboard.submission.verification import read_untrusted_samples
from ltgen_bench.metrics import GaussianStatistics

_CARD, _STATISTICS = "README.md", "reference-statistics.npz"
_SMALL, _MODEL = 1 << 20, 64 << 30
_WEIGHTS = re.compile(r"checkpoints/[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LIMITS = {
    "config.toml": _SMALL,
    "record.json": MAX_RECORD_BYTES,
    "dataset.json": _SMALL,
    "method.json": _SMALL,
    "environment.json": _SMALL,
    "guidance.json": 16 * _SMALL,
    "stats.jsonl": 256 * _SMALL,
    "samples/samples.json": _SMALL,
    "samples/samples.npz": _MODEL,
    "figures/samples.png": 16 * _SMALL,
    _CARD: _SMALL,
    _STATISTICS: 1 << 30,
}
"""The files of a bundle, by their names in a run's folder, and the most bytes of each; weights come to them."""

_NEEDED = ("config.toml", "record.json", "dataset.json", "samples/samples.npz", "samples/samples.json")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Bundle:
    """A folder whose files were found to be what they are said to be."""

    path: Path
    files: dict[str, str]  # sha256 by name
    config: RunConfig
    record: Record


def export_run(run: Path, target: Path, statistics: GaussianStatistics | None = None) -> dict[str, Path]:
    """Write the bundle of a finished `run` to `target`, which must not exist; returns its files by name.

    `statistics` are those of the reference in the protocol's network: with them anybody computes the distance without
    its images. Raises MissingFileError for a run that is not finished, DataError for a folder that exists.
    """
    if target.exists():
        raise DataError(f"{target} exists; a bundle is not written over anything")
    record, model = _finished(run)
    names = [name for name in _LIMITS if (run / name).is_file() and name not in (_CARD, _STATISTICS)]
    names.append(model)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
            draft = Path(temporary) / target.name
            for name in names:
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(run / name, draft / name)
            if statistics is not None:
                write_statistics(draft / _STATISTICS, statistics)
            sizes = {p.relative_to(draft).as_posix(): p.stat().st_size for p in sorted(draft.rglob("*")) if p.is_file()}
            write_text(draft / _CARD, model_card(record, sizes, model))
            every = sorted([*sizes, _CARD])
            sums = "".join(f"{sha256_file(draft / name)}  {name}\n" for name in every)
            write_text(draft / CHECKSUMS, sums)
            draft.rename(target)
    return {name: target / name for name in (*every, CHECKSUMS)}


def _finished(run: Path) -> tuple[Record, str]:
    if not (run / "config.toml").is_file():
        raise MissingFileError(f"{run} is not a run's folder; 'ltgen-bench run' makes one")
    for name in _NEEDED:
        if not (run / name).is_file():
            raise MissingFileError(f"{run} is not finished: it has no {name}; 'ltgen-bench run' finishes it")
    models = [path for path in (run / "checkpoints").glob("*") if path.name != "training-state.safetensors"]
    models = [path for path in models if path.is_file() and not path.name.startswith(".")]
    if len(models) != 1:
        raise MissingFileError(f"{run} has no trained model in checkpoints/; 'ltgen-bench run' makes one")
    return read_record(run / "record.json"), f"checkpoints/{models[0].name}"


def read_bundle(path: Path) -> Bundle:
    """Check a stranger's bundle as far as that is possible without its data set and its method's code.

    Raises SubmissionError, SamplesError, RecordError or ConfigError of one line: for a link, a name that does not
    belong, a file that is too large or not the one of its sha256, a record that contradicts itself, a configuration or
    samples that are not the record's.
    """
    files = _checked_files(path)
    record = validate_record(read_bytes(path / "record.json", MAX_RECORD_BYTES), str(path / "record.json"))
    for name in ("dataset.json", "method.json", "environment.json", "guidance.json", "samples/samples.json"):
        if name in files:
            check_json(read_bytes(path / name, _LIMITS[name]), str(path / name))
    config: RunConfig = build(RunConfig, read_toml(path / "config.toml"))
    if record.method.config is None or {**config.identity()} != record.method.config or config.seed != record.seed:
        raise SubmissionError(f"{path}: config.toml is not the configuration of record.json")
    samples = read_untrusted_samples(path / "samples/samples.npz", record)
    if samples.sha256() != record.samples.sha256:
        raise SubmissionError(f"{path}: samples/samples.npz are not the samples of record.json")
    for what, name in (("data set", record.dataset.name), ("method", str(config.method["name"]))):
        if not _NAME.fullmatch(name):
            raise SubmissionError(f"{path}: the {what}'s name {shown(name)} is no folder's name")
    return Bundle(path, files, config, record)


def place_bundle(bundle: Bundle, target: Path) -> None:
    """Copy a bundle's files to the run folder `target`; raises DataError where there is one already."""
    if target.exists():
        raise DataError(f"{target} exists; nothing is written over a run: remove it, or choose another --runs-dir")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
            draft = Path(temporary) / target.name
            for name, digest in bundle.files.items():
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(bundle.path / name, draft / name)
                if sha256_file(draft / name) != digest:  # somebody is writing to it
                    raise SubmissionError(f"{bundle.path}: {name} changed while it was read")
            draft.rename(target)


def _checked_files(path: Path) -> dict[str, str]:
    """The sha256 of every file by name; raises SubmissionError unless they are those of the list, and nothing else."""
    if path.is_symlink() or not path.is_dir():
        raise SubmissionError(f"{path} is not a folder (links are not followed)")
    found: dict[str, Path] = {}
    for entry in path.rglob("*"):
        name = entry.relative_to(path).as_posix()
        if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
            raise SubmissionError(f"{path}: {shown(name)} is a link or no plain file")
        if entry.is_dir():
            continue
        limit = _SMALL if name == CHECKSUMS else _MODEL if _WEIGHTS.fullmatch(name) else _LIMITS.get(name)
        if limit is None:
            raise SubmissionError(f"{path}: {shown(name)} does not belong in a bundle")
        if entry.stat().st_size > limit:
            raise SubmissionError(f"{path}: {name} has {entry.stat().st_size:,} bytes; at most {limit:,} are allowed")
        found[name] = entry
    if CHECKSUMS not in found:
        raise SubmissionError(f"{path} is no bundle: it has no {CHECKSUMS}")
    del found[CHECKSUMS]
    listed = parse_sums(read_bytes(path / CHECKSUMS, _SMALL), path / CHECKSUMS)
    for name in _NEEDED:
        if name not in found:
            raise SubmissionError(f"{path}: {name} is missing")
    if sum(bool(_WEIGHTS.fullmatch(name)) for name in found) != 1:
        raise SubmissionError(f"{path}: a bundle has one file of weights in checkpoints/")
    if set(listed) != set(found):
        other = sorted(set(listed) ^ set(found))[0]
        raise SubmissionError(f"{path}: {shown(other)} is not in both the folder and {CHECKSUMS}")
    for name, file in found.items():
        if sha256_file(file) != listed[name]:
            raise SubmissionError(f"{path}: {name} is not the file whose sha256 {CHECKSUMS} has")
    return listed
