"""Checkpoints as safetensors: tensors and a JSON header, nothing that could be executed.

Two kinds: a *model* (the EMA weights that sampling needs) and a *training state* (everything that resuming exactly
needs: weights, EMA, optimiser, gradient scaler, step). Both carry an identity in their header and are refused when it
is another one. Both are written beside the old file and renamed, so a full disk leaves the old one intact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ltgen_bench.core.errors import CheckpointError, StorageError, first_line
from ltgen_bench.core.mappings import difference
from ltgen_bench.core.storage import atomic_path
from ltgen_bench.core.text_files import parse_json

_FORMAT = "ltgen-bench checkpoint 1"


def save_model(path: Path, weights: Mapping[str, Tensor], identity: Mapping[str, Any]) -> None:
    """Write a model's weights with its identity in the header."""
    _write(path, weights, {"kind": "model", "identity": dict(identity)})


def load_model(path: Path, network: nn.Module, identity: Mapping[str, Any]) -> None:
    """Load weights into `network`; raises CheckpointError unless identity, names, shapes and dtypes all fit."""
    header, tensors = read_checkpoint(path)
    _check(path, header, "model", identity)
    load_weights(path, network, tensors)


def load_parts(path: Path, parts: Mapping[str, nn.Module], identity: Mapping[str, Any]) -> None:
    """Load several modules from one model file, each one's weights under its prefix ("": what has no other's)."""
    header, tensors = read_checkpoint(path)
    _check(path, header, "model", identity)
    prefixes = [prefix for prefix in parts if prefix]
    for prefix, module in parts.items():
        own = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if (name.startswith(prefix) if prefix else not name.startswith(tuple(prefixes)))
        }
        load_weights(path, module, own)


def load_initial(path: Path, network: nn.Module, identity: Mapping[str, Any]) -> None:
    """Load the weights of another method's model of the same network, to start training from them.

    Raises CheckpointError when network, image shape or class count differ; the method may.
    """
    header, tensors = read_checkpoint(path)
    theirs = header.get("identity")
    method = theirs.get("method") if isinstance(theirs, dict) else None
    _check(path, header, "model", {**identity, "method": method})
    load_weights(path, network, tensors)


def save_state(path: Path, tensors: Mapping[str, Tensor], identity: Mapping[str, Any], step: int) -> None:
    """Write a training state after `step` optimiser steps."""
    _write(path, tensors, {"kind": "training state", "identity": dict(identity), "step": step})


def load_state(path: Path, identity: Mapping[str, Any]) -> tuple[int, dict[str, Tensor]]:
    """The step and the tensors of a training state; raises CheckpointError for a damaged or other file."""
    header, tensors = read_checkpoint(path)
    _check(path, header, "training state", identity)
    step = header.get("step")
    if not isinstance(step, int) or step < 0:
        raise CheckpointError(f"{path} does not say after which step it was written; delete it to start anew")
    return step, tensors


def load_raw_weights(path: Path, network: nn.Module) -> None:
    """Load the network's weights as the optimiser left them, from a training state."""
    header, tensors = read_checkpoint(path)
    if header.get("kind") != "training state":
        raise CheckpointError(f"{path} is a {header.get('kind')}, and a training state was wanted")
    prefix = "model.network."
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    load_weights(path, network, own)


def load_weights(path: Path, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into a module by name; raises CheckpointError at the first that is missing or does not fit."""
    own = module.state_dict()
    for name in sorted({*own, *tensors}):
        if name not in tensors:
            raise CheckpointError(f"{path} lacks the weights {name!r} of this model")
        if name not in own:
            raise CheckpointError(f"{path} has the weights {name!r}, which this model lacks")
        if own[name].shape != tensors[name].shape:
            raise CheckpointError(
                f"{path}: {name!r} has the shape {tuple(tensors[name].shape)}, not {tuple(own[name].shape)}"
            )
        if own[name].dtype != tensors[name].dtype:
            raise CheckpointError(f"{path}: {name!r} has the dtype {tensors[name].dtype}, not {own[name].dtype}")
        if not bool(torch.isfinite(tensors[name]).all()):
            raise CheckpointError(f"{path}: {name!r} has values that are not finite")
    module.load_state_dict(dict(tensors))


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a checkpoint of either kind, on the CPU; raises CheckpointError if it is neither."""
    if not Path(path).is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = (file.metadata() or {}).get("ltgen_bench")
            if header is None:
                raise CheckpointError(f"{path} is a safetensors file of another program, not a checkpoint of this one")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint ({first_line(error)}); truncated or not a checkpoint; delete it"
        ) from error
    parsed = parse_json(header, f"{path}: its header", error=CheckpointError)
    if not isinstance(parsed, dict) or parsed.get("format") != _FORMAT:
        raise CheckpointError(f"{path} has an unknown checkpoint format; it was written by another version")
    return parsed, tensors


def _write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    text = json.dumps({"format": _FORMAT, **header}, sort_keys=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(plain, str(temporary), metadata={"ltgen_bench": text})
        except SafetensorError as error:  # its I/O errors carry no errno
            raise StorageError(
                f"cannot write the checkpoint {path} ({first_line(error)}); the one before it is intact"
            ) from error


def _check(path: Path, header: Mapping[str, Any], kind: str, identity: Mapping[str, Any]) -> None:
    if header.get("kind") != kind:
        raise CheckpointError(f"{path} is a {header.get('kind')}, and a {kind} was wanted")
    theirs = header.get("identity")
    changes = difference(theirs if isinstance(theirs, dict) else {}, json.loads(json.dumps(identity)))
    if changes:
        raise CheckpointError(f"{path} belongs to another model ({'; '.join(changes)})")
