"""A trained model's representations of real images, computed once and kept in the run's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ltgen_bench.core.devices import memory_errors, resolve_device
from ltgen_bench.core.errors import CheckpointError, ConfigError, SamplesError
from ltgen_bench.core.plugins import author_code
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.seeding import derive_seed, sample_seeds
from ltgen_bench.core.storage import atomic_path, sha256_file, sha256_json
from ltgen_bench.diffusion import NO_LABEL, SampleNoise
from ltgen_bench.methods import Method
from ltgen_bench.runs.analysis.settings import AnalysisImages, AnalysisSettings
from ltgen_bench.runs.loaded import LoadedRun
from ltgen_bench.runs.trained_models import load_trained

_BATCH = 256
_VERSION = 1  # of what is computed; raised when the numbers change


@dataclass
class Subject:
    """A run, or the network that it began with (`untrained`), to be shown images."""

    run: LoadedRun
    untrained: bool = False
    names_dataset: bool = False  # where models of several data sets are shown the same images
    _method: Method | None = None

    @property
    def title(self) -> str:
        """As tables call it."""
        name = self.run.resolved.method_class.title or str(self.run.config.method["name"])
        name += f" on {self.run.dataset.name}" if self.names_dataset else ""
        return f"{name}, untrained" if self.untrained else name

    @property
    def place(self) -> Path:
        """Where its results are kept."""
        return self.run.folder.path / "analysis"

    def check(self, settings: AnalysisSettings) -> None:
        """Raise ConfigError or CheckpointError, one line, for a run that cannot be analysed."""
        config, method_class = self.run.config, self.run.resolved.method_class
        if method_class.representations is Method.representations:
            raise ConfigError(
                f"{self.run.folder.path}: method {config.method['name']} offers no representations to analyse "
                "(its class does not define 'representations')"
            )
        if not self.untrained and not self.run.folder.model.is_file():
            raise CheckpointError(f"{self.run.folder.path} is not fully trained; 'train' and 'run' continue it")
        if config.uses("diffusion"):
            settings.check_levels(config.diffusion.timesteps)

    def key(self, images: AnalysisImages, setting: AnalysisSettings) -> str:
        """What the representations depend on, as a file's name."""
        config = self.run.config
        model = {"untrained": config.training_identity(), "seed": config.seed}
        return sha256_json(
            {
                "version": _VERSION,
                "model": model if self.untrained else sha256_file(self.run.folder.model),
                "images": images.images.fingerprint(),
                "t": list(setting.t),
                "label": list(setting.labels),
                "noise": setting.noise,
            }
        )[:16]

    def method(self) -> Method:
        """The model on the device, loaded once."""
        if self._method is None:
            device = resolve_device(self.run.device)
            if self.untrained:
                self._method = self.run.resolved.make_method()
                self._method.to(device)
            else:
                self._method = load_trained(self.run.resolved, self.run.folder, device)
        return self._method

    def release(self) -> None:
        """Let the model go: the next one needs the memory."""
        self._method = None

    def representations(
        self, images: AnalysisImages, setting: AnalysisSettings, progress: Progress
    ) -> NDArray[np.float32]:
        """Those of one noise level, float32 (N, D): read, or computed and kept. Raises SamplesError for NaN."""
        path = self.place / f"{self.key(images, setting)}.npy"
        if path.is_file():
            try:
                kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
                if kept.dtype == np.float32 and kept.ndim == 2 and len(kept) == len(images.images):
                    return kept
            except (OSError, ValueError):
                pass  # cut off or damaged: computed again
        features = self._compute(images, setting, progress)
        if not np.isfinite(features).all():
            raise SamplesError(f"{self.run.folder.path}: representations at t = {setting.t[0]} hold NaN or infinity")
        with atomic_path(path) as partial, Path(partial).open("wb") as file:
            np.save(file, features, allow_pickle=False)
        return features

    def _compute(self, images: AnalysisImages, setting: AnalysisSettings, progress: Progress) -> NDArray[np.float32]:
        method, (t,), (label,) = self.method(), setting.t, setting.labels
        count, parts = len(images.images), []
        progress.start(f"{self.title}, seed {self.run.config.seed}, t = {t}, class {label}", count, "images")
        for start in range(0, count, _BATCH):
            rows = slice(start, min(start + _BATCH, count))
            pixels = torch.from_numpy(np.ascontiguousarray(images.images.images[rows])).to(method.device)
            labels = torch.from_numpy(np.ascontiguousarray(images.images.labels[rows])).to(method.device)
            noise = None
            if setting.noise:  # of an image and a level, whoever is shown it
                seeds = sample_seeds(derive_seed(0, "analysis noise", t), range(rows.start, rows.stop))
                noise = SampleNoise(seeds, self.run.dataset.image_shape).initial().to(method.device)
            shown = labels if label == "given" else torch.full_like(labels, NO_LABEL)
            with memory_errors("use another --device"), author_code(type(method), "representations"):
                found = method.representations(pixels.float().div_(127.5).sub_(1), t, shown, noise)
            parts.append(found.float().cpu().numpy())
            progress.update(rows.stop)
        progress.finish()
        return np.concatenate(parts)
