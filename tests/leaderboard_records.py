"""Records and submissions for tests: consistent in every derivable value, made up in everything else."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltgen_bench.cli import main
from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.plain_text import printable
from ltgen_bench.core.protocol import PROTOCOLS
from ltgen_bench.core.seeding import uniform_labels
from ltgen_bench.core.storage import sha256_bytes, sha256_json
from ltgen_bench.datasets import load_dataset
from ltgen_bench.evaluation.parts import dataset_part
from ltgen_bench.features.info import BUILTIN
from ltgen_bench.leaderboard.submission import DECLARATION, SubmissionMetadata, validate_submission
from ltgen_bench.leaderboard.submission.tolerance import table_values
from ltgen_bench.leaderboard.submission.verification import Verification, verification_path, write_verification
from ltgen_bench.runs.resolve import resolve

METHODS = {"ddpm": (5.6, 0.10), "cbdm": (5.2, 0.12), "t2h": (5.25, 0.10), "coral": (4.7, 0.08)}
TABLE = Path("digits-lt--digits-1k.v1.md")
PROTOCOL = PROTOCOLS["digits-1k.v1"]
DATA_ROOT = Path("/nonexistent/data")  # the digits are embedded


@cache
def digits() -> Any:
    return load_dataset(DatasetConfig(name="digits-lt"), DATA_ROOT)


@cache
def _dataset_json() -> str:
    return dataset_part(digits()).model_dump_json()


def make_record(method: str = "ddpm", seed: int = 0, fid: float = 5.0, title: str = "", foreign: bool = False) -> dict:
    """A record of `method` on digits-lt under digits-1k.v1 whose FID is `fid`."""
    draw = np.random.default_rng([seed, int(fid * 1000), len(method)])
    dataset = json.loads(_dataset_json())
    classes, total = len(dataset["class_names"]), PROTOCOL.samples
    labels = uniform_labels(total, classes, seed)
    counts = np.bincount(labels, minlength=classes)
    reference = dataset["reference"]["class_counts"]
    confusion = np.diag(counts)
    wrong = draw.integers(0, counts // 4)
    for index in range(classes):
        confusion[index, index] -= wrong[index]
        confusion[index, 0 if index else 1] += wrong[index]
    per_class = {
        "n_generated": counts.tolist(),
        "n_reference": reference,
        "fid": (fid * (1.5 + 0.3 * np.arange(classes)) + draw.random(classes)).tolist(),
        "fid_floor": draw.random(classes).tolist(),
        "recall": (0.9 - 0.05 * np.arange(classes)).tolist(),
        "label_accuracy": (np.diag(confusion) / counts).tolist(),
        **{key: draw.uniform(0.6, 0.9, classes).tolist() for key in ("precision", "density", "coverage")},
    }
    groups, shares = {}, {}
    for position, (name, members) in enumerate(dataset["groups"].items()):
        n_generated = int(sum(counts[c] for c in members))
        n_reference = int(sum(reference[c] for c in members))
        group = {
            "classes": members,
            "n_generated": n_generated,
            "n_reference": n_reference,
            "fid": fid * (1 + 0.5 * position) + float(draw.normal(0, 0.02)),
            "mean_class_fid": float(np.mean([per_class["fid"][c] for c in members])),
            "label_accuracy": float(sum(confusion[c, c] for c in members) / n_generated),
        }
        group |= {"precision": float(draw.uniform(0.8, 0.9)), "density": float(draw.uniform(0.8, 1.1))}
        group |= {"recall": float(draw.uniform(0.5, 0.7)), "coverage": float(draw.uniform(0.6, 0.8))}
        group |= {key: float(draw.uniform(0.8, 0.9)) for key in ("f8", "f1_8")}
        groups[name] = group
    for key, weight in (
        ("precision", "n_generated"),
        ("density", "n_generated"),
        ("recall", "n_reference"),
        ("coverage", "n_reference"),
    ):
        shares[key] = sum(g[weight] * g[key] for g in groups.values()) / sum(g[weight] for g in groups.values())
    gap = {key: groups["few"][key] - groups["many"][key] for key in ("fid", "recall", "mean_class_fid")}
    numbers = {
        "fid": fid, "inception_score": 9.0 - fid / 10, "f8": 0.97 - fid / 100, "f1_8": 0.96 - fid / 100, **shares,
        "label_accuracy": float(confusion.trace() / total),
    }  # fmt: skip
    copied = {key: np.round(draw.uniform(0, 0.02, classes), 3) for key in ("features", "pixels")}
    info = BUILTIN["digits-cnn"]
    extractor = {
        "name": info.name, "version": 1, "dim": info.dim, "weights_sha256": info.sha256, "precision": "fp32",
        "label": "FD[digits-cnn]",
    }  # fmt: skip
    config = None if foreign else _config(method)
    return {
        "schema_version": 1,
        "method": {
            "name": method,
            "title": title or method.upper(),
            "paper": "A. Author, A title, 2026",
            "config": config,
            "config_hash": None if config is None else sha256_json(config)[:10],
            "facts": {"network_parameters": 702_625},
            "code_sha256": None if config is None or method in METHODS else "0" * 64,
        },
        "dataset": dataset,
        "protocol": PROTOCOL.model_dump(mode="json"),
        "protocol_hash": PROTOCOL.hash(),
        "seed": seed,
        "training": None
        if config is None
        else {
            "steps": config["training"]["steps"],
            "images_seen": config["training"]["steps"] * config["training"]["batch_size"],
            "final_losses": {"diffusion": 0.1},
        },
        "samples": {
            "count": total,
            "class_counts": counts.tolist(),
            "sha256": hashlib.sha256(f"{method}{seed}{fid}".encode()).hexdigest(),
            "resized_from": None,
            "sampler": None if config is None else config["sampling"],
            "network_evaluations": None if config is None else config["sampling"]["steps"],
        },
        "extractors": {"features": extractor, "manifold": extractor},
        "metrics": {
            **numbers, "fid_infinity": None, "kid": fid / 100, "kid_std": 0.01, "inception_score_std": 0.1,
            "per_class": per_class, "groups": groups, "head_tail_gap": gap, "confusion": confusion.tolist(),
            "confidence": {
                key: {"low": v - min(0.2, v), "high": v + min(0.2, v), "level": 0.95, "method": "made up"}
                for key, v in numbers.items()
            },
            "memorisation": {
                space: {
                    "fraction": float((shares_of_copies * counts).sum() / total), "median_distance": 1.0,
                    "threshold_quantile": 0.01, "per_class": shares_of_copies.tolist(),
                    "closest_pairs": [[1, 2], [3, 4]],
                }
                for space, shares_of_copies in copied.items()
            },
            "notes": {},
        },
        "environment": {
            "python": "3.12.1", "platform": "Linux x86_64", "device": "cpu", "threads": 1,
            "packages": {"torch": "2.9.0", "numpy": "2.3.0"},
        },
        "code": {"version": "0.1.0", "commit": "0" * 40, "clean": True},
        "timing": {"created": "2026-05-01T12:00:00Z", "training_seconds": 100.0, "sampling_seconds": 10.0},
    }  # fmt: skip


@cache
def _default_config() -> str:
    return json.dumps(resolve({"protocol": {"name": PROTOCOL.name}}, DATA_ROOT).config.identity())


def _config(method: str) -> dict:
    config = json.loads(_default_config())
    return {**config, "method": {**config["method"], "name": method}}


def write_submission(
    root: Path,
    name: str,
    records: list[dict],
    *,
    method: str = "",
    pictures: bool = False,
    dataset: str = "digits-lt",
    **metadata: Any,
) -> Path:
    """A submission folder `root/records/<data set>/<name>` with right checksums."""
    folder = root / "records" / dataset / name
    folder.mkdir(parents=True)
    fields = {"seeds_run": [record["seed"] for record in records], "declaration": DECLARATION, **metadata}
    (folder / "submission.toml").write_text(SubmissionMetadata(method=method or name, **fields).to_toml())
    for record in records:
        (folder / f"{record['seed']}.json").write_text(json.dumps(record, indent=2) + "\n")
        if pictures:
            (folder / f"{record['seed']}.png").write_bytes(picture())
    write_sums(folder)
    return folder


def verified(folder: Path) -> Path:
    """The submission, with verifications beside it that met every number, as `verify` writes them."""
    submission = validate_submission(folder, DATA_ROOT, pixels=False)
    for seed, record in submission.records.items():
        verification = Verification(
            record_sha256=submission.sha256[seed],
            samples_sha256=record.samples.sha256,
            method=submission.metadata.method,
            seeds_run=submission.metadata.seeds_run,
            picture_sha256=submission.pictures.get(seed),
            verified="2026-05-02T12:00:00Z",
            redrawn_rows=64,
            weights_sha256="0" * 64,
            measured=table_values(record),
            environment=record.environment,
            code=record.code,
        )
        write_verification(folder.parents[2], verification_path(folder.parents[2], submission, seed), verification)
    return folder


def write_sums(folder: Path) -> None:
    """`SHA256SUMS` of the folder as it is now."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "SHA256SUMS")
    (folder / "SHA256SUMS").write_text("".join(f"{sha256_bytes((folder / n).read_bytes())}  {n}\n" for n in names))


