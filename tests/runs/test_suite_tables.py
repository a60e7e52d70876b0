"""A suite's curves and its numbers beside printed ones."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from leaderboard_records import make_record

from ltgen_bench.evaluation.record_files import parse_record
from ltgen_bench.runs.suites import curves
from ltgen_bench.runs.suites.published import beside_published, published_markdown


def row(method: str, values: dict[str, float], label: str = "FID", dataset: str = "cifar10lt") -> dict[str, Any]:
    numbers = list(values.values())
    mean = sum(numbers) / len(numbers)
    std = (sum((v - mean) ** 2 for v in numbers) / (len(numbers) - 1)) ** 0.5 if len(numbers) > 1 else None
    return {
        "dataset": dataset, "protocol": "cifar-50k.v1", "method": method, "settings": "", "label": label,
        "n": len(numbers), "wanted": 3, "metrics": {"fid": {"values": values, "mean": mean, "std": std}},
    }  # fmt: skip


PRINTED = {
    ("cifar10lt", "DDPM"): {"fid": 6.17, "recall": 0.52},
    ("cifar10lt", "CORAL"): {"fid": 5.32},
    ("cifar10lt", "Ambient Space Contrastive"): {"fid": 5.85},
}


def test_a_printed_number_lies_in_our_interval_or_not() -> None:
    rows = [
        row("DDPM", {"0": 6.0, "1": 6.2, "2": 6.4}),
        row("CORAL", {"0": 5.9, "1": 5.95, "2": 6.0}),
        row("Ambient contrastive", {"0": 5.0}),
        row("T2H", {"0": 5.0, "1": 6.0}),
    ]
    found = {one["method"]: one for one in beside_published(rows, PRINTED)}
    assert set(found) == {"DDPM", "CORAL", "Ambient contrastive"}
    assert found["DDPM"]["within"] is True
    assert found["DDPM"]["low"] == pytest.approx(6.2 - 4.30265 * 0.2 / 3**0.5, abs=1e-4)  # t(2, .975)
    assert found["DDPM"]["difference"] == pytest.approx(0.03)
    assert found["CORAL"]["within"] is False
    assert found["Ambient contrastive"]["within"] is None  # one seed
    table = published_markdown(list(found.values()))
    assert "| yes " in table
    assert "| one seed has none |" in table


def test_another_network_is_never_called_the_same() -> None:
    (one,) = beside_published([row("DDPM", {"0": 6.0, "1": 6.4}, label="FD[efficientnet-lite0]")], PRINTED)
    assert one["within"] is None
    assert "another network" in published_markdown([one])
    assert "No number of this suite is printed" in published_markdown([])
    assert beside_published([row("DDPM", {"0": 6.0}, dataset="digits-lt")], PRINTED) == []


def test_a_curve_holds_what_agrees_in_everything_else(tmp_path: Path, monkeypatch) -> None:
    """The default's value belongs to the curve of every key, whatever cell of the suite it came from."""

    def run(seed: int = 0, distance: float = 1.0, **settings: float) -> Any:
        values = {"temperature": 0.12, "decay": 0.8} | settings
        config = SimpleNamespace(
            identity=lambda: {"method": {"name": "coral", **values}, "training": {"steps": 5}},
            protocol=SimpleNamespace(name="digits-1k.v1"),
        )
        record = tmp_path / f"{seed}-{values['temperature']}-{values['decay']}.json"
        made = make_record("coral", 0, distance)
        record.write_text(json.dumps(made))
        return SimpleNamespace(
            cell=SimpleNamespace(settings={f"method.{key}": value for key, value in settings.items()}, method="coral"),
            resolved=SimpleNamespace(
                config=config, dataset=SimpleNamespace(name="digits-lt"), method_class=SimpleNamespace(title="CORAL")
            ),
            folder=SimpleNamespace(record=record),
        )

    runs = [
        run(temperature=0.08, distance=3.0),
        run(temperature=0.12, distance=1.0),
        run(temperature=0.16, distance=2.0),
        run(decay=0.6, distance=5.0),
        run(decay=1.0, distance=4.0),
        run(seed=1, temperature=0.08, distance=5.0),
    ]
    found = {curve.key: curve for curve in curves.setting_curves(runs)}
    assert set(found) == {"method.temperature", "method.decay"}
    assert [(r["method.decay"], r["fid"]) for r in found["method.decay"].rows] == [(0.6, 5.0), (0.8, 1.0), (1.0, 4.0)]
    assert [(r["method.temperature"], r["fid"], r["seeds"]) for r in found["method.temperature"].rows] == [
        (0.08, 4.0, 2), (0.12, 1.0, 1), (0.16, 2.0, 1),
    ]  # fmt: skip
    paths = curves.write_curves(tmp_path / "figures", runs)
    assert [path.name for path in paths] == [
        "coral-against-method.temperature.png",
        "coral-against-method.decay.png",
    ]
    assert all(path.is_file() for path in paths)
    assert parse_record(json.dumps(make_record("coral", 0, 1.0)), "a record")
