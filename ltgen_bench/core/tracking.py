"""Trackers: where a training's numbers go besides the run's own `stats.jsonl`, by name.

A tracker is registered like a method: `TRACKERS.register("name")` in a `--plugin` file, or the entry point group
`ltgen_bench.trackers`. What it costs is what its library costs; it is called once for every logged row.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltgen_bench.core.errors import ConfigError, MissingExtraError
from ltgen_bench.core.registry import Registry


class Tracker(ABC):
    """Takes the numbers of one run; made when its training begins."""

    @abstractmethod
    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]):
        """`folder` is the run's; `name` says method, data set and seed; `config` are JSON values."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of an optimiser step, by dotted names such as `losses.diffusion`."""

    @abstractmethod
    def close(self) -> None:
        """Write what is still to be written; called at the end, and on errors."""


def _check_tracker(name: str, thing: object) -> None:
    if not (isinstance(thing, type) and issubclass(thing, Tracker)):
        raise ConfigError(f"tracker {name!r} is not a subclass of ltgen_bench.core.tracking.Tracker")


TRACKERS: Registry[type[Tracker]] = Registry("tracker", "ltgen_bench.trackers", check=_check_tracker)


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """Event files in the run's folder: `tensorboard --logdir runs`."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError("--track tensorboard: pip install 'ltgen-bench[tensorboard]'") from None
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar a value."""
        for name, value in values.items():
            self._writer.add_scalar(name.replace(".", "/"), value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


class _Hosted(Tracker):
    """wandb, and trackio, which has its interface; both go offline by their own environment variables."""

    module: str

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]):
        try:
            self._library = __import__(self.module)
        except ImportError:
            raise MissingExtraError(f"--track {self.module}: pip install 'ltgen-bench[{self.module}]'") from None
        project = os.environ.get("LTGEN_BENCH_PROJECT", "ltgen-bench")
        self._run = self._library.init(project=project, name=name, config=dict(config), **self._options(folder))

    def _options(self, folder: Path) -> dict[str, Any]:
        return {}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row."""
        self._library.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run there."""
        self._library.finish()


@TRACKERS.register("wandb")
class WeightsAndBiases(_Hosted):
    """Weights & Biases; `WANDB_MODE=offline` keeps everything in the run's folder."""

    module = "wandb"

    def _options(self, folder: Path) -> dict[str, Any]:
        return {"dir": str(folder), "resume": "allow", "id": f"ltgen-{folder.parent.parent.name}-{folder.name}"}


@TRACKERS.register("trackio")
class Trackio(_Hosted):
    """trackio, local first."""

    module = "trackio"


class Tracking:
    """The trackers of one training, called with the rows of `stats.jsonl`."""

    def __init__(self, names: list[str], folder: Path, name: str, config: Mapping[str, Any]):
        self._trackers = [TRACKERS.get(each)(folder, name, config) for each in names]

    def log(self, row: Mapping[str, Any]) -> None:
        """Pass on every number of a row, by dotted names."""
        values = dict(_numbers("", row))
        step = int(values.pop("step", 0))
        for tracker in self._trackers:
            tracker.log(step, values)

    def close(self) -> None:
        """Close all."""
        for tracker in self._trackers:
            tracker.close()


def _numbers(prefix: str, values: Mapping[str, Any]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _numbers(f"{prefix}{key}.", value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((f"{prefix}{key}", float(value)))
    return found
