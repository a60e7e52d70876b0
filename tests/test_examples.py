"""The notebook that newcomers open runs, and shows what the committed one shows."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "first_steps.ipynb"


@pytest.mark.skipif(not os.environ.get("LTGEN_BENCH_REPRODUCE"), reason="a minute: make reproduce, which CI runs")
@pytest.mark.filterwarnings("default")  # of the notebook machinery, which is not ours
def test_the_notebook_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    committed = [len(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [len(cell.outputs) for cell in cells] == committed
    text = "\n".join(output.get("text", "") for cell in cells for output in cell.outputs)
    assert "lie suspiciously near to a training image; of unseen" in text
    assert "CORAL (n = 1)" in text
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    assert list(tmp_path.iterdir()) == []  # nothing is left where it is started
