"""reported < remeasured < resampled < retrained: what is refused on the way, and what each step takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from leaderboard_records import command, digits, make_record, refused, write_submission, write_sums

from ltgen_bench.core.errors import DataError
from ltgen_bench.core.progress import Progress
from ltgen_bench.core.seeding import labels_by_policy
from ltgen_bench.datasets.base import take
from ltgen_bench.datasets.unseen import unseen_images
from ltgen_bench.evaluation.places import EvaluationPlaces
from ltgen_bench.evaluation.private_reference import load_private
from ltgen_bench.evaluation.record_files import read_record
from ltgen_bench.evaluation.samples import Samples, read_samples, write_samples
from ltgen_bench.leaderboard.submission import SubmissionError, validate_submission
from ltgen_bench.leaderboard.submission.create import create_submission, measured_run
from ltgen_bench.leaderboard.submission.metadata import make_metadata
from ltgen_bench.leaderboard.submission.redraw import other_rows
from ltgen_bench.leaderboard.submission.terms import DECLARATION
from ltgen_bench.leaderboard.submission.verification import verified_seeds
from ltgen_bench.leaderboard.submission.verify import refuse_alike_seeds, verify_samples
from ltgen_bench.runs.external import evaluate_external
from ltgen_bench.runs.resolve import resolve


def leak(path: Path, seed: int, rows: slice = slice(None)) -> Path:
    """Unseen digits with noise, 100 of each class as version 2 wants them; in `rows` only, else training images."""
    draw = np.random.default_rng(seed)
    unseen, train = unseen_images(digits()), digits().train()
    assert unseen is not None
    labels = labels_by_policy("equal", 1000, 10, seed)
    images = np.empty((1000, 1, 8, 8))
    for source, where in ((train, slice(None)), (unseen, rows)):
        for row in range(1000)[where]:
            images[row] = source.images[draw.choice(np.flatnonzero(source.labels == labels[row]))]
    noisy = np.clip(np.rint(images + draw.normal(0, 7, images.shape)), 0, 255).astype(np.uint8)
    write_samples(path, Samples(noisy, labels))
    return path


def measured_folder(file: Path, tmp_path: Path, seed: int) -> Path:
    layers = {"dataset": {"name": "digits-lt"}, "protocol": {"name": "digits-1k.v2"}}
    return evaluate_external(
        read_samples(file), resolve(layers, tmp_path / "data"), EvaluationPlaces(tmp_path / "data", {}), Progress(),
        source="0.npz", name="Leak", seed=seed, runs_dir=tmp_path / "runs", out=None,
    )[0]  # fmt: skip


def test_samples_made_of_unseen_images_are_noted_and_refused(tmp_path: Path, clean_code) -> None:
    """Rank 1 by 1,000 reference digits with noise, as it could be bought."""
    file, boards = leak(tmp_path / "0.npz", 0), tmp_path / "leaderboards"
    run = measured_folder(file, tmp_path, 0)
    note = read_record(run / "record.json").metrics.notes["authenticity"]
    assert "lie beside a real image that no model trained on" in note
    metadata = make_metadata({"method": "Leak", "seeds_run": [0], "declaration": DECLARATION}, "here")
    with pytest.raises(SubmissionError, match="lie beside a real image"):
        create_submission([measured_run(run)], metadata, None, leaderboards=boards, data_root=tmp_path / "data")
    # the note is the sender's word: without it the samples tell
    record = json.loads((run / "record.json").read_text())
    del record["metrics"]["notes"]["authenticity"]
    (run / "record.json").write_text(json.dumps(record))
    submission = create_submission(
        [measured_run(run)], metadata, None, leaderboards=boards, data_root=tmp_path / "data"
    )
    places = EvaluationPlaces(tmp_path / "data", {})
    with pytest.raises(SubmissionError, match=r"seed 0: .*lie beside a real image.*: no verification"):
        verify_samples(submission, file, leaderboards=boards, places=places, device="cpu")
    assert not (boards / "verifications").exists()


def test_one_set_of_samples_is_not_two_seeds(tmp_path: Path, clean_code) -> None:
    honest = leak(tmp_path / "0.npz", 0, slice(0))
    samples = read_samples(honest)
    order = np.concatenate([np.flatnonzero(samples.labels == c)[::-1] for c in range(10)])
    back = np.empty(1000, np.int64)
    back[np.argsort(samples.labels, kind="stable")] = order  # the same labels in the same places, other images of each
    moved = np.clip(samples.images[back].astype(int) + 1, 0, 255).astype(np.uint8)
    other = labels_by_policy("equal", 1000, 10, 1)
    place = np.empty(1000, np.int64)
    place[np.argsort(other, kind="stable")] = np.argsort(samples.labels, kind="stable")
    write_samples(tmp_path / "1.npz", Samples(moved[place], other))
    runs = [measured_run(measured_folder(tmp_path / f"{seed}.npz", tmp_path, seed)) for seed in (0, 1)]
    metadata = make_metadata({"method": "Twice", "seeds_run": [0, 1], "declaration": DECLARATION}, "here")
    boards = tmp_path / "leaderboards"
    submission = create_submission(runs, metadata, None, leaderboards=boards, data_root=tmp_path / "data")
    with pytest.raises(SubmissionError, match="lie beside one of seed 1: they are no two draws"):
        refuse_alike_seeds(submission, [tmp_path / "0.npz", tmp_path / "1.npz"], device="cpu")


def test_published_samples_are_fetched_and_checked(tmp_path: Path, monkeypatch, capsys, clean_code) -> None:
    """`submit --samples-url` says what the file is; `verify` without files fetches what the submission names."""
    from ltgen_bench.core.storage import sha256_file

    file, boards = leak(tmp_path / "0.npz", 0, slice(0)), tmp_path / "leaderboards"
    url = "https://zenodo.org/records/1/files/0.npz"
    places = ["--leaderboards", boards, "--data-root", tmp_path / "data", "-q"]
    told = ["submit", file, "--dataset", "digits-lt", "--seeds-run", "0", "--method-name", "Travels"]
    code, _, err = command(monkeypatch, capsys, *told, "--samples-url", url, "--runs-dir", tmp_path / "runs", *places)
    assert code == 0, err
    folder = boards / "records/digits-lt/travels"
    published = validate_submission(folder).metadata.files["0"].samples
    assert published is not None
    assert (published.url, published.size, published.sha256) == (url, file.stat().st_size, sha256_file(file))
    asked = []

    def fetched(remote, where, progress=None):
        asked.append((remote.url, where))
        return file

    monkeypatch.setattr("ltgen_bench.leaderboard.exchange.fetch.fetch_remote", fetched)
    code, out, err = command(monkeypatch, capsys, "verify", folder, *places)
    assert code == 0, err
    assert asked == [(url, tmp_path / "data/.cache/fetched")]
    assert "the submission is remeasured" in out
    for change_to, message in (
        ('"http://x.org/a"', "url"), ('"file:///etc/passwd"', "url"), ('"https://x.org/a b"', "url"),
        ('"https://x"', "url"),
    ):  # fmt: skip
        metadata = folder / "submission.toml"
        before = metadata.read_text()
        metadata.write_text(before.replace(f'"{url}"', change_to))
        write_sums(folder)
        with pytest.raises(SubmissionError, match=message):
            validate_submission(folder)
        metadata.write_text(before)
    metadata.write_text(before.replace("[files.0.samples]", "[files.7.samples]"))
    write_sums(folder)
    with pytest.raises(SubmissionError, match="files names seed 7, which is not in seeds_run"):
        validate_submission(folder)


def test_nothing_to_verify_with_is_said(tmp_path: Path, monkeypatch, capsys, clean_code) -> None:
    folder = write_submission(tmp_path, "bare", [make_record(seed=0)])
    line = refused(monkeypatch, capsys, "verify", folder, "--leaderboards", tmp_path, "-q")
    assert "does not say where its samples are published; give --samples FILE" in line


def test_rows_drawn_again_may_differ_by_rounding_and_no_more() -> None:
    """The limits of `tests/statistics/redrawing.md`: what bf16 does passes, what tuning pixels does is refused."""
    random = np.random.default_rng(0)
    given = random.integers(10, 240, (64, 1, 8, 8), dtype=np.uint8)

    def moved(share: float, step: int = 1) -> np.ndarray:
        sign = random.choice([-step, step], given.shape)
        return (given + np.where(random.random(given.shape) < share, sign, 0)).astype(np.uint8)

    assert other_rows(given, given, coarse=False) == 0
    assert other_rows(moved(0.02), given, coarse=False) == 0  # another machine's float32
    bf16 = moved(0.25)  # .5 in the median
    assert other_rows(bf16, given, coarse=True) == 0
    assert other_rows(bf16, given, coarse=False) == 64
    tuned = moved(0.9)  # every row by .95
    assert other_rows(tuned, given, coarse=True) == 64
    assert other_rows(tuned, given, coarse=False) == 64
    some = given.copy()
    some[:3] = random.integers(0, 256, some[:3].shape)
    assert other_rows(some, given, coarse=False) == 0  # 3 of 64 took another way at a fork
    some[:4] = random.integers(0, 256, some[:4].shape)
    assert other_rows(some, given, coarse=False) == 4


@pytest.mark.slow
def test_a_run_is_drawn_again_from_its_weights_and_trained_again(
    tmp_path: Path, monkeypatch, capsys, clean_code
) -> None:
    """reported -> resampled -> retrained, and weights of another seed."""
    options = [
        "--set=network.base_channels=8", "--set=network.norm_groups=4", "--set=training.steps=12",
        "--set=training.batch_size=16", "--set=training.warmup_steps=4", "--set=sampling.guidance_scale=0.0",
        "--set=network.channel_multipliers=[1]", "--set=network.attention_levels=[]", "--set=network.residual_blocks=1",
        "--protocol", "digits-1k.v1", "--runs-dir", tmp_path / "runs", "--data-root", tmp_path / "data", "-q",
    ]  # fmt: skip
    runs = []
    for seed in (0, 1):
        code, _, err = command(monkeypatch, capsys, "run", "--seed", seed, *options)
        assert code == 0, err
        (run,) = (tmp_path / "runs/digits-lt/ddpm").glob(f"*-s{seed}")
        runs.append(run)
    boards = tmp_path / "leaderboards"
    places = ["--leaderboards", boards, "--data-root", tmp_path / "data", "-q"]
    told = ["--seeds-run", "0,1", "--method-name", "Tiny"]
    code, _, err = command(monkeypatch, capsys, "submit", *runs, *told, *places)
    assert code == 0, err
    folder = boards / "records/digits-lt/tiny"
    samples = [run / "samples/samples.npz" for run in runs]
    models = [run / "checkpoints/model.safetensors" for run in runs]
    wrong = ["--samples", samples[0], "--model", models[1]]
    line = refused(monkeypatch, capsys, "verify", folder, *wrong, *places)
    assert "of 64 rows that" in line  # all but a few, which 12 steps of training leave alike
    assert not (boards / "verifications").exists()
    both = [word for pair in zip(samples, models, strict=True) for word in ("--samples", pair[0], "--model", pair[1])]
    code, out, err = command(monkeypatch, capsys, "verify", folder, *both, "--draw", "20", *places)
    assert code == 0, err
    assert "the submission is resampled" in out
    checks = verified_seeds(boards, validate_submission(folder))
    assert [(one.redrawn_rows, one.equal_rows) for one in checks.values()] == [(20, 20), (20, 20)]
    assert checks[0].authenticity is not None
    again = ["--samples", samples[0], "--model", models[0], "--retrain", "--runs-dir", tmp_path / "again"]
    code, out, err = command(monkeypatch, capsys, "verify", folder, *again, *places)
    assert code == 0, err
    assert "the submission is retrained" in out
    retrained = verified_seeds(boards, validate_submission(folder))[0].retrained
    assert retrained is not None
    assert retrained.equal_samples

    # everything again, after a change of the metrics: one seed's samples are here, the other's nowhere
    shutil.rmtree(boards / "verifications")
    here = tmp_path / "here/digits-lt/tiny"
    here.mkdir(parents=True)
    shutil.copy(samples[0], here / "0.npz")
    shutil.copy(models[0], here / "0.safetensors")
    line = ["leaderboard", "reverify", "--samples-dir", tmp_path / "here", "--verifier", "B", "--json", *places]
    code, out, err = command(monkeypatch, capsys, *line)
    assert code == 0, err
    found = json.loads(out)
    assert (found["verified"], found["failed"], found["without_samples"]) == (1, 0, 1)
    assert verified_seeds(boards, validate_submission(folder))[0].verifier == "B"
    shutil.copy(models[1], here / "0.safetensors")
    code, out, err = command(monkeypatch, capsys, *line)
    assert code == 2
    assert "1 of 2 seeds failed" in err


def test_samples_nearer_to_public_than_to_private_images_are_refused(
    tmp_path: Path, monkeypatch, capsys, clean_code
) -> None:
    """Half of the unseen digits are all that is public; samples made of them, and of the others, are handed in."""
    unseen = unseen_images(digits())
    assert unseen is not None
    halves = [take(unseen.images, unseen.labels, np.arange(start, len(unseen), 2)) for start in (0, 1)]
    monkeypatch.setattr("ltgen_bench.evaluation.private_reference.unseen_images", lambda dataset: halves[0])
    boards, file, draw = tmp_path / "leaderboards", tmp_path / "0.npz", np.random.default_rng(5)
    labels = labels_by_policy("equal", 1000, 10, 0)
    rows = [draw.choice(np.flatnonzero(halves[0].labels == label)) for label in labels]
    copied = np.clip(halves[0].images[rows] + draw.normal(0, 9, (1000, 1, 8, 8)), 0, 255)
    write_samples(file, Samples(np.rint(copied).astype(np.uint8), labels))
    for limit in ("MOST_Z", "MOST_NEAR", "MOST_NEAR_OF_A_CLASS", "MOST_OPINION"):  # somebody got past those
        monkeypatch.setattr(f"ltgen_bench.evaluation.authenticity.{limit}", 1e9)
    places = ["--leaderboards", boards, "--data-root", tmp_path / "data", "-q"]
    told = ["submit", file, "--dataset", "digits-lt", "--seeds-run", 0, "--method-name", "Copied"]
    code, _, err = command(monkeypatch, capsys, *told, "--runs-dir", tmp_path / "runs", *places)
    assert code == 0, err
    folder = boards / "records/digits-lt/copied"
    for half in (0, 1):
        changed = halves[half].images.copy()
        changed[:, 0, 0, 0] ^= 1  # else they would be public
        write_samples(tmp_path / f"private{half}.npz", Samples(changed, halves[half].labels))
    asked = ["verify", folder, "--samples", file, *places, "--private-reference"]
    line = refused(monkeypatch, capsys, *asked, tmp_path / "private1.npz")
    assert "they were made from the public ones, no verification" in line
    assert not (boards / "verifications").exists()
    monkeypatch.setattr("ltgen_bench.evaluation.private_reference.unseen_images", lambda dataset: halves[1])
    code, _, err = command(monkeypatch, capsys, *asked, tmp_path / "private0.npz")
    assert code == 0, err  # whoever was made of the private ones is no nearer to the public ones
    checked = verified_seeds(boards, validate_submission(folder))[0].private_half
    assert checked is not None
    assert checked.high < 0


def test_private_images_have_to_be_private_and_enough(tmp_path: Path) -> None:
    dataset, unseen = digits(), unseen_images(digits())
    assert unseen is not None
    write_samples(tmp_path / "public.npz", Samples(unseen.images[:60], unseen.labels[:60]))
    with pytest.raises(DataError, match=r"60 of 60 private images are in the public reference of digits-lt"):
        load_private(tmp_path / "public.npz", dataset, tmp_path)
    train = dataset.train()
    write_samples(tmp_path / "trained.npz", Samples(train.images[:3], train.labels[:3]))
    with pytest.raises(DataError, match="3 of 3 private images are in the training set"):
        load_private(tmp_path / "trained.npz", dataset, tmp_path)
