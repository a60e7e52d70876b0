"""Weights with fewer digits: what a repository of leaderboards has room for, tied to the exact ones by a hash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ltgen_bench.core.errors import CheckpointError
from ltgen_bench.core.storage import sha256_arrays

KEPT_BITS = 8
"""Binary digits behind the first one that a weight keeps, of float32's 23."""


def round_weights(source: Path, target: Path) -> None:
    """Write a .safetensors with its float32 numbers rounded to `KEPT_BITS` digits behind the first; the rest as is.

    Raises CheckpointError for a file of another kind.
    """
    header, arrays = _read(source)
    save_file({name: _rounded(array) for name, array in arrays.items()}, target, header)


def rounded_sha256(weights: Path) -> str | None:
    """Of the tensors after `round_weights`, which leaves rounded ones as they are; None for a file of another kind."""
    try:
        _, arrays = _read(weights)
    except CheckpointError:
        return None
    return sha256_arrays(**{name: _rounded(array) for name, array in arrays.items()})


def _read(path: Path) -> tuple[dict[str, str] | None, dict[str, np.ndarray]]:
    try:
        with safe_open(str(path), framework="np") as file:
            return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is no .safetensors file, whose weights could be rounded") from error


def _rounded(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float32:
        return array
    dropped = np.uint32(23 - KEPT_BITS)
    half = np.uint32(1) << (dropped - np.uint32(1))
    bits = (array.view(np.uint32) + half) >> dropped << dropped  # a carry goes into the exponent, rightly
    rounded: np.ndarray = bits.view(np.float32)
    return rounded
