"""`analyze`: from trained runs to numbers, maps and records; what cannot be analysed is refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PLAIN_OPTIONS, QUICK_OPTIONS, Cli, refused

import ltgen_bench
from ltgen_bench.core.errors import RecordError
from ltgen_bench.core.progress import Progress
from ltgen_bench.evaluation.contradictions import contradictions
from ltgen_bench.evaluation.record_files import parse_record, read_record
from ltgen_bench.evaluation.report.maps_page import maps_page
from ltgen_bench.runs.analysis import representations
from ltgen_bench.runs.analysis.settings import AnalysisImages, AnalysisSettings, as_published, one_setting
from ltgen_bench.runs.analysis.summary import by_method, correlations
from ltgen_bench.runs.loaded import load_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of a tiny DDPM, finished, and one that was trained on another data set."""
    from ltgen_bench.core.mappings import merge, parse_overrides
    from ltgen_bench.core.progress import Progress
    from ltgen_bench.evaluation.places import EvaluationPlaces
    from ltgen_bench.runs.pipeline import Run
    from ltgen_bench.runs.resolve import resolve

    root = tmp_path_factory.mktemp("analysis")
    quick = parse_overrides([option.removeprefix("--set=") for option in QUICK_OPTIONS])
    for seed, dataset in ((0, "digits-lt"), (1, "digits-lt"), (0, "digits")):
        resolved = resolve(merge(quick, {"dataset": {"name": dataset}, "seed": seed}), root / "data")
        run = Run.at(resolved, root, EvaluationPlaces(root / "data"), Progress(), root / f"{dataset}-{seed}")
        run.run_all()
    return root


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> list[Path]:
    """Copies that a test may change."""
    for name in ("digits-lt-0", "digits-lt-1", "digits-0"):
        shutil.copytree(trained / name, tmp_path / name, ignore=shutil.ignore_patterns("figures"))
    return [tmp_path / name for name in ("digits-lt-0", "digits-lt-1", "digits-0")]


def test_numbers_are_kept_and_read_again(runs: list[Path], monkeypatch) -> None:
    settings = AnalysisSettings(t=(300, 11), labels=("withheld", "given"))
    first = ltgen_bench.analyze(runs[:2], settings)
    assert list(first.rows[0]) == [
        "run", "method", "seed", "images", "t", "label", "noise", "group", "metric", "value", "low", "high", "reason",
    ]  # fmt: skip
    assert {(row["t"], row["label"], row["seed"]) for row in first.rows} == {
        (t, label, seed) for t in (11, 300) for label in ("withheld", "given") for seed in (0, 1)
    }

    def never(*_: Any) -> None:
        raise AssertionError("the model is not needed again")

    monkeypatch.setattr(representations, "load_trained", never)
    assert ltgen_bench.analyze(runs[:2], settings).rows == first.rows
    # numbers that were lost come from the representations, and those from the model
    for file in (runs[0] / "analysis").glob("*.json"):
        file.write_text("{")
    monkeypatch.setattr(representations, "load_trained", never)
    assert ltgen_bench.analyze(runs[:2], settings).rows == first.rows
    monkeypatch.undo()
    for file in (runs[0] / "analysis").iterdir():
        file.write_bytes(file.read_bytes()[:40])
    again = ltgen_bench.analyze(runs[:2], settings)
    assert again.rows == first.rows
    assert "2 models" in repr(again)


def test_representations_are_the_bottleneck_of_the_noised_image(runs: list[Path], monkeypatch) -> None:
    run = load_run(runs[0], device="cpu")
    subject = representations.Subject(run)
    images = AnalysisImages.of(run.dataset, "unseen")
    setting = one_setting(AnalysisSettings(), 100, "given")
    found = subject.representations(images, setting, Progress())
    method, row = subject.method(), 7
    from ltgen_bench.core.seeding import derive_seed, sample_seeds

    seed = sample_seeds(derive_seed(0, "analysis noise", 100), range(row, row + 1))[0]
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal((1, 8, 8), np.float32)
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[99]
    x_0 = images.images.images[row].astype(np.float64) / 127.5 - 1
    x_t = np.sqrt(alpha_bar) * x_0 + np.sqrt(1 - alpha_bar) * noise
    with torch.no_grad():
        network = method.network.eval()  # type: ignore[attr-defined]
        label = torch.tensor([images.images.labels[row]])
        literal = network(torch.tensor(x_t, dtype=torch.float32)[None], torch.tensor([99]), label).bottleneck[0]
    assert np.allclose(found[row], literal.numpy(), atol=1e-5)
    # other batches, the same numbers
    monkeypatch.setattr(representations, "_BATCH", 13)
    shutil.rmtree(runs[0] / "analysis")
    other = representations.Subject(run).representations(images, setting, Progress())
    assert np.allclose(found, other, atol=1e-5)


