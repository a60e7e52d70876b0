"""One trained model under several sampling settings: a row of numbers for each, and nothing trained again."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltgen_bench.core.config import SamplingConfig, build
from ltgen_bench.core.devices import resolve_device
from ltgen_bench.core.distributed import World
from ltgen_bench.core.errors import CheckpointError, ConfigError, did_you_mean
from ltgen_bench.core.mappings import toml_value
from ltgen_bench.core.storage import read_json_object, sha256_file, sha256_json, write_json
from ltgen_bench.features import extractor_info, weights_sha256
from ltgen_bench.features.info import distance_label
from ltgen_bench.runs.pipeline import Run
from ltgen_bench.runs.trained_models import load_trained

MOST_POINTS = 1000


def parse_sweep(overrides: Sequence[str]) -> dict[str, list[Any]]:
    """`sampling.key=v1,v2` strings as lists by key; raises ConfigError for other keys and for empty lists."""
    found: dict[str, list[Any]] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        section, _, name = key.strip().partition(".")
        if not equals or section != "sampling" or name not in SamplingConfig.model_fields:
            known = [f"sampling.{field}" for field in SamplingConfig.model_fields]
            raise ConfigError(f"--set {override}: a sweep takes sampling keys; {did_you_mean(key.strip(), known)}")
        found[name] = [toml_value(part.strip(), f"--set {key}") for part in text.split(",") if part.strip()]
        if not found[name]:
            raise ConfigError(f"--set {override} names no value; give some, as in {key}=0,0.5,1")
    if not found:
        raise ConfigError("a sweep needs --set sampling.KEY=VALUE,VALUE, as in --set sampling.guidance_scale=0,0.5,1")
    return found


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found: the keys that vary, and for every combination its settings and numbers, as JSON values."""

    keys: tuple[str, ...]
    rows: list[dict[str, Any]]
    label: str  # what the distance is called
    file: Path


def sweep(work: Run, values: dict[str, list[Any]], count: int | None, seed: int | None) -> SweepResult:
    """Draw and measure `count` samples (the protocol's number) of `seed` (the run's) for every combination.

    What is not varied is the run's own, with the scale of guidance that was chosen for it.

    Every row is kept in the run's folder as it comes; what is there is not made again. Raises CheckpointError for a run
    that is not trained, ConfigError for settings that are none.
    """
    config, folder = work.config, work.folder
    if not config.uses("sampling"):
        raise ConfigError(f"method {config.method['name']} has no sampling settings: there is nothing to sweep")
    if not folder.model.is_file():
        raise CheckpointError(f"{folder.path} is not fully trained; 'train' and 'run' continue it")
    try:
        base = work.draws.sampling
    except CheckpointError:  # the protocol chooses the scale, and nobody has asked it to yet
        base = config.sampling.at_scale(0.0)
    settings = _combinations(base, values)
    count, seed = count or config.protocol.samples, config.seed if seed is None else seed
    place = folder.path / "sweeps"
    key = sha256_json([sha256_file(folder.model), config.protocol.hash(), count, seed])[:16]
    file = place / f"{'-'.join(values)}.json"
    kept: dict[str, Any] = (read_json_object(file) or {}).get(key, {})
    device = resolve_device(config.execution.device)
    evaluator = work.evaluator()
    rows, judge, method = [], None, None
    with work.computing():
        for own in settings:
            name = sha256_json(own.model_dump(mode="json"))[:16]
            if name not in kept:
                method = method or load_trained(work.resolved, folder, device)
                judge = judge or evaluator.judge(work.resolved.dataset, config.protocol)
                words = ", ".join(f"{key} {getattr(own, key)}" for key in values)
                work.progress.say(f"{words}: {count:,} samples")
                samples_key = work.draws.samples_key(count, seed, own)
                path = place / f"{name}.npz"
                kept[name] = judge(work.draws.draw(method, path, count, seed, samples_key, World(), own))
                path.unlink()
                write_json(file, {**(read_json_object(file) or {}), key: kept})
            chosen = own.model_dump(mode="json")
            rows.append({**{f"sampling.{key}": chosen[key] for key in values}, **kept[name]})
    for shards in place.glob(".*-shards-*"):
        shutil.rmtree(shards, ignore_errors=True)
    return SweepResult(tuple(f"sampling.{key}" for key in values), rows, _label(work), file)


def _label(work: Run) -> str:
    protocol, places = work.config.protocol, work.places
    name = protocol.extractor
    found = weights_sha256(name, weights=places.weights.get(name), weights_root=places.weights_root)
    return distance_label(extractor_info(name), found or "", protocol.extractor_precision)


def _combinations(base: SamplingConfig, values: dict[str, list[Any]]) -> list[SamplingConfig]:
    found = []
    for combination in itertools.product(*values.values()):
        own = {**base.model_dump(), **dict(zip(values, combination, strict=True))}
        found.append(build(SamplingConfig, own, "sampling"))
    if len(found) > MOST_POINTS:
        raise ConfigError(f"{len(found):,} combinations; a sweep has {MOST_POINTS:,} at most")
    return found
