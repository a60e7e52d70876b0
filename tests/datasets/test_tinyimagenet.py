"""TinyImageNet-LT in both layouts, and the rule behind its counts."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from conftest import REAL_IMAGES
from PIL import Image

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import DataError, MissingFileError
from ltgen_bench.datasets import load_dataset
from ltgen_bench.datasets.longtail import exponential_counts
from ltgen_bench.datasets.sets.tinyimagenet import TinyImageNetLT
from ltgen_bench.datasets.source_manifest import load_source_manifest
from ltgen_bench.testing import assert_passed
from ltgen_bench.testing.datasets import check_made_dataset

WNIDS = ("n01443537", "n01629819", "n01641577")
COUNTS = (6, 3, 1)


def quiet(line):
    pass


def picture(seed, mode="RGB"):
    shape = (64, 64, 3) if mode == "RGB" else (64, 64)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def small(data_root):
    manifest = load_source_manifest("tinyimagenet-lt")
    changes = {"class_names": manifest.class_names[:3], "class_counts": COUNTS, "reference_per_class": 2}
    return TinyImageNetLT(dataclasses.replace(manifest, **changes), data_root)


@pytest.fixture
def full_count_of_six(monkeypatch):
    monkeypatch.setattr("ltgen_bench.datasets.sets.tinyimagenet.FULL_COUNT", 6)


def official(root):
    """As tiny-imagenet-200.zip unpacks: images in a folder of their own, the validation set in one with annotations."""
    for label, wnid in enumerate(WNIDS):
        images = root / "train" / wnid / "images"
        images.mkdir(parents=True)
        (images.parent / f"{wnid}_boxes.txt").write_text("")
        for i in range(6):
            picture(100 * label + i, "RGB" if i else "L").save(images / f"{wnid}_{i}.JPEG", format="JPEG")
    images = root / "val" / "images"
    images.mkdir(parents=True)
    lines = []
    for i in range(6):
        picture(900 + i).save(images / f"val_{i}.JPEG", format="JPEG")
        lines.append(f"val_{i}.JPEG\t{WNIDS[i % 3]}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


def folders(root, counts=COUNTS):
    for split, numbers in (("train", counts), ("val", (2, 2, 2))):
        for label, (wnid, count) in enumerate(zip(WNIDS, numbers, strict=True)):
            (root / split / wnid).mkdir(parents=True)
            for i in range(count):
                picture(1000 * len(split) + 100 * label + i).save(root / split / wnid / f"{i:06d}.jpg")
    return root


def refused(message, act, kind=DataError):
    with pytest.raises(kind, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)


def test_the_counts_are_exponential():
    manifest = load_source_manifest("tinyimagenet-lt")
    assert manifest.class_counts == exponential_counts(500, 0.01, 200)
    data = load_dataset(DatasetConfig(name="tinyimagenet-lt"), Path("nowhere"))
    assert (data.total, data.class_counts[0], data.class_counts[-1]) == (21_549, 500, 5)
    assert (data.reference.name, data.reference.total) == ("tinyimagenet-val", 10_000)
    assert data.class_names[0] == "n01443537 goldfish"


@pytest.mark.shared
def test_the_counts_are_those_of_the_shared_cut():
    with np.load(REAL_IMAGES / "tinyimagenet_lt_if100_train.npz", allow_pickle=False) as pack:
        counts, wnids = np.bincount(pack["label"]), pack["classes"].tolist()
    manifest = load_source_manifest("tinyimagenet-lt")
    assert manifest.class_counts == tuple(counts)
    assert [name.split()[0] for name in manifest.class_names] == wnids


def test_cut_from_the_whole_set_by_the_shared_rule(tmp_path, full_count_of_six):
    source = official(tmp_path / "tiny-imagenet-200")
    data = small(tmp_path / "root")
    data.prepare(source, quiet)
    random, expected = np.random.RandomState(0), []
    for label, count in enumerate(COUNTS):
        positions = np.arange(6 * label, 6 * label + 6)
        random.shuffle(positions)
        expected += positions[:count].tolist()
    assert data.train_indices().tolist() == expected
    train = data.train()
    for image, index in zip(train.images, expected, strict=True):
        wnid = WNIDS[index // 6]
        with Image.open(source / "train" / wnid / "images" / f"{wnid}_{index % 6}.JPEG") as opened:
            assert np.array_equal(image, np.asarray(opened.convert("RGB")).transpose(2, 0, 1))
    assert data.reference_set().labels.tolist() == [0, 0, 1, 1, 2, 2]
    first = data.reference_fingerprint()
    assert data.held_out().fingerprint() == data.reference_fingerprint()
    assert data.facts()["selection"].startswith("shared index rule")
    # the validation images moved into class folders, as many do, are the same set
    for i in range(6):
        folder = source / "val" / WNIDS[i % 3]
        folder.mkdir(exist_ok=True)
        (source / "val" / "images" / f"val_{i}.JPEG").rename(folder / f"val_{i}.JPEG")
    (source / "val" / "val_annotations.txt").unlink()
    (source / "val" / "images").rmdir()
    moved = small(tmp_path / "other")
    moved.prepare(source, quiet)
    assert moved.reference_fingerprint() == first
    assert moved.fingerprint() == data.fingerprint()
    assert_passed(check_made_dataset("tinyimagenet-lt", lambda: small(tmp_path / "root")))


def test_class_folders_that_are_cut_already(tmp_path):
    source = folders(tmp_path / "tiny")
    data = small(tmp_path / "root")
    said = []
    data.prepare(source, said.append)
    assert any("is cut already: its images are taken as they are" in line for line in said)
    assert tuple(data.train().counts(3)) == COUNTS
    assert data.train_indices().tolist() == list(range(10))
    assert data.reference_set().labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.facts()["selection"] == "as it was cut elsewhere"


def test_sources_that_are_something_else(tmp_path, full_count_of_six):
    data = small(tmp_path / "root")
    refused("has 5 images of n01443537 goldfish; the whole TinyImageNet-200 has 6 of each",
            lambda: data.plan(folders(tmp_path / "a", (5, 3, 1)), quiet))  # fmt: skip
    (tmp_path / "b").mkdir()
    refused(
        "needs .*b/train .missing.: TinyImageNet-200 as it", lambda: data.plan(tmp_path / "b", quiet), MissingFileError
    )
    source = folders(tmp_path / "c")
    (source / "val" / WNIDS[2]).rename(source / "val" / "n99999999")
    refused("val lacks the class 'n01641577' that TinyImageNet-200 has", lambda: data.plan(source, quiet))
    source = official(tmp_path / "d")
    (source / "train" / WNIDS[1] / "images").rename(source / "train" / WNIDS[1] / "pictures")
    refused("has 0 images of n01629819", lambda: data.plan(source, quiet))
    source = official(tmp_path / "e")
    (source / "train" / WNIDS[1]).rename(source / "train" / "n99999999")
    refused("train lacks the class 'n01629819'", lambda: data.plan(source, quiet))


@pytest.mark.parametrize("line", ["../../secret.JPEG\tn01443537\n", "val_1.JPEG\tn9\n", "val_1.JPEG n01443537\n", "\n"])
def test_annotations_that_do_not_fit(tmp_path, full_count_of_six, line):
    source = official(tmp_path / "tiny")
    (tmp_path / "secret.JPEG").write_bytes(b"")
    path = source / "val" / "val_annotations.txt"
    path.write_text(line + path.read_text())
    refused("val_annotations.txt, line 1: .* names no image of val/images or no class",
            lambda: small(tmp_path / "root").plan(source, quiet))  # fmt: skip


def test_a_link_that_leaves_the_folders_is_refused(tmp_path):
    source = folders(tmp_path / "tiny")
    picture(1).save(tmp_path / "outside.jpg")
    link = source / "train" / WNIDS[2] / "000000.jpg"
    link.unlink()
    link.symlink_to(tmp_path / "outside.jpg")
    refused("is a link that leaves the image folder", lambda: small(tmp_path / "root").plan(source, quiet))