def test_settings_change_what_is_shown(runs: list[Path]) -> None:
    found = {}
    for name, settings in {
        "withheld": AnalysisSettings(t=(50,)),
        "given": AnalysisSettings(t=(50,), labels=("given",)),
        "clean": AnalysisSettings(t=(50,), noise=False),
        "train": AnalysisSettings(t=(50,), images="train"),
        "published": as_published(),
    }.items():
        analysis = ltgen_bench.analyze(runs[:1], settings)
        (row,) = [r for r in analysis.rows if (r["group"], r["metric"]) == ("all", "silhouette")]
        found[name] = row["value"]
    assert len(set(found.values())) == 5
    assert "shows the label" not in AnalysisSettings().caption()
    assert "clusters show the label and not the image" in as_published().caption()


def test_the_untrained_network_is_a_control(runs: list[Path]) -> None:
    analysis = ltgen_bench.analyze(runs[:1], AnalysisSettings(t=(50,)), untrained=True)
    purity = {r["method"]: r["value"] for r in analysis.rows if (r["group"], r["metric"]) == ("all", "knn_purity")}
    assert list(purity) == ["DDPM", "DDPM, untrained"]
    assert purity["DDPM"] != purity["DDPM, untrained"]


def test_of_many_images_some_are_drawn_and_that_is_said(runs: list[Path], monkeypatch) -> None:
    from ltgen_bench.runs.analysis import settings

    monkeypatch.setattr(settings, "MOST_ANALYSED", 100)
    dataset = load_run(runs[0]).dataset
    drawn = AnalysisImages.of(dataset, "reference")
    assert (len(drawn.images), drawn.available) == (100, 1797)
    assert AnalysisImages.of(dataset, "reference").images.fingerprint() == drawn.images.fingerprint()


def test_what_cannot_be_analysed(cli: Cli, runs: list[Path], tmp_path: Path) -> None:
    from ltgen_bench.methods import METHODS

    def line(*words: object) -> str:
        return refused(cli("analyze", *words, "-q"))  # type: ignore[arg-type]

    assert "models are compared on the same images" in line(*runs, "--images", "train")
    assert "t is a noise level from 1 to 1000 (diffusion.timesteps); got 1001" in line(runs[0], "--t", "5,1001")
    assert "got 0" in line(runs[0], "--t", "0")
    assert "--t wants noise levels" in line(runs[0], "--t", "many")
    assert "labels is one of withheld, given" in line(runs[0], "--label", "no")
    assert "images is one of reference" in line(runs[0], "--images", "mine")
    assert "--noise is on or off" in line(runs[0], "--noise", "maybe")
    assert "leave those out" in line(runs[0], "--as-published", "--t", "5")
    assert "no map 'pca'" in line(runs[0], "--maps", "pca")
    assert "is not a run" in line(tmp_path)
    (runs[0] / "checkpoints" / "model.safetensors").unlink()
    assert "is not fully trained" in line(runs[0])
    plugin = Path(__file__).parents[2] / "examples" / "my_gaussian.py"
    try:
        code, _, err = cli("run", "--plugin", plugin, "--method", "my-gaussian", *PLAIN_OPTIONS, "-q")
        assert code == 0, err
        METHODS._entries.pop("my-gaussian")
        (run,) = (tmp_path / "runs" / "digits-lt" / "my-gaussian").iterdir()
        assert "offers no representations" in line(run, "--plugin", plugin)
    finally:
        METHODS._entries.pop("my-gaussian", None)


def test_the_command_prints_tables_and_writes_the_record(cli: Cli, runs: list[Path]) -> None:
    code, out, err = cli("analyze", *runs[:2], "--t", "11", "--label", "both", "--correlate", "-q")
    assert code == 0, err
    assert "t = 11, class given" in out
    assert "DDPM (n = 2)" in out
    assert "fewer than four runs" in out
    record = read_record(runs[0] / "record.json")
    assert record.schema_version == 2
    assert record.separation is not None
    assert {(p.t, p.label) for p in record.separation} == {(11, "withheld"), (11, "given")}
    assert not [problem for problem in contradictions(record) if "separation" in problem]
    code, out, err = cli("analyze", *runs[:2], "--t", "50", "--json", "-q")
    assert code == 0, err
    rows = json.loads(out)["rows"]
    (shown,) = [r for r in rows if r["seed"] == 0 and (r["group"], r["metric"]) == ("few", "knn_purity")]
    record = read_record(runs[0] / "record.json")
    assert record.separation is not None
    assert {p.t for p in record.separation} == {11, 50}  # what was there stays
    (kept,) = [p for p in record.separation if (p.t, p.group, p.metric) == (50, "few", "knn_purity")]
    assert kept.value == shown["value"]
    code, out, err = cli("validate", runs[0] / "record.json")
    assert code == 0, err


