"""Trackers: the numbers that arrive, and what happens without the library."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import QUICK_OPTIONS, Cli, refused

from ltgen_bench.core.errors import ConfigError, MissingExtraError, UnknownNameError
from ltgen_bench.core.tracking import TRACKERS, Tracker, Tracking


def test_tensorboard_has_every_number_of_the_log(cli: Cli, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    code, _, err = cli("train", *QUICK_OPTIONS, "--track", "tensorboard", "-q")
    assert code == 0, err
    (run,) = tmp_path.glob("runs/*/*/*")
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    rows = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    assert {"losses/diffusion", "gradient_norm", "learning_rate", "images_per_second"} <= set(events.Tags()["scalars"])
    found = [(scalar.step, scalar.value) for scalar in events.Scalars("losses/diffusion")]
    assert found == [(row["step"], pytest.approx(row["losses"]["diffusion"], rel=1e-6)) for row in rows]


def test_an_unknown_tracker_is_refused_before_training(cli: Cli) -> None:
    assert "did you mean 'tensorboard'" in refused(cli("train", *QUICK_OPTIONS, "--track", "tensorbord", "-q"))


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_hosted_tracker_gets_the_rows(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The library's interface as it is documented; the library itself needs an account or a server."""
    calls: list[tuple[str, Any]] = []
    library = SimpleNamespace(
        init=lambda **options: calls.append(("init", options)),
        log=lambda values, step: calls.append(("log", (step, values))),
        finish=lambda: calls.append(("finish", None)),
    )
    monkeypatch.setitem(sys.modules, name, library)
    tracking = Tracking([name], tmp_path, "ddpm digits-lt s0", {"seed": 0})
    tracking.log({"step": 3, "losses": {"diffusion": 0.5}, "device": "cpu", "fine": True})
    tracking.close()
    assert [kind for kind, _ in calls] == ["init", "log", "finish"]
    assert calls[0][1]["config"] == {"seed": 0}
    assert calls[1][1] == (3, {"losses.diffusion": 0.5})


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_missing_library_is_one_line_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'ltgen-bench\[{name}\]'"):
        Tracking([name], tmp_path, "x", {})


def test_a_tracker_of_ones_own() -> None:
    rows: list[tuple[int, Mapping[str, float]]] = []

    @TRACKERS.register("mine-for-this-test")
    class Mine(Tracker):
        def __init__(self, folder: Path, name: str, config: Mapping[str, Any]):
            pass

        def log(self, step: int, values: Mapping[str, float]) -> None:
            rows.append((step, values))

        def close(self) -> None:
            rows.append((-1, {}))

    tracking = Tracking(["mine-for-this-test"], Path(), "x", {})
    tracking.log({"step": 1, "seconds": 2})
    tracking.close()
    assert rows == [(1, {"seconds": 2.0}), (-1, {})]
    with pytest.raises(ConfigError, match="is not a subclass"):
        TRACKERS.register("no-tracker")(print)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError):
        TRACKERS.get("nobody")
