"""What baselines/README.md tells a stranger to do works as written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from baselines_support import METHOD_NAMES
from conftest import QUICK_OPTIONS, Cli

from ltgen_bench.methods import METHODS

README = (Path(__file__).parents[2] / "baselines" / "README.md").read_text(encoding="utf-8")


def test_the_method_of_the_readme_runs_and_is_recorded(cli: Cli, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) < 40
    file = tmp_path / "min_snr.py"
    file.write_text(code, encoding="utf-8")
    options = ["--plugin", str(file), "--method", "min-snr", "--dataset", "digits-lt", *QUICK_OPTIONS]
    try:
        status, out, err = cli("run", *options, "--set", "method.gamma=2", "--json")
    finally:
        METHODS._entries.pop("min-snr", None)  # registered for this process
    assert status == 0, err
    record = json.loads(out)
    assert record["method"]["name"] == "min-snr"
    assert record["method"]["title"] == "Min-SNR"
    assert record["method"]["config"]["method"] == {"name": "min-snr", "gamma": 2.0}


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_the_readme_names_every_method_and_its_keys(name: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| `{name}`"))
    if name == "ambient-contrastive":
        row += next(line for line in README.splitlines() if line.startswith("| `coral`"))
    keys = set(METHODS.get(name).Config.model_fields) - {"name", "variant"}
    missing = [key for key in keys if f"`{key}`" not in row and f"`method.{key}`" not in README]
    assert not missing
