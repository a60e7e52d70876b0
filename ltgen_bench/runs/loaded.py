"""A run that is there, from Python: its record, its samples, and its trained model to draw from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltgen_bench.core.config import RunConfig
from ltgen_bench.core.devices import cpu_threads, resolve_device
from ltgen_bench.core.errors import CheckpointError, ConfigError, MissingFileError
from ltgen_bench.core.mappings import without_none
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.seeding import sample_seeds
from ltgen_bench.datasets import Dataset
from ltgen_bench.evaluation.feature_sets import FeatureSets
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.record import Record
from ltgen_bench.evaluation.record_files import read_record
from ltgen_bench.evaluation.samples import Samples, read_samples
from ltgen_bench.methods import Method
from ltgen_bench.runs.folder import RunFolder, read_run_config
from ltgen_bench.runs.resolve import ResolvedRun, resolve
from ltgen_bench.runs.sampling_stage import SamplingStage
from ltgen_bench.runs.trained_models import load_trained


def load_run(path: str | Path, *, data_root: str | Path = "data", device: str = "auto") -> LoadedRun:
    """The run in a folder that `run` or `train` made; nothing is read before it is asked for, and nothing is written.

    Raises ConfigError for a folder that is no run.
    """
    folder = Path(path)
    if not (folder / "config.toml").is_file():
        raise ConfigError(f"{folder} is not a run: it has no config.toml; give a folder that 'train' or 'run' made")
    written = without_none(read_run_config(folder / "config.toml").values())
    resolved = resolve(written, Path(data_root))
    return LoadedRun(resolved, RunFolder(folder, resolved.method_class.model_file), Path(data_root), device)


@dataclass(frozen=True)
class LoadedRun:
    """A run's parts. Those that a stage still has to make raise MissingFileError or CheckpointError, and say which."""

    resolved: ResolvedRun
    folder: RunFolder
    data_root: Path
    device: str

    def __repr__(self) -> str:
        config = self.config
        state = "finished" if self.folder.record.is_file() else "trained" if self.folder.model.is_file() else "begun"
        return f"<run {self.folder.path}: {config.method['name']} on {self.dataset.name}, seed {config.seed}, {state}>"

    @property
    def config(self) -> RunConfig:
        """The resolved configuration."""
        return self.resolved.config

    @property
    def dataset(self) -> Dataset:
        """The data set, with its training and reference images."""
        return self.resolved.dataset

    @cached_property
    def record(self) -> Record:
        """What was measured: `run.record.metrics.fid`, `.metrics.groups`, `.guidance` ..."""
        if not self.folder.record.is_file():
            raise MissingFileError(f"{self.folder.path} has no record yet; 'ltgen-bench run' finishes it")
        return read_record(self.folder.record)

    @cached_property
    def samples(self) -> Samples:
        """The reported samples: `.images` uint8 (N, C, H, W), `.labels` int64 (N,) or None."""
        if not self.folder.samples.is_file():
            raise MissingFileError(f"{self.folder.path} has no samples yet; 'ltgen-bench run' draws them")
        return read_samples(self.folder.samples, labelled=self.config.labelled)

    @property
    def stats(self) -> list[dict[str, Any]]:
        """The rows that training logged: step, losses, seconds."""
        return self.folder.read_stats()

    @cached_property
    def method(self) -> Method:
        """The trained model, on the device, at the guidance scale that was chosen."""
        if not self.folder.model.is_file():
            raise CheckpointError(f"{self.folder.path} is not fully trained; 'ltgen-bench train' continues it")
        method = load_trained(self.resolved, self.folder, resolve_device(self.device))
        if not self.config.uses("sampling"):
            return method
        try:
            sampling = SamplingStage(self.config, self.folder, Progress()).sampling
        except CheckpointError:  # no scale was chosen yet: none
            sampling = self.config.sampling.at_scale(0.0)
        method.run = method.run.model_copy(update={"sampling": sampling})
        return method

    def sample(
        self, labels: Sequence[int] | np.ndarray, seed: int = 0, *, guidance_scale: float | None = None
    ) -> np.ndarray:
        """Draw an image for each label, uint8 (N, C, H, W); image i depends on its label, `seed` and i only.

        `guidance_scale` is w in eps_c + w (eps_c - eps_u), 0 is off; None is the run's own.
        """
        wanted = torch.as_tensor(np.asarray(labels, dtype=np.int64))
        if (
            wanted.ndim != 1
            or not len(wanted)
            or not 0 <= int(wanted.min()) <= int(wanted.max()) < len(self.dataset.class_names)
        ):
            raise ConfigError(f"labels are a list of classes, 0 to {len(self.dataset.class_names) - 1}")
        method, before = self.method, self.method.run
        if guidance_scale is not None and not self.config.uses("sampling"):
            raise ConfigError(f"method {self.config.method['name']} has no guidance: leave guidance_scale out")
        if guidance_scale is not None:
            method.run = before.model_copy(update={"sampling": before.sampling.at_scale(guidance_scale)})
        size = self.config.execution.sampling_batch_size
        try:
            with cpu_threads(self.config.execution.threads), torch.inference_mode():
                parts = [
                    method.sample(part, sample_seeds(seed, range(size * number, size * number + len(part))))
                    for number, part in enumerate(torch.split(wanted, size))
                ]
        finally:
            method.run = before
        return np.concatenate([part.cpu().numpy() for part in parts])

    def features(self, images: np.ndarray | None = None) -> np.ndarray:
        """Features float32 (N, D), in the protocol's network, of `images` uint8 (N, C, H, W) or of the samples."""
        places = EvaluationPlaces(self.data_root)
        device = resolve_device(self.device)
        sets = FeatureSets.of(self.config.protocol, replace(places, cache=False), device, 128, Progress())
        return sets.of_images("images", self.samples.images if images is None else images)
