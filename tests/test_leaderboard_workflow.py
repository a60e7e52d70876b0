"""The workflow's own script, and that its commands are ours."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "leaderboards.yml"


def script(step: str) -> str:
    """The shell lines of a step, by its name."""
    text = WORKFLOW.read_text(encoding="utf-8")
    block = re.search(rf"- name: {re.escape(step)}\n(?:.*\n)*?        run: \|\n((?:          .*\n)+)", text)
    assert block is not None
    return textwrap.dedent(block[1])


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("path", "author", "code"),
    [
        ("leaderboards/verifications/digits-lt/x/0.json", "FIRST_TIME_CONTRIBUTOR", 2),
        ("leaderboards/verifications/digits-lt/x/0.json", "MEMBER", 0),
        ("leaderboards/records/digits-lt/x/0.json", "NONE", 0),
    ],
)
def test_strangers_bring_no_verifications(tmp_path: Path, path: str, author: str, code: int) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "base")
    base = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text("{}")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "change")
    done = subprocess.run(
        ["bash", "-e", "-c", script("Only maintainers bring verifications")],
        cwd=tmp_path,
        env={**os.environ, "BASE": base, "AUTHOR": author},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert ("error:" in done.stdout) == (code != 0)


def test_a_pull_request_gets_no_write_access() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    assert "pull_request_target" not in text  # which would give a stranger's code the repository's token
    assert re.search(r"^permissions:\n  contents: read$", text, re.MULTILINE)
    assert text.count("persist-credentials: false") == text.count("actions/checkout@")


def test_the_commands_exist() -> None:
    from typer.main import get_command

    from ltgen_bench.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    used = re.findall(r"ltgen-bench ([a-z]+)(?: ([a-z]+))?", WORKFLOW.read_text(encoding="utf-8"))
    for name, inner in used:
        assert name in commands, name
        if name == "leaderboard":
            assert inner in commands[name].commands
