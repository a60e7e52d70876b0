"""Suites: what a file stands for, what is wrong with one, and runs that are started, cut off, killed and collected."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Cli, refused

from ltgen_bench.core.errors import ConfigError, UserError
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.storage import is_locked, locked_folder
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.runs.pipeline import Run
from ltgen_bench.runs.suites.plan import by_training, plan, remember_speed
from ltgen_bench.runs.suites.slurm import slurm_parameters
from ltgen_bench.runs.suites.spec import parse_suite, read_suite, suite_names
from ltgen_bench.runs.suites.status import RunState, status_of
from ltgen_bench.runs.suites.totals import suite_cost

TINY = """
methods = ["ddpm", "coral"]
datasets = ["digits-lt"]
protocol = "digits-1k.v1"

[set]
"training.steps" = 12
"training.batch_size" = 8
"training.warmup_steps" = 4
"network.base_channels" = 8
"network.norm_groups" = 4
"sampling.steps" = 3
"protocol.samples" = 40
"protocol.prd_runs" = 1
"protocol.inception_score_splits" = 2
"execution.checkpoint_every" = 4
"""


def cells(text: str) -> list:
    return list(parse_suite(text, Path("mine.toml")).cells)


def test_a_grid_is_every_combination_with_seeds_last() -> None:
    found = cells('methods = ["ddpm", "coral"]\nseeds = [0, 1]\nset = { "sampling.guidance_scale" = [0.0, 0.5] }')
    assert [(cell.seed, cell.method, cell.settings["sampling.guidance_scale"]) for cell in found] == [
        (seed, method, scale) for seed in (0, 1) for method in ("ddpm", "coral") for scale in (0.0, 0.5)
    ]
    layers = found[3].layers()
    assert layers["sampling"] == {"guidance_scale": 0.5}
    assert layers["method"] == {"name": "coral"}
    assert layers["seed"] == 0


def test_rows_take_what_they_do_not_say_from_the_file_and_no_cell_comes_twice() -> None:
    found = cells('methods = ["coral"]\n[[rows]]\nseeds = [3]\n[[rows]]\nseeds = [3, 4]\ndatasets = ["digits"]')
    assert [(cell.dataset, cell.seed) for cell in found] == [("digits-lt", 3), ("digits", 3), ("digits", 4)]
    assert len(cells('methods = ["ddpm", "ddpm"]')) == 1
    (cell,) = cells('[set]\n"training.steps" = 5\n[[rows]]\nset = { "training.batch_size" = 7 }')
    assert cell.settings == {"training.steps": 5, "training.batch_size": 7}


def test_a_list_of_lists_is_a_list_of_values() -> None:
    (cell, other) = cells('set = { "network.channel_multipliers" = [[1, 2], [1, 2, 2]] }')
    assert cell.settings["network.channel_multipliers"] == [1, 2]
    assert other.layers()["network"]["channel_multipliers"] == [1, 2, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('methods = ["dpm"]', r"mine.toml, line 1: unknown method 'dpm'; did you mean 'ddpm'"),
        ('\ndatasets = ["cifar10tl"]', r"mine.toml, line 2: unknown data set 'cifar10tl'; did you mean 'cifar10lt'"),
        ('\n\n[set]\n"traning.steps" = 2', r"mine.toml, line 4: unknown configuration key 'traning.steps'"),
        ('metods = ["ddpm"]', r"mine.toml, line 1: unknown key 'metods'; did you mean 'methods'"),
        ("seeds = []", r"mine.toml, line 1: seeds"),
        ("seeds = [-1]", r"mine.toml, line 1: seeds"),
        ("seeds = [0\n", r"mine.toml: Unclosed array"),
        (f"seeds = {list(range(10_001))}", r"mine.toml: 10,001 cells; a suite has 10,000 at most"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_suite(text, Path("mine.toml"))


def test_the_suites_of_the_package_are_what_they_are_called() -> None:
    assert set(suite_names()) == {
        "digits", "smoke", *(f"paper-table-{n}" for n in (1, 2, 4, 5)), "paper-figure-8", "paper-figure-10",
    }  # fmt: skip
    runs = plan(read_suite("digits"), Path("runs"), Path("data"))
    assert len(runs) == 45
    assert all(run.resolved.config.protocol.name == "digits-1k.v2" for run in runs)
    for name in suite_names():
        plan(read_suite(name), Path("runs"), Path("data"))


def test_table_1_has_the_papers_table_3() -> None:
    """omega, tau_cb, tau_SC and tau_r by data set, as printed."""
    omega = {
        "ddpm": (0.8, 1.0, 0.8, 0.6), "cbdm": (1.0, 1.8, 1.6, 1.0), "t2h": (1.0, 1.7, 1.5, 1.0),
        "coral": (0.6, 1.0, 0.8, 0.7),
    }  # fmt: skip
    sets = ("cifar10lt", "cifar10lt-0.001", "cifar100lt", "celeba5")
    runs = plan(read_suite("paper-table-1"), Path("runs"), Path("data"))
    assert len(runs) == 4 * 4 * 3
    for run in runs:
        config, index = run.resolved.config, sets.index(run.resolved.dataset.name)
        method = config.method
        assert config.sampling.guidance_scale == omega[method["name"]][index]
        if method["name"] == "cbdm":
            assert method["tau"] == (1.0, 1.0, 1.0, 50.0)[index]
        if method["name"] == "coral":
            assert method["temperature"] == (0.12, 0.10, 0.09, 0.12)[index]
            assert method["decay"] == (0.8, 1.0, 1.0, 0.8)[index]
            assert method["weight"] == 0.01
        assert config.protocol.name == ("images-50k.v1" if index == 3 else "cifar-50k.v1")


def test_figure_8_trains_once_for_all_scales() -> None:
    runs = plan(read_suite("paper-figure-8"), Path("runs"), Path("data"))
    groups = by_training(runs)
    assert len(runs) == 15  # the recipe's own tau_SC, tau_r and scale are one run
    assert sorted(map(len, groups)) == [1] * 8 + [7]


def test_a_suites_cost_counts_shared_trainings_once() -> None:
    both = TINY.replace('"sampling.steps" = 3', '"sampling.steps" = [3, 4]')
    one, two = (
        suite_cost(plan(parse_suite(text, Path("mine.toml")), Path("runs"), Path("data"))) for text in (TINY, both)
    )
    assert (one["runs"], one["trainings"]) == (2, 2)
    assert (two["runs"], two["trainings"]) == (4, 2)
    assert one["training_petaflops"] == two["training_petaflops"]
    assert one["hours_here"][0] <= one["hours_here"][1]


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        (["time=90"], {"timeout_min": 90}),
        (["time=12:30:00"], {"timeout_min": 750}),
        (["time=2-00:00:00"], {"timeout_min": 2880}),
        (["gpus=2", "partition=big", "nice=5"], {
            "gpus_per_node": 2, "slurm_partition": "big", "slurm_additional_parameters": {"nice": "5"},
        }),
    ],
)  # fmt: skip
def test_slurm_options(pairs: list[str], found: dict) -> None:
    assert slurm_parameters(pairs).items() >= found.items()


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("partiton=x", "did you mean 'partition'"),
        ("gpus=two", "wants a number"),
        ("time=x", "wants minutes"),
        ("a", "KEY=VALUE"),
    ],
)
def test_slurm_options_that_are_none(pair: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        slurm_parameters([pair])


def test_runs_on_gpus_are_planned_where_there_are_none(cli: Cli, tmp_path: Path) -> None:
    """The speed of the machine that runs them enters their folder's name; later questions come from anywhere."""
    (tmp_path / "mine.toml").write_text(TINY)
    suite = read_suite(str(tmp_path / "mine.toml"))
    exact, fast = (plan(suite, tmp_path, tmp_path, speed)[0] for speed in ("auto", "fast"))
    assert exact.folder.path != fast.folder.path
    assert exact.layers()["execution"]["speed"] == "exact"
    assert fast.layers()["execution"] == {"checkpoint_every": 4, "speed": "fast"}
    on_gpus = json.loads(cli("suite", "run", "mine.toml", "--dry-run", "--slurm", "gpus=1", "--json")[1])
    here = json.loads(cli("suite", "show", "mine.toml", "--json")[1])
    hashes = [run["run"].rpartition("/")[2] for run in on_gpus["runs"]]
    assert hashes[0] == fast.folder.path.name
    assert here["runs"][0]["run"].endswith(exact.folder.path.name)
    remember_speed(tmp_path / "runs" / "suites" / "mine", "fast")  # as a start does
    assert json.loads(cli("suite", "status", "mine.toml", "--json")[1])["counts"]["waiting"] == 2
    here = json.loads(cli("suite", "show", "mine.toml", "--json")[1])
    assert [run["run"].rpartition("/")[2] for run in here["runs"]] == hashes