def test_a_record_with_separation_holds_together(cli: Cli, runs: list[Path]) -> None:
    assert cli("analyze", runs[0], "--t", "11", "-q")[0] == 0
    values = json.loads((runs[0] / "record.json").read_text())
    for change, message in (
        ({"schema_version": 1}, "schema_version 2 is that of records with separation"),
        ({"separation": None}, "schema_version 2 is that of records with separation"),
        ({"separation": values["separation"][:1] * 2}, "says one number twice"),
    ):
        with pytest.raises(RecordError, match=message):
            parse_record(json.dumps(values | change), "a record")
    values["separation"][0] |= {"metric": "knn_purity", "value": 1.5, "high": 1.5}
    values["separation"] = values["separation"][:1]
    (problem,) = [p for p in contradictions(parse_record(json.dumps(values), "a record")) if "separation" in p]
    assert problem == "separation: knn_purity at t = 11 is not within 0 ... 1"


def test_maps_are_drawn_and_say_how_far_they_can_be_trusted(cli: Cli, runs: list[Path], tmp_path: Path) -> None:
    line = ["analyze", *runs[:2], "--t", "50", "--images", "unseen", "--maps", "tsne", "--out", tmp_path / "maps", "-q"]
    code, out, err = cli(*line)
    assert code == 0, err
    assert [path.name for path in sorted((tmp_path / "maps").iterdir())] == [
        f"maps-t50-withheld.{kind}" for kind in ("html", "pdf", "png")
    ]
    assert "map  " in out
    page = (tmp_path / "maps" / "maps-t50-withheld.html").read_text()
    assert "trustworthiness" in page
    assert "http" not in page.split("<script>")[0].replace("data:image", "")
    before = (tmp_path / "maps" / "maps-t50-withheld.png").read_bytes()
    assert cli(*line)[0] == 0  # from the points that were kept
    assert (tmp_path / "maps" / "maps-t50-withheld.png").read_bytes() == before
    # by default they lie with the first run
    assert cli(*line[:-3], "-q")[0] == 0
    assert (runs[0] / "analysis" / "maps-t50-withheld.png").is_file()


def test_a_class_name_cannot_break_the_page() -> None:
    from ltgen_bench.evaluation.report.maps_figure import MapPanel

    panel = MapPanel("<b>", "t-SNE", np.zeros((2, 2), np.float32), 0.5)
    images = np.zeros((2, 3, 4, 4), np.uint8)
    page = maps_page([panel], images, np.array([0, 1]), ("</script><b>", "x"), [0, 1], [1], "a <caption>")
    assert "</script><b>" not in page
    assert "a &lt;caption&gt;" in page
    assert "a picture that does not preserve neighbours" in page


def test_seeds_are_repetitions() -> None:
    rows = [
        {"run": str(seed), "method": "A", "seed": seed, "images": "reference", "t": 11, "label": "withheld",
         "noise": True, "group": "all", "metric": "knn_purity", "value": 0.5 + seed / 10, "low": 0.4, "high": 0.6,
         "reason": ""}
        for seed in range(3)
    ]  # fmt: skip
    (row,) = by_method(rows)
    assert (row["n"], row["mean"], row["std"], row["low"]) == (3, pytest.approx(0.6), pytest.approx(0.1), None)
    (alone,) = by_method(rows[:1])
    assert (alone["mean"], alone["std"], alone["low"]) == (0.5, None, 0.4)


def test_correlations_are_spearmans(runs: list[Path]) -> None:
    from scipy.stats import spearmanr

    record = read_record(runs[0] / "record.json")
    random = np.random.default_rng(0)
    purities, distances = random.random(12), random.random(12) * 5
    distances[:9] = 5 - 5 * purities[:9]
    records, rows = {}, []
    for index, (purity, distance) in enumerate(zip(purities, distances, strict=True)):
        metrics = record.metrics.model_copy(update={"fid": float(distance)})
        records[str(index)] = record.model_copy(update={"metrics": metrics})
        rows.append({"run": str(index), "t": 11, "label": "withheld", "group": "all", "metric": "knn_purity",
                     "value": float(purity)})  # fmt: skip
    found = {row["quality"]: row for row in correlations(rows, records)}
    assert found["distance"]["rho"] == pytest.approx(spearmanr(purities, distances).statistic)
    assert found["distance"]["low"] < found["distance"]["rho"] < found["distance"]["high"]
    assert found["distance"]["p"] < 0.1
    assert found["tail distance"]["reason"] == "one side does not vary"
    assert correlations(rows[:3], records)[0]["reason"] == "fewer than four runs"
