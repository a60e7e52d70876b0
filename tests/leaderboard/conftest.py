"""What the tests of submissions share."""

from __future__ import annotations

import pytest

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
