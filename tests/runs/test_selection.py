"""The choice of the guidance scale: the rule, a run that chooses, one that was cut off, and records that lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import QUICK, Cli, refused
from hypothesis import given
from hypothesis import strategies as st

from ltgen_bench.core.config import RunConfig
from ltgen_bench.core.protocol import PROTOCOLS, Protocol
from ltgen_bench.evaluation.contradictions import contradictions
from ltgen_bench.evaluation.guidance_rule import best_scale, most_selection_cost, next_scales, selection_cost
from ltgen_bench.evaluation.record import GuidancePoint, Record
from ltgen_bench.runs.resolve import resolve
from ltgen_bench.runs.selection import GuidanceFile, selection_seed

SECOND = PROTOCOLS["digits-1k.v2"]
OWN = {key: value for key, value in QUICK.items() if key != "sampling"}
OPTIONS = [f"--set={section}.{key}={value}" for section, values in OWN.items() for key, value in values.items()]
OPTIONS += ["--set=protocol.sampler_steps=3", "--set=protocol.guidance_samples=30"]


def points(values: dict[float, float]) -> list[GuidancePoint]:
    return [GuidancePoint(guidance_scale=scale, fid=fid) for scale, fid in sorted(values.items())]


@given(st.lists(st.floats(0, 100), min_size=11, max_size=11))
def test_the_rule_tries_the_grid_and_then_beside_its_best(distances: list[float]) -> None:
    """Against its words, spelled out for any curve over the scales that it may try."""
    table = {round(0.1 * step, 6): distances[step % 11] for step in range(21)}
    tried: dict[float, float] = {}
    while scales := next_scales(SECOND, points(tried)):
        assert tried.keys() < {0.0, 0.5, 1.0, 1.5, 2.0} or len(tried) >= 5
        tried[scales[0]] = table[scales[0]]
    grid = {scale: table[scale] for scale in (0.0, 0.5, 1.0, 1.5, 2.0)}
    coarse = min(grid, key=lambda scale: (grid[scale], scale))
    beside = {round(coarse + step, 6) for step in (-0.2, 0.2)}
    assert tried.keys() == grid.keys() | {scale for scale in beside if 0 <= scale <= 2}
    chosen = best_scale(points(tried))
    assert tried[chosen] == min(tried.values())
    assert all(chosen <= scale for scale, distance in tried.items() if distance == tried[chosen])
    assert selection_cost(SECOND, 25, points(tried)) <= most_selection_cost(SECOND, 25)


def test_every_second_protocol_chooses_and_no_first_one_does() -> None:
    for name, protocol in PROTOCOLS.items():
        assert protocol.selects_guidance == name.endswith(".v2")


@pytest.mark.parametrize(
    "changes",
    [
        {"guidance_grid": [0.0, 1.0]},
        {"guidance_samples": 10},
        {"guidance_grid": [1.0, 0.0], "guidance_samples": 10},
        {"guidance_grid": [-1.0, 0.0], "guidance_samples": 10},
        {"guidance_fine_step": 0.1},
    ],
)
def test_half_a_rule_is_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match="guidance_"):
        Protocol(name="mine", **changes)


def resolved(layers: dict) -> RunConfig:
    return resolve(layers, Path("data")).config


def test_who_chooses_the_scale() -> None:
    """The protocol, unless there is nothing to guide; whoever chooses himself leaves it; in version 1 the recipe."""
    assert resolved({}).sampling.guidance_scale is None
    assert resolved({"method": {"name": "h2t"}}).sampling.guidance_scale == 0.0
    assert resolved({"training": {"label_drop": 0.0}}).sampling.guidance_scale == 0.0
    own = resolved({"sampling": {"guidance_scale": 1.5}})
    assert (own.sampling.guidance_scale, own.protocol.name) == (1.5, "digits-1k.v2+custom")
    assert not own.protocol.selects_guidance
    first = resolved({"protocol": {"name": "digits-1k.v1"}})
    assert (first.sampling.guidance_scale, first.protocol.name) == (0.0, "digits-1k.v1")
    cifar = {"method": {"name": "coral"}, "dataset": {"name": "cifar100lt"}}
    assert resolved(cifar).sampling.guidance_scale > 0  # its paper's
    assert resolved({**cifar, "protocol": {"name": "cifar-50k.v2"}}).sampling.guidance_scale is None


def test_selection_samples_are_never_the_reported_ones() -> None:
    assert len({selection_seed(seed) for seed in range(1000)} | set(range(1000))) == 2000


def test_a_run_chooses_once_and_says_what_it_saw(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("run", *OPTIONS, "--json")
    assert code == 0, err
    record = json.loads(out)
    part = record["guidance"]
    scales = [point["guidance_scale"] for point in part["curve"]]
    assert {0.0, 0.5, 1.0, 1.5, 2.0} < set(scales)
    assert part["guidance_scale"] == min(part["curve"], key=lambda p: (p["fid"], p["guidance_scale"]))["guidance_scale"]
    assert part["samples"] == 30
    assert part["network_evaluations"] == 30 * 3 * sum(1 if scale == 0 else 2 for scale in scales)
    assert record["samples"]["sampler"]["guidance_scale"] == part["guidance_scale"]
    assert record["method"]["config"]["sampling"]["guidance_scale"] is None
    assert record["timing"]["guidance_seconds"] > 0
    assert f"guidance {part['guidance_scale']:g} chosen of {len(scales)} scales" in err
    (folder,) = (tmp_path / "runs" / "digits-lt" / "ddpm").iterdir()
    assert not (folder / "guidance").exists()
    assert not list(contradictions(Record.model_validate_json(json.dumps(record))))

    # its config.toml says the same run; other samples of the model have the chosen scale
    code, again, _ = cli("run", "--config", folder / "config.toml", "--json")
    assert (code, json.loads(again)) == (0, record)
    code, out, _ = cli("sample", folder, "-n", "10", "-o", "more.npz", "--json")
    assert code == 0

    # a start that was cut off in the middle continues: what was measured is not measured again
    note = json.loads((folder / "guidance.json").read_text())
    kept = {**note, "curve": [{**point, "fid": 1e6 + i} for i, point in enumerate(note["curve"][:2])]}
    (folder / "guidance.json").write_text(json.dumps(kept))
    (folder / "record.json").unlink()
    code, out, err = cli("run", *OPTIONS, "--json")
    assert code == 0, err
    assert json.loads(out)["guidance"]["curve"][0]["fid"] == 1e6
    assert "guidance 0:" not in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["guidance"].update(guidance_scale=0.5), "not the scale of guidance.curve with the smallest"),
        (lambda r: r["guidance"]["curve"].pop(0), "does not hold the scales"),
        (lambda r: r["guidance"].update(samples=7), "guidance.samples or its network_evaluations"),
        (lambda r: r.update(guidance=None), "guidance does not fit"),
        (lambda r: r["samples"]["sampler"].update(guidance_scale=2.0), "samples.sampler is not the configured one"),
    ],
)
def test_a_choice_that_is_not_the_rules_is_found(change, message: str, made: dict) -> None:
    record = json.loads(json.dumps(made))
    change(record)
    assert any(message in line for line in contradictions(Record.model_validate_json(json.dumps(record))))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A committed record as version 2 would have it, with a curve whose best is 1.2."""
    path = Path(__file__).parents[2] / "leaderboards" / "records" / "digits-lt" / "ddpm" / "0.json"
    record = json.loads(path.read_text())
    protocol = PROTOCOLS["digits-1k.v1"].model_copy(
        update={k: getattr(SECOND, k) for k in ("guidance_grid", "guidance_fine_step", "guidance_samples")}
    )
    curve = [GuidancePoint(guidance_scale=s, fid=1 + abs(s - 1.2)).model_dump() for s in (0, 0.5, 0.8, 1, 1.2, 1.5, 2)]
    record["protocol"] = record["method"]["config"]["protocol"] = protocol.model_dump(mode="json", exclude_none=True)
    record["method"]["config"]["sampling"]["guidance_scale"] = None
    record["guidance"] = {
        "guidance_scale": 1.2, "curve": curve, "samples": 600, "network_evaluations": 600 * 25 * 13
    }  # fmt: skip
    record["samples"]["sampler"]["guidance_scale"] = 1.2
    record["samples"]["network_evaluations"] = 50
    assert not [line for line in contradictions(Record.model_validate_json(json.dumps(record))) if "guidance" in line]
    return record


def test_a_file_of_another_model_says_nothing(tmp_path: Path) -> None:
    file = GuidanceFile.of(tmp_path / "guidance.json", model="a")
    file.add(GuidancePoint(guidance_scale=1.0, fid=2.0), 1.5)
    file.add(GuidancePoint(guidance_scale=0.0, fid=3.0), 1.5)
    assert [point.guidance_scale for point in file.points()] == [0.0, 1.0]
    assert file.seconds() == 3.0
    assert GuidanceFile.of(tmp_path / "guidance.json", model="b").points() == []


def test_sampling_before_the_choice_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("train", *OPTIONS, "--json")
    assert code == 0, err
    line = refused(cli("sample", json.loads(out)["run"]))
    assert "has not chosen its guidance scale yet" in line
    assert "--set sampling.guidance_scale=W" in line