def suite_process(folder: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "ltgen_bench", "suite", "run", "mine.toml", "--runs-dir", "runs", *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def without_timing(path: Path) -> dict:
    record = json.loads(path.read_text())
    record.pop("timing")
    return record


def records(folder: Path) -> dict[str, dict]:
    return {p.parent.parent.name: without_timing(p) for p in folder.rglob("runs/digits-lt/*/*/record.json")}


def test_killed_at_random_moments_and_started_again_the_records_are_the_same(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The starter is killed with -9, which takes its runs with it; what another start finds is whole."""
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "mine.toml").write_text(TINY)
    whole = tmp_path / "whole"
    for run in plan(parse_suite(TINY, Path("mine.toml")), whole / "runs", whole / "data"):  # without a suite
        Run.at(run.resolved, whole / "runs", EvaluationPlaces(whole / "data"), Progress()).run_all()
    draw, folder = random.Random(0), tmp_path / "killed"
    for _ in range(3):
        process = suite_process(folder, "--workers", "2")
        time.sleep(draw.uniform(1, 12))
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while any(is_locked(path) for path in folder.rglob("runs/digits-lt/*/*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(is_locked(path) for path in folder.rglob("runs/digits-lt/*/*"))
    monkeypatch.chdir(folder)
    code, _, err = cli("suite", "run", "mine.toml", "--runs-dir", "runs", "--workers", "2")
    assert code == 0, err
    assert records(folder) == records(whole)
    assert set(records(folder)) == {"ddpm", "coral"}


def test_a_failed_run_stops_no_other_and_is_told_at_the_end(cli: Cli, tmp_path: Path) -> None:
    rows = '\n[[rows]]\n\n[[rows]]\nset = { "training.steps" = 3, "training.learning_rate" = 1e30 }\n'
    (tmp_path / "mine.toml").write_text(TINY.replace('["ddpm", "coral"]', '["ddpm"]') + rows)
    code, out, err = cli("suite", "run", "mine.toml", "--workers", "2")
    assert code == 2
    assert "1 of 2 runs failed" in err
    assert "1 finished, 1 failed" in out
    assert "not finite" in out
    code, out, _ = cli("suite", "status", "mine.toml", "--json")
    status = json.loads(out)
    assert status["counts"]["finished"] == 1
    (failed,) = [run for run in status["runs"] if run["state"] == "failed"]
    assert "not finite" in failed["error"]

    # one table, with what is missing as such
    code, out, _ = cli("suite", "collect", "mine.toml", "--json")
    rows = json.loads(out)
    assert [(row["method"], row["n"], row["wanted"]) for row in rows] == [
        ("DDPM", 1, 1),
        ("DDPM", 0, 1),
    ]
    record = json.loads(next(tmp_path.rglob("ddpm/*/record.json")).read_text())
    assert rows[0]["metrics"]["fid"]["mean"] == record["metrics"]["fid"]
    code, out, _ = cli("suite", "collect", "mine.toml")
    assert "| 0 of 1 |" in out
    for form, part in (("latex", r"\toprule"), ("csv", "fid.mean")):
        assert part in cli("suite", "collect", "mine.toml", "--format", form)[1]
    assert "markdown, csv, latex" in refused(cli("suite", "collect", "mine.toml", "--format", "xls"))


def test_a_run_that_another_process_has_is_left_to_it(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TINY.replace('["ddpm", "coral"]', '["ddpm"]'))
    (run,) = plan(parse_suite((tmp_path / "mine.toml").read_text(), Path("mine.toml")), tmp_path / "runs", Path("data"))
    with locked_folder(run.folder.path, "busy"):
        assert status_of(run).state is RunState.RUNNING
        process = suite_process(tmp_path)
        time.sleep(6)
        assert process.poll() is None
        assert not run.folder.config.exists()
    assert process.wait(timeout=60) == 0
    assert status_of(run).state is RunState.FINISHED


def test_stop_ends_the_starter_and_its_runs(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TINY.replace('"training.steps" = 12', '"training.steps" = 100000'))
    process = suite_process(tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("stats.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.2)
    code, out, _ = cli("suite", "stop", "mine.toml", "--json")
    assert (code, json.loads(out)["stopped"]) == (0, [process.pid])
    assert process.wait(timeout=30) == 130
    assert not any(is_locked(path) for path in tmp_path.rglob("runs/digits-lt/*/*"))
    assert not list(tmp_path.glob("runs/suites/mine/starters/*"))


def test_missing_data_are_told_before_anything_starts(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TINY.replace('["digits-lt"]', '["cifar10lt", "digits-lt"]'))
    line = refused(cli("suite", "run", "mine.toml"))
    assert "2 of 4 runs lack" in line
    assert "--keep-going" in line
    assert not (tmp_path / "runs").exists()


def test_no_slurm_is_one_line(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    (tmp_path / "mine.toml").write_text(TINY)
    assert "there is no SLURM here" in refused(cli("suite", "run", "mine.toml", "--slurm", "cpus=1"))


def test_interrupted_by_its_terminal(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TINY.replace('"training.steps" = 12', '"training.steps" = 100000'))
    process = suite_process(tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("stats.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert list(tmp_path.rglob("training-state.safetensors"))
