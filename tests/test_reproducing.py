"""Every command of REPRODUCING.md's section on digits, in order, with trainings of a second."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import Cli

from ltgen_bench.core.progress import Progress
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.report.embedding import MAPS
from ltgen_bench.runs.pipeline import Run
from ltgen_bench.runs.suites.plan import plan
from ltgen_bench.runs.suites.spec import read_suite, with_overrides

ROOT = Path(__file__).parents[1]
SHORT = [
    "training.steps=6", "training.batch_size=16", "training.warmup_steps=2", "network.base_channels=8",
    "network.norm_groups=4", "protocol.samples=40", "protocol.sampler_steps=3", "protocol.prd_runs=2",
    "protocol.inception_score_splits=2", "execution.threads=1",
]  # fmt: skip


def commands() -> list[list[str]]:
    text = (ROOT / "REPRODUCING.md").read_text(encoding="utf-8").split("## On digits")[1]
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.strip()]


def test_every_suite_that_the_page_names_exists(cli: Cli) -> None:
    named = set(re.findall(r"suite (?:run|collect) (paper-[a-z0-9-]+)", (ROOT / "REPRODUCING.md").read_text()))
    assert named == {f"paper-{name}" for name in ("table-1", "table-2", "table-4", "table-5", "figure-8", "figure-10")}
    for name in named:
        assert read_suite(name).cells


@pytest.mark.skipif(not os.environ.get("LTGEN_BENCH_REPRODUCE"), reason="minutes: make reproduce, which CI runs")
def test_the_commands_on_digits_run_and_draw(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # real maps take seconds each, and have tests of their own
    monkeypatch.setitem(MAPS, "tsne", ("t-SNE", lambda features, seed: features[:, :2]))
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copytree(ROOT / "leaderboards" / "published", tmp_path / "leaderboards" / "published")
    for program, *words in commands():
        assert program == "ltgen-bench"
        line = [str(found) for word in words for found in (sorted(Path().glob(word)) if "*" in word else [word])]
        if line[0] == "suite":
            short = SHORT + ["protocol.guidance_samples=40"] * ("figure-8" not in line[2])
            if line[1] == "run":  # here, in this process, so that the command finds all of them finished
                for run in plan(with_overrides(read_suite(line[2]), short), Path("runs"), Path("data")):
                    Run.at(run.resolved, Path("runs"), EvaluationPlaces(Path("data")), Progress()).run_all()
            line += [f"--set={key}" for key in short]
        elif "--maps" in line:
            line[line.index("--maps") + 1] = "tsne"
        code, out, err = cli(*line)
        assert code == 0, f"{line}: {err}"
        assert "failed" not in out
    drawn = {path.relative_to(tmp_path / "figures").as_posix() for path in (tmp_path / "figures").rglob("*.png")}
    assert {"as-published/maps-t100-given.png", "withheld/maps-t300-withheld.png", "fewer/maps-t100-given.png"} <= drawn
    for key in ("method.temperature", "method.decay", "sampling.guidance_scale"):
        assert [name for name in drawn if name.endswith(f"coral-against-{key}.png")], (key, drawn)
    assert [name for name in drawn if name.endswith("per-class.png")]
    for name in ("samples.png", "closest-pairs.png"):
        assert list((tmp_path / "runs" / "digits-lt" / "coral").glob(f"*/figures/{name}"))
