"""What the README shows is run here as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from conftest import QUICK_OPTIONS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ltgen_bench", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_method_of_the_readme_runs(tmp_path: Path) -> None:
    source = next(block for block in blocks("python") if "METHODS.register" in block)
    assert len(source.strip().splitlines()) <= 30
    (tmp_path / "my_method.py").write_text(source)
    shown = next(line for block in blocks("sh") for line in block.splitlines() if "--plugin my_method.py" in line)
    done = command(*shown.split()[1:], *QUICK_OPTIONS, "--quiet", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Min-SNR on digits-lt" in done.stdout
    assert len(list(tmp_path.glob("runs/digits-lt/min-snr/*/record.json"))) == 1


def test_every_command_of_the_readme_exists() -> None:
    """Each shown line parses: with --help behind it, every command and option is known to the parser."""
    import typer

    from ltgen_bench.cli import app

    lines = [line.partition("#")[0].split() for block in blocks("sh") for line in block.splitlines()]
    shown = [words[1:] for words in lines if words and words[0] == "ltgen-bench"]
    assert len(shown) >= 8
    for words in shown:
        arguments = words
        group = typer.main.get_command(app)
        while hasattr(group, "get_command"):
            name, *arguments = arguments
            found = group.get_command(None, name)
            assert found is not None, words
            group = found
        options = {name for parameter in group.params for name in [*parameter.opts, *parameter.secondary_opts]}
        assert all(word.partition("=")[0] in options for word in arguments if word.startswith("--")), words
