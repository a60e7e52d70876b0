"""What the tests of boards and submissions share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from leaderboard_records import write_leaderboard

from ltgen_bench.evaluation.record import CodePart

CLEAN = CodePart(version="0.1.0", commit="1" * 40, clean=True)


@pytest.fixture
def clean_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkout that runs the tests may have changes; these tests are about something else."""
    for module in (
        "ltgen_bench.evaluation.provenance",
        "ltgen_bench.evaluation.assemble",
        "ltgen_bench.leaderboard.submission.verify",
    ):
        monkeypatch.setattr(f"{module}.code_state", lambda: CLEAN)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_leaderboard(tmp_path_factory.mktemp("made") / "leaderboards")


@pytest.fixture
def leaderboards(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "leaderboards")
    return tmp_path / "leaderboards"
