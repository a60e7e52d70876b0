"""A cache of features that is keyed by content and never by file name.

The key of an entry is a hash over the images' bytes and shape, the weights' hash, and the extractor's name, version
and precision. Two folders that happen to be called the same cannot share an entry, and changed weights never hit an
old one. The device is not part of the key: CPU and GPU differ by float32 rounding only. Each entry is one safetensors
file with a checksum of its arrays inside; one that is cut off or damaged counts as absent and is written again.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ltgen_bench.core.errors import StorageError
from ltgen_bench.core.storage import atomic_path, sha256_arrays, sha256_json, storage_errors

if TYPE_CHECKING:
    from ltgen_bench.features.base import Extractor

FORMAT = "ltgen-bench-features-v1"


@dataclass(frozen=True)
class CacheEntry:
    """One stored chunk of features."""

    path: Path
    size: int  # bytes
    extractor: str  # "" for an entry that cannot be read
    images: int


def feature_key(images: np.ndarray, extractor: Extractor) -> str:
    """The key for the features of `images`, uint8 (N, C, H, W), by `extractor`: 64 hexadecimal digits."""
    return sha256_json(
        {
            "format": FORMAT,
            "images": sha256_arrays(images=images),
            "weights": extractor.weights_sha256,
            "extractor": extractor.name,
            "version": extractor.version,
            "precision": extractor.precision,
        }
    )


class FeatureCache:
    """Features on disk below `root`, which is made when something is stored.

    Nothing depends on it but time: what cannot be stored (a full or read-only disk, a folder that somebody deletes) is
    computed again another time, and `warn` is called with one line, once.
    """

    def __init__(self, root: Path, warn: Callable[[str], None] = warnings.warn):
        self.root = Path(root)
        self._warn = warn
        self._warned = False

    def _path(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}.safetensors"

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays stored under `key`, or None; a damaged entry is deleted and counts as absent."""
        path = self._path(key)
        if not path.is_file():
            return None
        arrays = _read(path, key)
        if arrays is None:
            with contextlib.suppress(OSError):  # a read-only cache still must not stop the extraction
                path.unlink()
        return arrays

    def put(self, key: str, arrays: dict[str, np.ndarray], *, extractor: str) -> None:
        """Store `arrays` (all with N rows) under `key`, atomically, if that is possible."""
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        path = self._path(key)
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        metadata = {
            "format": FORMAT,
            "key": key,
            "checksum": sha256_arrays(**whole),
            "extractor": extractor,
            "images": str(len(next(iter(whole.values())))),
        }
        try:
            with atomic_path(path) as temporary:
                save_file(whole, temporary, metadata)
        except (StorageError, SafetensorError, OSError) as error:  # the second is save_file's word for an OSError
            if not self._warned:
                self._warn(f"features are not kept in {self.root}: {' '.join(str(error).split())}")
            self._warned = True

    def entries(self) -> list[CacheEntry]:
        """Everything stored, by path; reads headers only."""
        found = []
        for path in sorted(self.root.glob("??/*.safetensors")):
            if path.name.startswith("."):
                continue  # being written
            metadata = _metadata(path) or {}
            images = int(metadata.get("images", "0"))
            found.append(CacheEntry(path, path.stat().st_size, metadata.get("extractor", ""), images))
        return found

    def size(self) -> int:
        """Bytes in use."""
        return sum(entry.size for entry in self.entries())

    def clear(self, *, extractor: str | None = None) -> int:
        """Delete all entries, or those of one extractor, and return the bytes freed.

        Only files that this cache writes are touched: entries, and what a killed process left half written.
        """
        freed = 0
        doomed = [entry for entry in self.entries() if extractor in (None, entry.extractor)]
        with storage_errors(self.root):
            for entry in doomed:
                entry.path.unlink(missing_ok=True)
                freed += entry.size
            for partial in self.root.glob("??/.*.partial.safetensors") if extractor is None else ():
                freed += partial.stat().st_size
                partial.unlink(missing_ok=True)
            for folder in self.root.glob("??"):
                with contextlib.suppress(OSError):  # not empty, or not a folder
                    folder.rmdir()
        return freed


def _metadata(path: Path) -> dict[str, str] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return None


def _read(path: Path, key: str) -> dict[str, np.ndarray] | None:
    """The arrays in `path` if it is whole and belongs to `key`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    metadata = _metadata(path)
    if metadata is None or metadata.get("format") != FORMAT or metadata.get("key") != key:
        return None
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError):
        return None
    return arrays if arrays and sha256_arrays(**arrays) == metadata.get("checksum") else None
