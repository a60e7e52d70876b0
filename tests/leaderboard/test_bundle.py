"""A run that travels: what comes back is the run, and what was changed on the way is refused in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from leaderboard_records import command, refused

from ltgen_bench import load_run
from ltgen_bench.core.errors import DataError, MissingFileError, UserError
from ltgen_bench.core.storage import sha256_file
from ltgen_bench.evaluation.samples import read_samples, write_samples
from ltgen_bench.leaderboard.exchange.bundle import export_run, place_bundle, read_bundle

OPTIONS = [
    "--set=network.base_channels=8", "--set=network.norm_groups=4", "--set=training.steps=4",
    "--set=training.batch_size=8", "--set=training.warmup_steps=2", "--set=sampling.guidance_scale=0.0",
    "--protocol", "digits-1k.v1", "-q",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    places = ["--runs-dir", folder / "runs", "--data-root", folder / "data"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["ltgen-bench", "run", *OPTIONS, *map(str, places)])
        from ltgen_bench.cli import main

        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    (found,) = (folder / "runs/digits-lt/ddpm").iterdir()
    return found


@pytest.fixture
def bundle(run: Path, tmp_path: Path) -> Path:
    export_run(run, tmp_path / "bundle")
    return tmp_path / "bundle"


def sign(bundle: Path) -> None:
    """Write the list of hashes anew, as whoever changes a bundle would."""
    names = sorted(p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file())
    lines = [f"{sha256_file(bundle / name)}  {name}\n" for name in names if name != "SHA256SUMS"]
    (bundle / "SHA256SUMS").write_text("".join(lines))


def test_what_comes_back_is_the_run(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    data = run.parents[3] / "data"
    code, out, err = command(
        monkeypatch,
        capsys,
        "export",
        run,
        tmp_path / "out",
        "--reference-statistics",
        "--data-root",
        data,
        "--json",
        "-q",
    )
    assert code == 0, err
    assert json.loads(out)["files"]["checkpoints/model.safetensors"] > 0
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path / "out", check=True)
    code, out, err = command(monkeypatch, capsys, "import", tmp_path / "out", "--runs-dir", tmp_path / "theirs", "-q")
    assert code == 0, err
    theirs, ours = load_run(out.strip(), data_root=data), load_run(run, data_root=data)
    assert theirs.folder.path == tmp_path / "theirs" / run.relative_to(run.parents[2])
    assert theirs.record == ours.record
    np.testing.assert_array_equal(theirs.sample([0, 9], seed=3), ours.sample([0, 9], seed=3))
    # the statistics are those that the distance was computed with
    features = tmp_path / "features.npz"
    np.savez(features, features=ours.features())
    statistics = tmp_path / "out" / "reference-statistics.npz"
    code, out, err = command(monkeypatch, capsys, "metrics", features, statistics, "--only", "fid", "--json", "-q")
    assert code == 0, err
    assert json.loads(out)["fid"] == pytest.approx(ours.record.metrics.fid, rel=1e-5)
    # the same command finds a finished run there
    places = ["--runs-dir", tmp_path / "theirs", "--data-root", data]
    code, _, err = command(monkeypatch, capsys, "run", *OPTIONS, *places)
    assert code == 0, err


def test_the_card_says_what_it_is_and_cannot_be_marked_up(bundle: Path) -> None:
    card = (bundle / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    assert front.splitlines()[0] == "library_name: ltgen-bench"
    assert "# Denoising diffusion" in body or "# DDPM" in body
    assert "FD\\[digits-cnn\\]" in body
    assert "ltgen-bench import" in body


def test_nothing_is_written_over(run: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exists; a bundle is not written over anything"):
        export_run(run, bundle)
    place_bundle(read_bundle(bundle), tmp_path / "runs")
    with pytest.raises(DataError, match="nothing is written over a run"):
        place_bundle(read_bundle(bundle), tmp_path / "runs")


def test_an_unfinished_run_is_not_exported(run: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="is not a run's folder"):
        export_run(tmp_path, tmp_path / "out")
    shutil.copytree(run, tmp_path / "half")
    (tmp_path / "half/checkpoints/model.safetensors").unlink()
    with pytest.raises(MissingFileError, match="has no trained model"):
        export_run(tmp_path / "half", tmp_path / "out")
    (tmp_path / "half/record.json").unlink()
    with pytest.raises(MissingFileError, match=r"is not finished: it has no record\.json"):
        export_run(tmp_path / "half", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def stray(bundle: Path) -> None:
    (bundle / "setup.py").write_text("")


def link(bundle: Path) -> None:
    (bundle / "stats.jsonl").unlink()
    (bundle / "stats.jsonl").symlink_to("/etc/passwd")


def linked_folder(bundle: Path) -> None:
    (bundle / "figures").rename(bundle.parent / "figures")
    (bundle / "figures").symlink_to(bundle.parent / "figures")


def pipe(bundle: Path) -> None:
    (bundle / "stats.jsonl").unlink()
    os.mkfifo(bundle / "stats.jsonl")


def second_model(bundle: Path) -> None:
    (bundle / "checkpoints/other.safetensors").write_bytes(b"")


def no_weights(bundle: Path) -> None:
    (bundle / "checkpoints/model.safetensors").unlink()


def no_samples(bundle: Path) -> None:
    (bundle / "samples/samples.npz").unlink()


def too_large(bundle: Path) -> None:
    with (bundle / "config.toml").open("ab") as file:
        file.truncate(2 << 20)


def other_samples(bundle: Path) -> None:
    samples = read_samples(bundle / "samples/samples.npz")
    samples.images[0] ^= 1
    write_samples(bundle / "samples/samples.npz", samples)


def other_configuration(bundle: Path) -> None:
    config = bundle / "config.toml"
    config.write_text(config.read_text().replace("steps = 4\n", "steps = 400\n"))


def other_seed(bundle: Path) -> None:
    config = bundle / "config.toml"
    config.write_text(config.read_text().replace("seed = 0\n", "seed = 1\n", 1))


def better_number(bundle: Path) -> None:
    record = json.loads((bundle / "record.json").read_text())
    record["metrics"]["fid"] = 0.0
    (bundle / "record.json").write_text(json.dumps(record))


def outside(bundle: Path) -> None:
    record = json.loads((bundle / "record.json").read_text())
    record["dataset"]["name"] = "../../elsewhere"
    (bundle / "record.json").write_text(json.dumps(record))


def deep(bundle: Path) -> None:
    (bundle / "guidance.json").write_text("[" * 100 + "]" * 100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (stray, "'setup.py' does not belong in a bundle"),
        (link, "is a link or no plain file"),
        (linked_folder, "is a link or no plain file"),
        (pipe, "is a link or no plain file"),
        (second_model, "one file of weights"),
        (no_weights, "one file of weights"),
        (no_samples, "samples/samples.npz is missing"),
        (too_large, "at most 1,048,576 are allowed"),
        (other_samples, "are not the samples of record.json"),
        (other_configuration, "is not the configuration of record.json"),
        (other_seed, "is not the configuration of record.json"),
        (better_number, "does not hold metrics.fid"),
        (outside, "elsewhere"),
        (deep, "nested more than"),
    ],
)
def test_changed_bundles_are_refused(bundle: Path, tmp_path: Path, monkeypatch, capsys, change, message) -> None:
    change(bundle)
    if change not in (pipe, link, linked_folder):
        sign(bundle)
    line = refused(monkeypatch, capsys, "import", bundle, "--runs-dir", tmp_path / "runs")
    assert message in line
    assert not (tmp_path / "runs").exists()


def test_hashes_have_to_be_those_of_the_files(bundle: Path, tmp_path: Path) -> None:
    with (bundle / "checkpoints/model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    with pytest.raises(UserError, match=r"checkpoints/model\.safetensors is not the file whose sha256"):
        read_bundle(bundle)
    (bundle / "SHA256SUMS").write_text("nonsense\n")
    with pytest.raises(UserError, match="line 1 is not"):
        read_bundle(bundle)
    (bundle / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="is no bundle: it has no SHA256SUMS"):
        read_bundle(bundle)
    (bundle / "README.md").unlink()
    sign(bundle)
    (bundle / "README.md").write_text("")
    with pytest.raises(UserError, match=r"'README\.md' is not in both"):
        read_bundle(bundle)
