"""`load_run`: a run from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ltgen_bench
from ltgen_bench.core.errors import CheckpointError, ConfigError, MissingFileError
from ltgen_bench.core.progress import Progress
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.runs.pipeline import Run


def test_a_finished_run(quick_run: Any, tmp_path: Path) -> None:
    work = Run.at(quick_run(), tmp_path / "runs", EvaluationPlaces(tmp_path / "data"), Progress())
    record = work.run_all()
    files = sorted(path for path in work.folder.path.rglob("*"))
    run = ltgen_bench.load_run(work.folder.path, data_root=tmp_path / "data")
    assert repr(run).endswith("ddpm on digits-lt, seed 0, finished>")
    assert run.record == record
    assert run.samples.images.shape == (40, 1, 8, 8)
    assert run.stats[-1]["step"] == 12
    assert run.dataset.class_count == 10
    # the reported samples again: an image depends on its label, the seed and its place
    np.testing.assert_array_equal(run.sample(run.samples.labels, seed=0), run.samples.images)
    np.testing.assert_array_equal(run.sample(run.samples.labels[:3], seed=0), run.samples.images[:3])
    assert not np.array_equal(run.sample([3, 3], seed=1), run.sample([3, 3], seed=2))
    guided = run.sample([3, 3], guidance_scale=1.0)
    assert not np.array_equal(guided, run.sample([3, 3]))
    features = run.features()
    assert features.shape == (40, 64)
    np.testing.assert_array_equal(run.features(run.samples.images[:5]), features[:5])
    assert sorted(path for path in work.folder.path.rglob("*")) == files  # nothing is written
    for labels in ([10], [-1], [], [[1]]):
        with pytest.raises(ConfigError, match="0 to 9"):
            run.sample(labels)


def test_what_is_not_there_yet_says_which_command_makes_it(quick_run: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a run"):
        ltgen_bench.load_run(tmp_path)
    work = Run.at(quick_run(), tmp_path / "runs", EvaluationPlaces(tmp_path / "data"), Progress())
    work.folder.claim(work.config, None)
    run = ltgen_bench.load_run(work.folder.path)
    assert repr(run).endswith("begun>")
    with pytest.raises(CheckpointError, match="'ltgen-bench train' continues it"):
        run.sample([1])
    with pytest.raises(MissingFileError, match="no record yet"):
        _ = run.record
    with pytest.raises(MissingFileError, match="no samples yet"):
        _ = run.samples