def change(folder: Path, seed: int, edit: Any) -> None:
    """Edit a record in place and write matching checksums: what a careful cheat would do."""
    path = folder / f"{seed}.json"
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))
    write_sums(folder)


@cache
def picture(width: int = 360, height: int = 300) -> bytes:
    """A small PNG of noise."""
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (height // 12, width // 12), dtype=np.uint8)
    Image.fromarray(noise).resize((width, height), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


def write_leaderboard(root: Path, seeds: int = 3) -> Path:
    """A `leaderboards` folder with four verified methods of our own and one foreign row with a single seed."""
    import shutil

    published = Path(__file__).resolve().parents[1] / "leaderboards" / "published"
    shutil.copytree(published, root / "published")
    for index, (name, (fid, spread)) in enumerate(METHODS.items()):
        records = [
            make_record("ddpm" if name == "ddpm" else name, seed, fid + spread * (seed - 1) + 0.003 * index)
            for seed in range(seeds)
        ]
        verified(
            write_submission(root, name, records, method=name.upper(), pictures=True, paper="A. Author, A title, 2026")
        )
    single = make_record("my-gan", 0, 4.1, foreign=True)
    write_submission(root, "my-gan", [single], method="My GAN", code_url="https://example.org/my-gan")
    return root


def copied(record: dict) -> dict:
    return copy.deepcopy(record)


def set_value(*path: object, value: object) -> Callable[[dict], None]:
    """An edit for `change`: the value at a path of keys."""

    def edit(record: dict) -> None:
        for key in path[:-1]:
            record = record[key]  # type: ignore[index]
        record[path[-1]] = value  # type: ignore[index]

    return edit


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple:
    """Run the command line; returns exit code, stdout, stderr."""
    monkeypatch.setattr("sys.argv", ["ltgen-bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a refused command prints; asserts that it is one plain line and that the code is 2."""
    code, out, err = command(monkeypatch, capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert printable(err[:-1]) == err[:-1]  # nothing in it can move the cursor or turn the writing direction
    assert len(err) < 1200
    return err


def table(markdown: str, number: int = 0) -> list[dict[str, str]]:
    """The rows of the n-th Markdown table, bold marks kept."""
    blocks = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in blocks[number].strip().splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]
