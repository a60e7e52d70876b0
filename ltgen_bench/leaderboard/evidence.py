"""Samples and trained weights of one seed a method, committed so that anybody can draw some of the samples again.

`leaderboards/evidence/<data set>/<submission>/` holds `<seed>.npz`, the samples, and `<seed>.weights.npz`, the weights
rounded (`submission.rounded_weights`) and packed: the bytes of float32 numbers by significance, of which the first ones
are much alike and the last ones 0. That is two fifths of the file. Rounded weights draw the samples up to a grey level
here and there (a row's root mean square below .9 of 255, `tests/statistics/redrawing.md`); `verify --model` has drawn
them from the exact ones, and its file holds the hash of both. What is no .safetensors is kept as it is.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltgen_bench.core.devices import resolve_device
from ltgen_bench.core.errors import DataError, UserError
from ltgen_bench.core.generated import check_no_links, check_real_folder
from ltgen_bench.core.npz import npz_headers, read_npz
from ltgen_bench.core.storage import atomic_path, sha256_file
from ltgen_bench.leaderboard.collect import Entry
from ltgen_bench.leaderboard.submission import SubmissionError
from ltgen_bench.leaderboard.submission.departures import dataset_of
from ltgen_bench.leaderboard.submission.redraw import redraw_rows
from ltgen_bench.leaderboard.submission.rounded_weights import round_weights, rounded_sha256
from ltgen_bench.leaderboard.submission.verification import Verification, find_record, read_untrusted_samples

MOST_WEIGHTS = 20_000_000
"""Bytes of weights that a repository of leaderboards may hold."""

_WEIGHTS = ".weights.npz"
_PLANES = 4  # bytes of a float32


@dataclass(frozen=True)
class Drawn:
    """One seed of a submission: how many rows were drawn again, how near they are, or why it does not hold."""

    submission: Path
    seed: int | None  # None: a file that belongs to no seed
    rows: int = 0
    apart: float = 0.0  # root mean square, of 255, of the row that differs most: the weights are rounded
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "submission": str(self.submission)}


def pack_weights(source: Path, target: Path) -> None:
    """Write a .safetensors as `target`, from which `unpack_weights` makes every byte again."""
    data = np.fromfile(source, dtype=np.uint8)
    whole = len(data) // _PLANES * _PLANES
    planes = data[:whole].reshape(-1, _PLANES).T
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in (("planes", planes), ("rest", data[whole:])):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)


def unpack_weights(packed: Path, target: Path) -> None:
    """Write the .safetensors that `packed` was made from; raises SamplesError or DataError for any other file."""
    if not packed.is_file() or packed.stat().st_size > MOST_WEIGHTS:
        raise DataError(f"{packed} is no file of packed weights of at most {MOST_WEIGHTS:,} bytes")
    headers = npz_headers(packed)
    planes, rest = headers.get("planes"), headers.get("rest")
    fits = planes is not None and rest is not None and planes[1] == rest[1] == np.dtype(np.uint8)
    if not fits or planes is None or len(planes[0]) != 2 or planes[0][0] != _PLANES or planes[0][1] > MOST_WEIGHTS:
        raise DataError(f"{packed} holds no packed weights")
    arrays = read_npz(packed, ("planes", "rest"))
    with target.open("wb") as file:
        file.write(np.ascontiguousarray(arrays["planes"].T).tobytes())
        file.write(arrays["rest"].tobytes())


def evidence_path(leaderboards: Path, entry: Entry, seed: int) -> tuple[Path, Path]:
    """Where samples and packed weights of a seed are kept."""
    folder = leaderboards / "evidence" / entry.submission.first.dataset.name / entry.name
    return folder / f"{seed}.npz", folder / f"{seed}{_WEIGHTS}"


def keep_evidence(leaderboards: Path, entry: Entry, samples: Path, weights: Path) -> tuple[Path, Path]:
    """Copy the samples and the weights of a seed that `verify --model` has drawn again to where `check` finds them.

    Raises SamplesError for samples of no record, SubmissionError for weights that were not verified and where the
    repository would hold more than `MOST_WEIGHTS` bytes of weights.
    """
    seed = find_record(entry.submission, read_untrusted_samples(samples, entry.submission.first), str(samples))
    verification = entry.verifications.get(seed)
    if verification is None or verification.weights_sha256 != sha256_file(weights):
        raise SubmissionError(f"{weights} are not the weights that verify drew seed {seed} of {entry.name} from")
    kept, packed = evidence_path(leaderboards, entry, seed)
    check_real_folder(packed.parent, leaderboards)
    packed.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=packed.parent) as folder:
        made, rounded = Path(folder) / "packed", Path(folder) / "rounded"
        if verification.rounded_weights_sha256 is not None:
            round_weights(weights, rounded)
        pack_weights(weights if verification.rounded_weights_sha256 is None else rounded, made)
        others = sum(f.stat().st_size for f in (leaderboards / "evidence").rglob(f"*{_WEIGHTS}") if f != packed)
        if (total := others + made.stat().st_size) > MOST_WEIGHTS:
            raise SubmissionError(f"with these there are {total:,} bytes of weights; at most {MOST_WEIGHTS:,} are kept")
        made.replace(packed)
    with atomic_path(kept) as temporary:
        shutil.copyfile(samples, temporary)
    return kept, packed


def _rounded_from_verified(verification: Verification | None, weights: Path) -> bool:
    """Whether these are the weights that were verified, with fewer digits."""
    wanted = None if verification is None else verification.rounded_weights_sha256
    return wanted is not None and wanted == rounded_sha256(weights)


def draw_again(
    leaderboards: Path, entries: list[Entry], *, rows: int, data_root: Path, device: str = "auto"
) -> Iterator[Drawn]:
    """Draw `rows` random rows of every seed whose evidence is kept again; one that fails does not stop the others."""
    check_real_folder(leaderboards / "evidence", leaderboards)
    check_no_links(leaderboards / "evidence")
    known = set()
    for entry in entries:
        for seed, record in sorted(entry.records.items()):
            samples, packed = evidence_path(leaderboards, entry, seed)
            if not samples.exists() and not packed.exists():
                continue
            known |= {samples, packed}
            try:
                with tempfile.TemporaryDirectory() as folder:
                    weights = Path(folder) / "model.safetensors"
                    unpack_weights(packed, weights)
                    verification = entry.verifications.get(seed)
                    exact = verification is not None and verification.weights_sha256 == sha256_file(weights)
                    if not exact and not _rounded_from_verified(verification, weights):
                        raise SubmissionError("its weights are not those that were verified")
                    given = read_untrusted_samples(samples, entry.submission.first)
                    if find_record(entry.submission, given, str(samples)) != seed:
                        raise SubmissionError("its samples are another seed's")
                    dataset = dataset_of(record.dataset.name, data_root)
                    where = resolve_device(device)
                    drawn = redraw_rows(record, given, weights, dataset, where, rows, rounded=not exact)
                yield Drawn(entry.submission.path, seed, drawn.rows, round(drawn.apart, 3))
            except UserError as error:
                yield Drawn(entry.submission.path, seed, problem=str(error))
    root = leaderboards / "evidence"
    for path in sorted(path for path in root.rglob("*") if not path.is_dir() and path not in known):
        yield Drawn(path, None, problem="it belongs to no submission")
