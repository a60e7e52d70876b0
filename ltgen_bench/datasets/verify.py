"""Check that a data set on this machine is what it should be: checksums, counts, index list and fingerprints.

They are compared with the manifest where it states them. What it does not state is computed on first use and kept under
the data root, so that a later change is found; the result says which of the two happened.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ltgen_bench.core.errors import DataError
from ltgen_bench.core.storage import sha256_arrays, write_json
from ltgen_bench.datasets.base import Dataset, Tell
from ltgen_bench.datasets.source_manifest import published_hashes

_WORDS = {
    "indices": "index list",
    "fingerprint": "training set",
    "reference_fingerprint": "reference set",
}


@dataclass(frozen=True)
class Check:
    """One thing that agrees: what it is, its value, and what it was compared with."""

    what: str
    value: str
    against: str


def hashes_of(dataset: Dataset) -> dict[str, str]:
    """Sha256 over the training indices, and the fingerprints of the training and the reference set; reads pixels."""
    train = dataset.train()  # its counts are compared with the stated ones as it is read
    return {
        "indices": sha256_arrays(indices=dataset.train_indices()),
        "fingerprint": dataset.fingerprint() or train.fingerprint(),
        "reference_fingerprint": dataset.reference_set().fingerprint(),
    }


def verify_dataset(dataset: Dataset, data_root: Path, tell: Tell) -> list[Check]:
    """Check everything that is known of a data set; what is not known yet is written down for the next time.

    Raises MissingFileError when it is not there, and DataError, one line, for the first thing that differs.
    """
    checks = [Check(what, value, "file") for what, value in dataset.check_files(tell)]
    tell("reading the images")
    found = hashes_of(dataset)
    total = f"{dataset.total:,} images, {dataset.class_count:,} classes"
    checks.append(Check("class counts", total, "as stated"))
    published = published_hashes(dataset.manifest_name, dataset.name)
    path = remembered_path(dataset, data_root)
    remembered = _read(path)
    new = {key: value for key, value in found.items() if key not in published and key not in remembered}
    for key, value in found.items():
        for known, where in ((published, "the manifest"), (remembered, str(path))):
            if known.get(key, value) != value:
                raise DataError(
                    f"data set {dataset.name}: the {_WORDS[key]} has sha256 {value}, not {known[key]} as in {where}"
                    + ("" if known is published else "; if the change is meant, delete that file")
                )
        against = "manifest" if key in published else "first use here" if key in remembered else "new"
        checks.append(Check(_WORDS[key], value, against))
    if new:
        write_json(path, {**remembered, **new})
        words = ", ".join(_WORDS[key] for key in new)
        tell(f"not in the manifest, so computed here and kept in {path}: {words}")
    return checks


def remembered_path(dataset: Dataset, data_root: Path) -> Path:
    """Where the hashes that no manifest states are kept.

    A user's own folder has its place in the name, because two folders may be called the same.
    """
    place = getattr(dataset, "place", "")
    ending = f"-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}" if place else ""
    return data_root / ".cache" / "fingerprints" / f"{dataset.name}{ending}.json"


def _read(path: Path) -> dict[str, str]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {key: str(values[key]) for key in _WORDS if key in values}
    except (OSError, ValueError, TypeError):
        return {}
