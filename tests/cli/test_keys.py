"""Configuration keys explain themselves; a bare command says what there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Cli, refused

from ltgen_bench.core.version import __version__
from ltgen_bench.runs.keys import all_keys, explained
from ltgen_bench.runs.resolve import resolve


def test_every_key_has_a_text_of_its_own() -> None:
    keys = all_keys()
    assert len({(key.name, key.methods) for key in keys}) == len(keys)
    for key in keys:
        assert len(key.text) > 9, key.name
        assert key.text.endswith("."), key.name
        assert key.values, key.name
        assert "typing" not in key.values, (key.name, key.values)
        json.loads(key.default)


def test_every_key_of_a_run_is_among_them(tmp_path: Path) -> None:
    config = resolve({"method": {"name": "coral"}}, tmp_path).config.model_dump(mode="json")
    have = {f"{section}.{name}" for section, keys in config.items() if isinstance(keys, dict) for name in keys}
    assert have <= {key.name for key in all_keys()}


def test_a_key_is_explained(cli: Cli) -> None:
    code, out, err = cli("explain", "training.ema_decay")
    assert (code, err) == (0, "")
    assert out.startswith("training.ema_decay = 0.9999   (number >= 0 < 1)")
    assert "--set training.ema_decay=VALUE" in out
    code, out, _ = cli("explain", "precision", "--json")
    assert [key["name"] for key in json.loads(out)] == ["training.precision", "sampling.precision"]
    code, out, _ = cli("explain", "tau")
    assert "only of cbdm" in out
    assert "did you mean training.ema_decay" in refused(cli("explain", "training.ema_deca"))
    code, out, _ = cli("list", "keys", "--json")
    assert len(json.loads(out)) == len(all_keys())


def test_keys_with_one_name_are_all_explained() -> None:
    found = explained("method.weight")  # one text a meaning
    assert [key.methods for key in found] == [("ambient-contrastive", "coral"), ("diffrop-reconstructed",)]
    assert len({key.text for key in found}) == 2


@pytest.mark.parametrize("command", [[], ["data"], ["leaderboard"], ["suite"]])
def test_a_bare_command_says_what_there_is(cli: Cli, command: list[str]) -> None:
    code, out, err = cli(*command)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: ltgen-bench")
    assert "Commands:" in out


def test_the_version(cli: Cli) -> None:
    assert cli("--version") == (0, f"ltgen-bench {__version__}\n", "")


@pytest.mark.parametrize(
    ("training", "noted"),
    [
        ({"steps": 1000, "ema_decay": 0.999, "ema_warmup": False}, True),
        ({"steps": 1000, "ema_decay": 0.999, "ema_warmup": True}, False),
        ({"steps": 1000, "ema_decay": 0.99, "ema_warmup": False}, False),
        ({"steps": 1, "ema_decay": 0.0, "ema_warmup": False}, False),
    ],
)
def test_an_average_of_untrained_weights_is_said(tmp_path: Path, training: dict, noted: bool) -> None:
    notes = resolve({"training": training}, tmp_path).notes
    assert any("37% of the averaged weights are the untrained ones" in note for note in notes) == noted
