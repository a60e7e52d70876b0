"""The workflow's own script, and that its commands are ours."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOW, GUARD = FOLDER / "leaderboards.yml", FOLDER / "verifications.yml"


def script(step: str) -> str:
    """The shell lines of a step of the guard, by its name."""
    text = GUARD.read_text(encoding="utf-8")
    block = re.search(rf"- name: {re.escape(step)}\n(?:.*\n)*?        run: \|\n((?:          .*\n)+)", text)
    assert block is not None
    return textwrap.dedent(block[1])


@pytest.mark.parametrize(
    ("changed", "author", "count", "code"),
    [
        ("leaderboards/verifications/digits-lt/x/0.json", "FIRST_TIME_CONTRIBUTOR", 1, 2),
        ("README.md\nleaderboards/verifications/digits-lt/x/0.json", "NONE", 2, 2),
        (".github/workflows/verifications.yml", "CONTRIBUTOR", 1, 2),
        ("leaderboards/evidence/digits-lt/x/0.npz", "NONE", 1, 2),
        ("leaderboards/verifications/digits-lt/x/0.json", "MEMBER", 1, 0),
        ("leaderboards/records/digits-lt/x/0.json\ndocs/leaderboards/verifications/x", "NONE", 2, 0),
        ("leaderboards/records/digits-lt/x/0.json", "NONE", 3001, 2),
    ],
)
def test_strangers_bring_no_verifications(tmp_path: Path, changed: str, author: str, count: int, code: int) -> None:
    """With a stand-in for GitHub's own command, which lists the names of the changed files."""
    stand_in = tmp_path / "gh"
    stand_in.write_text(f'#!/bin/sh\n[ "$3" = repos/a/b/pulls/7/files ] && printf "%s\\n" "{changed}"\n')
    stand_in.chmod(0o755)
    done = subprocess.run(
        ["bash", "-e", "-c", script("Only maintainers bring verifications")],
        cwd=tmp_path,
        env={
            **os.environ,
            "FILES": "repos/a/b/pulls/7/files",
            "AUTHOR": author,
            "COUNT": str(count),
            "PATH": f"{tmp_path}:/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert ("error:" in done.stdout) == (code != 0)


def test_a_list_that_cannot_be_had_is_no_consent(tmp_path: Path) -> None:
    (tmp_path / "gh").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "gh").chmod(0o755)
    line = ["bash", "-e", "-c", script("Only maintainers bring verifications")]
    environment = {"FILES": "x", "AUTHOR": "NONE", "COUNT": "1", "PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert subprocess.run(line, env=environment, capture_output=True, check=False).returncode != 0


def test_a_pull_request_gets_no_write_access() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    assert "pull_request_target" not in text  # which would give a stranger's code the repository's token
    assert re.search(r"^permissions:\n  contents: read$", text, re.MULTILINE)
    assert text.count("persist-credentials: false") == text.count("actions/checkout@")
    guard = GUARD.read_text(encoding="utf-8")  # this one has the token and runs nothing of the pull request
    assert re.search(r"^permissions:\n  pull-requests: read\n\n", guard, re.MULTILINE)
    assert "uses:" not in guard
    assert "${{" not in script("Only maintainers bring verifications")


def test_the_commands_exist() -> None:
    from typer.main import get_command

    from ltgen_bench.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    used = re.findall(r"ltgen-bench ([a-z]+)(?: ([a-z]+))?", WORKFLOW.read_text(encoding="utf-8"))
    for name, inner in used:
        assert name in commands, name
        if name == "leaderboard":
            assert inner in commands[name].commands
