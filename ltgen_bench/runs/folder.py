"""A run's folder: `runs/<dataset>/<method>/<config hash>-s<seed>/`, owned by one process at a time.

The folder belongs to one configuration. Another one is refused with the difference shown; a second start of the same
one continues where the first stopped.
"""

from __future__ import annotations

import json
import traceback
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ltgen_bench.core.config import RunConfig
from ltgen_bench.core.errors import ConfigError
from ltgen_bench.core.mappings import difference, read_toml
from ltgen_bench.core.storage import locked_folder, storage_errors, write_json, write_text
from ltgen_bench.core.text_files import parse_json, read_text_bounded


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path, model_file: str = "model.safetensors"):
        self.path = Path(path)
        self.config = self.path / "config.toml"
        self.environment = self.path / "environment.json"
        self.log = self.path / "log.txt"
        self.stats = self.path / "stats.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.training_state = self.checkpoints / "training-state.safetensors"
        self.model = self.checkpoints / model_file
        self.samples = self.path / "samples" / "samples.npz"
        self.samples_note = self.path / "samples" / "samples.json"
        self.guidance = self.path / "guidance.json"  # the scales that were tried
        self.record = self.path / "record.json"
        self.figures = self.path / "figures"

    def claim(self, config: RunConfig, dataset_fingerprint: str | None, method_sha256: str | None = None) -> None:
        """Create the folder for `config`, or check that it is this configuration's, this data's and this method's.

        `method_sha256`: of a plug-in's code. Raises ConfigError with the difference, StorageError when the folder
        cannot be written.
        """
        with storage_errors(self.path):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        if self.config.exists():
            theirs = read_run_config(self.config)
            changes = difference({**theirs.identity(), "seed": theirs.seed}, {**config.identity(), "seed": config.seed})
            if changes:
                raise ConfigError(
                    f"{self.path} holds a run with another configuration ({'; '.join(changes)}); "
                    "choose another --run-dir, or keep the old values"
                )
        else:
            write_text(self.config, config.to_toml())
        known = self.path / "dataset.json"
        if dataset_fingerprint is not None:
            if known.exists() and _written(known).get("fingerprint") != dataset_fingerprint:
                raise ConfigError(
                    f"{self.path} holds a run on other images: the data set has changed since it began; "
                    "choose another --run-dir, or restore the images"
                )
            write_json(known, {"name": config.dataset.name, "fingerprint": dataset_fingerprint})
        code = self.path / "method.json"
        if code.exists() and _written(code).get("sha256") != method_sha256:
            raise ConfigError(
                f"{self.path} holds a run of another version of method {config.method['name']!r}: its code has changed "
                "since; remove that folder, choose another --run-dir, or restore the code"
            )
        if method_sha256 is not None:
            write_json(code, {"name": config.method["name"], "sha256": method_sha256})

    def locked(self) -> AbstractContextManager[None]:
        """Hold the folder alone; raises StorageError when another process has it."""
        busy = f"another process is working in {self.path}; wait for it or choose another seed"
        return locked_folder(self.path, busy)

    def log_traceback(self, error: BaseException) -> None:
        """Add an exception's traceback, and that of its cause, to `log.txt`."""
        with storage_errors(self.log), self.log.open("a", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(error))

    def append_stats(self, row: dict[str, Any]) -> None:
        """Add one row to `stats.jsonl`."""
        with storage_errors(self.stats), self.stats.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def read_stats(self) -> list[dict[str, Any]]:
        """The rows of `stats.jsonl`; where a resumed run repeated steps, the later rows count."""
        if not self.stats.exists():
            return []
        rows: list[dict[str, Any]] = []
        for line in self.stats.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # cut off by a kill in the middle of a line
                continue
            if not isinstance(row, dict):
                continue
            if isinstance(step := row.get("step"), int):
                rows = [kept for kept in rows if not isinstance(kept.get("step"), int) or kept["step"] < step]
            rows.append(row)  # a method of somebody's own may log without steps
        return rows


def _written(path: Path) -> dict[str, Any]:
    """What an earlier start wrote; raises ConfigError for a file that was damaged since."""
    value = parse_json(read_text_bounded(path, error=ConfigError), str(path), error=ConfigError)
    if not isinstance(value, dict):
        raise ConfigError(f"{path} is damaged; remove it, and the run goes on if nothing else has changed")
    return value


def run_path(runs_dir: Path, config: RunConfig, dataset_name: str) -> Path:
    """Where a configuration's run lives."""
    return Path(runs_dir) / dataset_name / str(config.method["name"]) / f"{config.hash()}-s{config.seed}"


def read_run_config(path: Path) -> RunConfig:
    """The configuration in a run's `config.toml`; raises ConfigError when it is not one."""
    return RunConfig.as_written(read_toml(path))
