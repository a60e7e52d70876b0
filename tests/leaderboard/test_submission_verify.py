"""`submit` and `verify` from real samples: the whole way of a number, and what ends it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from leaderboard_records import change, command, digits, make_record, refused, write_submission, write_sums

from ltgen_bench.core.progress import Progress
from ltgen_bench.core.seeding import uniform_labels
from ltgen_bench.evaluation import provenance as environment
from ltgen_bench.evaluation.authenticity import Authenticity
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.record import CodePart
from ltgen_bench.evaluation.record_files import parse_record, read_record
from ltgen_bench.evaluation.samples import Samples, read_samples, write_samples
from ltgen_bench.leaderboard.submission import SubmissionError, validate_submission
from ltgen_bench.leaderboard.submission.create import MeasuredRun, create_submission, folder_name, measured_run
from ltgen_bench.leaderboard.submission.metadata import make_metadata
from ltgen_bench.leaderboard.submission.real_images import reference_copies
from ltgen_bench.leaderboard.submission.terms import DECLARATION
from ltgen_bench.leaderboard.submission.tolerance import (
    disagreements,
    memorisation_disagreements,
    table_values,
    tolerance,
)
from ltgen_bench.leaderboard.submission.untrusted import check_picture
from ltgen_bench.leaderboard.submission.verification import read_verification, verification_path, verified_seeds
from ltgen_bench.leaderboard.submission.verify import verify_samples
from ltgen_bench.runs.external import evaluate_external
from ltgen_bench.runs.resolve import resolve

FIRST = {"dataset": {"name": "digits-lt"}, "protocol": {"name": "digits-1k.v1"}}
CLEAN = CodePart(version="0.1.0", commit="1" * 40, clean=True)


def draw_samples(path: Path, seed: int) -> Path:
    """1,000 "generated" digits: training images with noise, labels as the protocol draws them."""
    draw = np.random.default_rng(seed)
    reference = digits().train()
    labels = uniform_labels(1000, 10, seed)
    chosen = [draw.choice(np.flatnonzero(reference.labels == label)) for label in labels]
    noise = draw.integers(-20, 20, (1000, 1, 8, 8))
    write_samples(path, Samples(np.clip(reference.images[chosen] + noise, 0, 255).astype(np.uint8), labels))
    return path


def test_unconditional_samples_are_measured_again_without_their_labels(tmp_path: Path, clean_code) -> None:
    """Labels that the file holds, even impossible ones, are not looked at, and may be changed."""
    file, boards = draw_samples(tmp_path / "0.npz", 0), tmp_path / "leaderboards"
    layers = {
        "dataset": {"name": "digits-lt"},
        "protocol": {"name": "digits-1k.v1"},
        "sampling": {"conditioning": "none", "guidance_scale": 0.0},
    }
    places = EvaluationPlaces(tmp_path / "data", {})
    folder, record = evaluate_external(
        read_samples(file, labelled=False), resolve(layers, tmp_path / "data"), places, Progress(), source="0.npz",
        name="Free", seed=0, runs_dir=tmp_path / "runs", out=None,
    )  # fmt: skip
    assert record.metrics.label_accuracy is None
    facts = {"method": "Free", "seeds_run": [0], "declaration": DECLARATION}
    submission = create_submission(
        [measured_run(folder)], make_metadata(facts, "here"), None, leaderboards=boards, data_root=tmp_path / "data"
    )
    images = read_samples(file, labelled=False).images
    write_samples(file, Samples(images, np.full(1000, 77)))
    _, verification = verify_samples(submission, file, leaderboards=boards, places=places, device="cpu")
    assert "label_accuracy" not in {k for k, v in verification.measured.items() if v is not None}
    assert list(verified_seeds(boards, submission)) == [0]


def test_changed_code_is_refused_before_anything_is_measured(tmp_path: Path, monkeypatch, capsys) -> None:
    changed = CodePart(version="0.1.0", commit="1" * 40, clean=False)
    monkeypatch.setattr("ltgen_bench.evaluation.provenance.code_state", lambda: changed)
    (tmp_path / "s.npz").write_bytes(b"not even read")
    line = ["submit", tmp_path / "s.npz", "--dataset", "digits-lt", "--seeds-run", "0", "--method-name", "Mine"]
    assert command(monkeypatch, capsys, *line)[0] == 2
    assert "measured with changed code" in command(monkeypatch, capsys, *line)[2]


def test_code_is_clean_while_tables_and_submissions_change(tmp_path: Path, monkeypatch) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    for name in ("ltgen_bench/__init__.py", "baselines/ddpm.py", "pyproject.toml", "leaderboards/tables/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    monkeypatch.setattr(environment, "PACKAGE_ROOT", tmp_path / "ltgen_bench")
    assert environment.code_state().clean is True
    (tmp_path / "leaderboards/tables/README.md").write_text("another table")
    assert environment.code_state().clean is True
    (tmp_path / "baselines/ddpm.py").write_text("another method")
    assert environment.code_state().clean is False


def test_from_samples_to_verified(tmp_path: Path, monkeypatch, capsys, clean_code) -> None:
    boards = tmp_path / "leaderboards"
    files = [draw_samples(tmp_path / f"{seed}.npz", seed) for seed in (0, 1)]
    data = ["--data-root", tmp_path / "data", "--quiet"]
    code, out, err = command(
        monkeypatch, capsys, "submit", *files, "--dataset", "digits-lt", "--protocol", "digits-1k.v1",
        "--seeds-run", "0,1", "--method-name",
        "Noisy copies (ours)", "--paper", "A. Author, A title, 2026", "--leaderboards", boards, "--runs-dir",
        tmp_path / "runs", *data,
    )  # fmt: skip
    assert (code, err) == (0, "")
    folder = boards / "records" / "digits-lt" / "noisy-copies-ours"
    assert f"{folder} is a valid submission" in out
    assert sorted(p.name for p in folder.iterdir()) == [
        "0.json", "0.png", "1.json", "1.png", "SHA256SUMS", "submission.toml",
    ]  # fmt: skip
    check_picture((folder / "0.png").read_bytes(), "0.png")
    assert sum(p.stat().st_size for p in folder.iterdir()) < 600_000  # small enough to commit

    # somebody else measures one seed's samples
    code, out, err = command(
        monkeypatch, capsys, "verify", folder, "--samples", files[1], "--leaderboards", boards, *data
    )
    assert (code, err) == (0, "")
    assert "1 of 2 seeds checked; the submission is reported" in out
    submission = validate_submission(folder)
    path = verification_path(boards, submission, 1)
    assert path == boards / "verifications" / "digits-lt" / "noisy-copies-ours" / "1.json"
    verification = read_verification(path)
    assert verification.environment.packages["torch"]
    assert verification.code == CLEAN
    assert list(verified_seeds(boards, submission)) == [1]
    # the same machine measures the same numbers, to the last digit
    assert verification.measured == table_values(submission.records[1])

    # a better FID, with everything derivable and the checksums made to fit, is found out by measuring
    def better(record: dict) -> None:
        record["metrics"]["fid"] *= 0.9
        interval = record["metrics"]["confidence"]["fid"]
        interval |= {key: 0.9 * interval[key] for key in ("low", "high")}

    change(folder, 1, better)
    again = SimpleNamespace(
        to_dict=submission.records[1].metrics.model_dump,
        dataset=submission.records[1].dataset,
        authenticity=Authenticity(1, {}, {}, ()),
    )
    monkeypatch.setattr("ltgen_bench.evaluation.evaluate.Evaluator.measure", lambda *_, **__: again)  # known by now
    assert list(verified_seeds(boards, validate_submission(folder))) == []
    line = refused(monkeypatch, capsys, "verify", folder, "--samples", files[1], "--leaderboards", boards, *data)
    assert "seed 1: fid is" in line
    assert "measured again" in line


def test_what_is_not_in_the_table_is_measured_again_too(tmp_path: Path, clean_code) -> None:
    """Numbers of single classes, of groups, of copies, and a confusion table that went missing."""
    file, boards = draw_samples(tmp_path / "0.npz", 0), tmp_path / "leaderboards"
    places = EvaluationPlaces(tmp_path / "data", {})
    run, _ = evaluate_external(
        read_samples(file), resolve(FIRST, tmp_path / "data"), places, Progress(),
        source="0.npz", name="Gan", seed=0, runs_dir=tmp_path / "runs", out=None,
    )  # fmt: skip
    facts = {"method": "Gan", "seeds_run": [0], "declaration": DECLARATION}
    folder = create_submission(
        [measured_run(run)], make_metadata(facts, "here"), None, leaderboards=boards, data_root=tmp_path / "data"
    ).path
    original = (folder / "0.json").read_text()

    def no_confusion(record: dict) -> None:
        record["metrics"]["confusion"] = None

    def better_class(record: dict) -> None:
        values = record["metrics"]["per_class"]["kid"]  # the mean over the two classes stays as it is
        values[8], values[9] = values[8] + values[9], 0.0

    def no_copies(record: dict) -> None:
        record["metrics"]["memorisation"]["pixels"] |= {"fraction": 0.9, "per_class": [0.9] * 10}

    for edit, message in (
        (no_confusion, "metrics.confusion is missing"),
        (better_class, r"per_class\.kid\.8 is .* in the record"),
        (no_copies, "memorisation.pixels.fraction is 0.9 in the record"),
    ):
        (folder / "0.json").write_text(original)
        change(folder, 0, edit)
        with pytest.raises(SubmissionError, match=message):
            verify_samples(validate_submission(folder), file, leaderboards=boards, places=places, device="cpu")
    (folder / "0.json").write_text(original)
    change(folder, 0, lambda record: None)
    verify_samples(validate_submission(folder), file, leaderboards=boards, places=places, device="cpu")
    # another name for what was verified, or fewer seeds than were run, is another claim
    metadata = folder / "submission.toml"
    metadata.write_text(metadata.read_text().replace('"Gan"', '"My own new method"'))
    write_sums(folder)
    assert verified_seeds(boards, validate_submission(folder)) == {}


def test_real_images_are_no_samples(tmp_path: Path) -> None:
    """Reference images that no model was trained on; noise of a few levels hides nothing. Training images may be."""
    dataset = digits()
    reference, training = dataset.reference_set().images, dataset.train().images
    trained_on = {image.tobytes() for image in training}
    unseen = np.stack([image for image in reference if image.tobytes() not in trained_on])
    draw = np.random.default_rng(0)
    noisy = np.clip(unseen[:200] + draw.integers(-3, 4, unseen[:200].shape), 0, 255).astype(np.uint8)
    blurred = ((unseen[:200].astype(int) + np.roll(unseen[:200], 1, axis=3)) // 2).astype(np.uint8)
    assert reference_copies(unseen[:200], dataset) == 200
    assert reference_copies(noisy, dataset) == 200
    assert reference_copies(training, dataset) <= 2  # twins of a training image
    assert reference_copies(blurred, dataset) == 0
    # wherever they stand
    made = draw.integers(0, 256, (5000, 1, 8, 8), dtype=np.uint8)
    assert reference_copies(np.concatenate([made, unseen[:200]]), dataset) == 200


def test_tolerance_of_samples_without_classes() -> None:
    """No class has samples then; that makes no share free."""
    record = make_record("h2t")
    record["samples"] |= {"labelled": False, "class_counts": [0] * 10}
    record["metrics"]["per_class"]["n_generated"] = [0] * 10
    for group in record["metrics"]["groups"].values():
        group["n_generated"] = 0
    parsed = parse_record(json.dumps(record), "x")
    assert tolerance(parsed, "precision", 0.5) == pytest.approx(2e-3)
    assert tolerance(parsed, "groups.few.precision", 0.5) == pytest.approx(2e-3)


def test_verifications_are_compared_again(tmp_path: Path) -> None:
    """A file written by hand says nothing: numbers that differ, another record, changed code."""
    folder = write_submission(tmp_path, "gan", [make_record("gan", 0, foreign=True)])
    submission = validate_submission(folder)
    record = submission.records[0]
    path = verification_path(tmp_path, submission, 0)
    path.parent.mkdir(parents=True)
    good = {
        "format": 1,
        "record_sha256": submission.sha256[0],
        "samples_sha256": record.samples.sha256,
        "method": "gan",
        "seeds_run": [0],
        "picture_sha256": None,
        "verified": "2026-05-01T12:00:00Z",
        "measured": table_values(record),
        "environment": record.environment.model_dump(mode="json"),
        "code": CLEAN.model_dump(mode="json"),
    }
    path.write_text(json.dumps(good))
    assert list(verified_seeds(tmp_path, submission)) == [0]
    for change_ in (
        {"record_sha256": "0" * 64},
        {"samples_sha256": "0" * 64},
        {"method": "GAN"},
        {"seeds_run": [0, 1]},
        {"picture_sha256": "0" * 64},
        {"measured": {**good["measured"], "groups.few.label_accuracy": 1.0}},
        {"measured": {**good["measured"], "memorisation.pixels.fraction": 0.5}},
        {"measured": {}},
        {"measured": {**good["measured"], "fid": 4.9}},
        {"measured": {**good["measured"], "groups.few.recall": None}},
        {"code": {**good["code"], "clean": False}},
    ):
        path.write_text(json.dumps({**good, **change_}))
        assert list(verified_seeds(tmp_path, submission)) == []
    for broken in ({"status": "verified"}, {"verified": "x" * 300}, {"measured": {"fid": "5"}}):
        path.write_text(json.dumps({**good, **broken}))
        with pytest.raises(SubmissionError) as caught:
            verified_seeds(tmp_path, submission)
        assert "\n" not in str(caught.value)
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(SubmissionError, match="cannot be read"):
        verified_seeds(tmp_path, submission)


def test_tolerances() -> None:
    record = parse_record(json.dumps(make_record(fid=5.0)), "x")
    assert tolerance(record, "fid", 5.0) == pytest.approx(5e-3)
    assert tolerance(record, "recall", 0.5) == pytest.approx(2e-3)  # 1,797 reference images: two are 0.0011
    few = sum(record.metrics.per_class.n_generated[c] for c in record.dataset.groups["few"])
    assert tolerance(record, "groups.few.precision", 0.5) == pytest.approx(2 / few)
    assert tolerance(record, "groups.few.density", 0.1) == pytest.approx(2 / few)
    nine = record.metrics.per_class.n_generated[9]
    assert tolerance(record, "density", 0.1, [9]) == pytest.approx(2 / nine)
    assert (tolerance(record, "f8", 0.9), tolerance(record, "groups.few.f8", 0.9)) == (0.01, 0.05)
    values = table_values(record)
    assert list(disagreements(record, values)) == []
    assert list(disagreements(record, {**values, "fid": 5.004})) == []
    (line,) = disagreements(record, {**values, "fid": 5.006})
    assert line == "fid is 5 in the record and 5.006 measured again, more than 0.005 apart"


def test_later_numbers_are_compared_where_a_record_states_them() -> None:
    """Records of earlier versions lack them; a record that states one has to be right."""
    plain = make_record(fid=5.0)
    found = {**table_values(parse_record(json.dumps(plain), "x")), "clipped_coverage": 0.5, "vendi_score": 9.0}
    assert list(disagreements(parse_record(json.dumps(plain), "x"), found)) == []
    plain["metrics"] |= {"clipped_coverage": 0.5, "vendi_score": 9.1}
    (line,) = disagreements(parse_record(json.dumps(plain), "x"), found)
    assert line.startswith("vendi_score is 9.1 in the record and 9 measured again")


def test_shares_of_suspected_copies_by_other_thresholds_are_compared() -> None:
    plain = make_record(fid=5.0)
    shares = {"fraction": 0.1, "groups": {"many": 0.1, "medium": 0.1, "few": 0.1}, "per_class": [0.1] * 10}
    distances = {"median_distance": 2.0, "held_out_median_distance": 2.5, "threshold": 1.0}
    plain["metrics"]["memorisation"] = {"pixels": {**shares, **distances, "by_class": shares, "by_neighbourhood": None}}
    record = parse_record(json.dumps(plain), "x")
    count = record.metrics.per_class.n_generated[3]

    def told(part: str | None, key: str, value: object) -> list[str]:
        metrics = json.loads(json.dumps(plain["metrics"]))
        place = metrics["memorisation"]["pixels"]
        (place if part is None else place[part])[key] = value
        return list(memorisation_disagreements(record, metrics))

    assert told(None, "threshold", 1.0009) == []
    (line,) = told(None, "threshold", 1.002)
    assert line.startswith("memorisation.pixels.threshold is 1 in the record and 1.002 measured again")
    (line,) = told("by_class", "fraction", 0.2)
    assert line.startswith("memorisation.pixels.by_class.fraction is 0.1 in the record and 0.2")
    assert told("by_class", "per_class", [0.1] * 3 + [0.1 + 2 / count] + [0.1] * 6) == []
    (line,) = told("by_class", "per_class", [0.1] * 3 + [0.1 + 3 / count] + [0.1] * 6)
    assert line.startswith("memorisation.pixels.by_class.per_class.3 is 0.1 in the record")
    assert len(told(None, "groups", None)) == 3
    # an earlier version's record says nothing of thresholds by class
    del plain["metrics"]["memorisation"]["pixels"]["by_class"]
    record = parse_record(json.dumps(plain), "x")
    assert told(None, "by_class", shares) == []


METADATA = {"method": "CORAL", "seeds_run": [0, 1, 2], "declaration": DECLARATION}


def make_runs(root: Path, seeds: range = range(3)) -> list[MeasuredRun]:
    runs = []
    for seed in seeds:
        root.mkdir(exist_ok=True)
        (root / f"run{seed}.json").write_text(json.dumps(make_record("coral", seed)))
        runs.append(MeasuredRun(root / f"run{seed}.json", None))
    return runs


def test_submit_refuses_what_validate_would(tmp_path: Path) -> None:
    runs = make_runs(tmp_path / "runs")
    metadata = make_metadata(METADATA, "submit")
    with pytest.raises(SubmissionError, match="seeds 0, 1, 2 were run and 2 are not here"):
        create_submission(runs[:2], metadata, None, leaderboards=tmp_path / "boards")
    with pytest.raises(SubmissionError, match="seed 0 is given twice"):
        create_submission([runs[0], runs[0]], metadata, None, leaderboards=tmp_path / "boards")
    assert not (tmp_path / "boards").exists()  # nothing half made stays behind
    done = create_submission(runs, metadata, None, leaderboards=tmp_path / "boards")
    assert done.path == tmp_path / "boards" / "records" / "digits-lt" / "coral"
    # a record is copied byte by byte
    assert (done.path / "0.json").read_bytes() == runs[0].record.read_bytes()
    with pytest.raises(SubmissionError, match="a submission is not overwritten"):
        create_submission(runs, metadata, None, leaderboards=tmp_path / "boards")


def test_submit_asks_for_one_run_per_seed(tmp_path: Path, monkeypatch, capsys) -> None:
    make_runs(tmp_path / "runs")
    line = refused(monkeypatch, capsys, "submit", tmp_path / "runs", "--seeds-run", "0,1,2", "--method-name", "x")
    assert "1 runs are given and 3 seeds were run" in line
    assert "best of several is not accepted" in line
    line = refused(monkeypatch, capsys, "submit", tmp_path / "runs", "--seeds-run", "0", "--method-name", "x")
    assert "has no record.json" in line
    assert "seeds-run" in refused(monkeypatch, capsys, "submit", tmp_path, "--method-name", "x")
    assert "method" in refused(monkeypatch, capsys, "submit", tmp_path, "--seeds-run", "0", "--method-name", "<b>")


def test_a_run_of_this_package_becomes_a_submission(tmp_path: Path, quick_run) -> None:
    """A real run's record passes every re-computation; only its custom protocol keeps it out."""
    from ltgen_bench.core.progress import Progress
    from ltgen_bench.evaluation.places import EvaluationPlaces
    from ltgen_bench.leaderboard.submission import validate_record
    from ltgen_bench.runs.pipeline import Run

    run = Run.at(quick_run(), tmp_path / "runs", EvaluationPlaces(tmp_path / "data"), Progress())
    run.run_all()
    data = run.folder.record.read_bytes()
    assert validate_record(data, "record.json") == read_record(run.folder.record)
    metadata = make_metadata({**METADATA, "seeds_run": [0]}, "submit")
    with pytest.raises(SubmissionError, match="only published protocols enter a leaderboard"):
        create_submission([MeasuredRun(run.folder.record, None)], metadata, None, leaderboards=tmp_path)
    shutil.rmtree(run.folder.path)


def test_folder_names() -> None:
    assert folder_name("CORAL (ours), w = 0.01") == "coral-ours-w-0-01"
    assert folder_name("Überdiffusion") == "uberdiffusion"
    assert folder_name("生成") == folder_name("生成") != folder_name("生产")
    assert folder_name("生成").startswith("method-")
