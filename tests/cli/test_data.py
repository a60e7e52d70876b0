"""`data show`, `data prepare` and `data verify` as typed."""

import dataclasses
import json
import re
import sys

import pytest
from test_celeba import celeba
from test_tinyimagenet import COUNTS, folders

from ltgen_bench.cli import main
from ltgen_bench.datasets import source_manifest


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run a command line; gives exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ltgen-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return call


@pytest.fixture
def small(monkeypatch):
    """TinyImageNet of three classes, CelebA of twenty faces: the manifests without the real files' sizes and sums."""
    real = source_manifest.load_source_manifest

    def load(name):
        manifest = real(name)
        files = tuple(dataclasses.replace(file, md5="", lines=0) for file in manifest.files)
        if name == "tinyimagenet-lt":
            return dataclasses.replace(
                manifest, class_names=manifest.class_names[:3], class_counts=COUNTS, reference_per_class=2
            )
        return dataclasses.replace(manifest, files=files)

    for module in ("tinyimagenet", "celeba"):
        monkeypatch.setattr(f"ltgen_bench.datasets.sets.{module}.load_source_manifest", load)


def test_prepare_verify_and_show(cli, small, tmp_path):
    root, source = tmp_path / "root", folders(tmp_path / "tiny")
    code, out, err = cli("data", "prepare", "tinyimagenet-lt", "--path", source, "--data-root", root)
    assert code == 0
    assert "tinyimagenet-lt is ready: 10 training images" in out
    assert "preparing tinyimagenet-lt: 16 images" in err
    assert "not in the manifest, so computed here and kept in" in err
    code, out, err = cli("data", "prepare", "tinyimagenet-lt", "--path", source, "--data-root", root, "--json", "-q")
    assert (code, err) == (0, "")
    checks = {check["what"]: check for check in json.loads(out)["checks"]}
    assert checks["training set"]["against"] == "first use here"
    code, out, err = cli("data", "verify", "tinyimagenet-lt", "--data-root", root)
    assert code == 0
    assert "tinyimagenet-lt is as it should be" in out
    _, out, _ = cli("data", "show", "tinyimagenet-lt", "--data-root", root, "--json")
    shown = json.loads(out)
    assert shown["fingerprint"] == checks["training set"]["value"]
    assert (shown["missing"], shown["unknown"], shown["facts"]) == ([], None, {"selection": "as it was cut elsewhere"})


def test_verify_finds_what_changed(cli, small, tmp_path):
    root = tmp_path / "root"
    cli("data", "prepare", "tinyimagenet-lt", "--path", folders(tmp_path / "tiny"), "--data-root", root)
    path = root / "prepared" / "tinyimagenet-lt" / "images.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    code, out, err = cli("data", "verify", "tinyimagenet-lt", "--data-root", root, "-q")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "images.npy has changed since it was prepared (sha256 " in err
    assert err.count("\n") == 1


def test_show_says_what_is_not_known(cli, small, tmp_path):
    code, out, _ = cli("data", "show", "celeba5", "--data-root", tmp_path / "root")
    assert code == 0
    assert "number of images unknown" in " ".join(out.split())
    assert "celeba5-balanced" in out
    assert "run 'ltgen-bench data prepare celeba5" in " ".join(out.split())
    code, out, err = cli(
        "data", "prepare", "celeba5", "--path", celeba(tmp_path / "c"), "--data-root", tmp_path / "root"
    )
    assert code == 0, err
    assert "17 images have exactly one hair colour" in err
    code, out, _ = cli("data", "show", "celeba5", "--data-root", tmp_path / "root")
    assert "17 images" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "prepare", "imagenet-lt"], "data set imagenet-lt needs .*data prepare imagenet-lt --path FOLDER"),
        (["data", "prepare", "imagenet-lt", "--path", "nowhere"], "there is no folder nowhere; it has to hold"),
        (["data", "prepare", "digits-lt", "--path", "x"], "data set digits-lt is made from no download of yours"),
        (["data", "prepare", "folder", "--path", "nowhere"], "image folder .*nowhere is not there"),
        (["data", "verify", "celeba5"], "data set celeba5 needs .*not prepared"),
        (["data", "verify", "celeba"], "unknown data set 'celeba'; did you mean 'celeba5'"),
        (["data", "show", "imagenet-lt", "--imbalance", "0.1"], "has no option 'imbalance'; it takes no options"),
        (["data", "verify", "imagenet-lt", "--path", "x"], "is given to 'ltgen-bench data prepare' only"),
        (["run", "--dataset", "celeba5", "--dry-run"], "its class counts follow from list_attr_celeba.txt"),
    ],
)
def test_mistakes_are_one_line(cli, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert re.search(message, err), err
