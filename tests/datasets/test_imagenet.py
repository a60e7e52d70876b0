"""ImageNet-LT from small trees in the official layout, the real validation list, and every refusal."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from conftest import REAL_IMAGES
from PIL import Image

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import ConfigError, DataError, MissingFileError
from ltgen_bench.core.protocol import PROTOCOLS
from ltgen_bench.datasets import load_dataset
from ltgen_bench.datasets.image_lists import parse
from ltgen_bench.datasets.sets.imagenet import _IMAGE, ImageNetLT
from ltgen_bench.datasets.source_manifest import load_source_manifest
from ltgen_bench.testing import assert_passed
from ltgen_bench.testing.datasets import check_made_dataset

WNIDS = ("n01440764", "n01443537", "n01484850")
COUNTS = (5, 3, 1)


def quiet(line):
    pass


def photo(seed, size=(90, 70)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def tree(root, counts=COUNTS, reference=2):
    """train/<wnid>/<wnid>_<number>.JPEG with both lists beside, in the official form, and three images too many."""
    lists = {"train": [], "val": []}
    for label, (wnid, count) in enumerate(zip(WNIDS, counts, strict=True)):
        (root / "train" / wnid).mkdir(parents=True)
        for number in range(count + reference + 1):
            name = f"train/{wnid}/{wnid}_{number * 7}.JPEG"
            photo(100 * label + number).save(root / name, format="JPEG")
            if number < count:
                lists["train"].append(f"{name} {label}\n")
            elif number < count + reference:
                lists["val"].append(f"{name} {label}\n")
    for split, lines in lists.items():
        (root / f"ImageNet_LT_{split}.txt").write_text("".join(lines))
    return root


def small(data_root, counts=COUNTS, md5="", **changes):
    """The data set with a manifest of three classes; everything else is the real code."""
    manifest = load_source_manifest("imagenet-lt")
    files = tuple(dataclasses.replace(file, lines=0, md5=md5) for file in manifest.files)
    values = {"class_names": manifest.class_names[:3], "class_counts": counts, "reference_per_class": 2, "files": files}
    return ImageNetLT(dataclasses.replace(manifest, **values | changes), data_root)


def refused(message, act, kind=DataError):
    with pytest.raises(kind, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)


def test_what_is_known_without_a_file(tmp_path):
    data = load_dataset(DatasetConfig(name="imagenet-lt"), tmp_path)
    assert (data.name, data.total, data.image_shape) == ("imagenet-lt", 115_846, (3, 64, 64))
    assert (max(data.class_counts), min(data.class_counts), data.class_count) == (1280, 5, 1000)
    groups = data.groups.as_dict()
    assert [len(groups[key]) for key in ("many", "medium", "few")] == [385, 479, 136]
    for key, belongs in {
        "many": lambda n: n > 100,
        "medium": lambda n: 20 <= n <= 100,
        "few": lambda n: n < 20,
    }.items():
        assert all(belongs(data.class_counts[i]) for i in groups[key])
    assert (data.reference.name, data.reference.total) == ("imagenet-lt-val", 20_000)
    assert data.default_protocol in PROTOCOLS
    assert data.class_names[0] == "n01440764 tench"
    assert len(set(data.class_names)) == 1000
    assert data.fingerprint() is None
    (missing,) = data.missing_files()
    assert "run 'ltgen-bench data prepare imagenet-lt --path FOLDER --data-root" in str(missing)
    refused("data set imagenet-lt needs .*not prepared", data.fetch, MissingFileError)
    refused("data set imagenet-lt needs .*not prepared", data.train, MissingFileError)
    refused(
        "has no option 'path'; it takes no options; the folder of the download is given to",
        lambda: load_dataset(DatasetConfig(name="imagenet-lt", path=tmp_path), tmp_path),
        ConfigError,
    )


def test_prepared_from_the_official_layout(tmp_path):
    source = tree(tmp_path / "imagenet")
    data = small(tmp_path / "root")
    said = []
    data.prepare(source, said.append)
    assert data.missing_files() == []
    train = data.train()
    assert tuple(train.counts(3)) == COUNTS
    assert isinstance(train.images.base, np.memmap)  # not read into memory
    names = [line.split()[0] for line in (source / "ImageNet_LT_train.txt").read_text().splitlines()]
    for image, name in zip(train.images, names, strict=True):
        square = Image.open(source / name).crop((10, 0, 80, 70)).resize((64, 64), Image.Resampling.BICUBIC)
        assert np.array_equal(image, np.asarray(square).transpose(2, 0, 1))
    reference = data.reference_set()
    assert reference.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.held_out().fingerprint() == reference.fingerprint()  # none of them is trained on
    assert data.train_indices().tolist() == list(range(9))
    assert (data.folder / "files.txt").read_text().splitlines()[:9] == names
    assert any("ImageNet_LT_train.txt has md5" in line for line in said)  # no official one is known: it is said
    md5 = hashlib.md5((source / "ImageNet_LT_val.txt").read_bytes()).hexdigest()
    assert any(md5 in line for line in said)
    # the source may go away, and the data set is still there
    again = small(tmp_path / "root")
    assert again.fingerprint() == data.fingerprint()
    assert_passed(check_made_dataset("imagenet-lt", lambda: small(tmp_path / "root")))


def test_fetch_prepares_from_the_data_root(tmp_path):
    tree(tmp_path / "root" / "imagenet" / "ILSVRC" / "Data" / "CLS-LOC")
    inner = tmp_path / "root" / "imagenet" / "ILSVRC" / "Data" / "CLS-LOC"
    for name in ("ImageNet_LT_train.txt", "ImageNet_LT_val.txt"):
        (inner / name).rename(tmp_path / "root" / "imagenet" / name)
    data = small(tmp_path / "root")
    assert data.missing_files()  # existence of a download is not enough to start training
    data.fetch()
    assert data.train().images.shape == (9, 3, 64, 64)
    data.fetch()
    data.prepare(None, quiet)


def test_lists_that_are_not_official(tmp_path):
    source = tree(tmp_path / "imagenet")
    listed = source / "ImageNet_LT_train.txt"
    good = listed.read_text()

    def plan():
        return small(tmp_path / "root").prepare(source, quiet)

    for text, message in (
        (good.replace("train/n01440764/n01440764_7.JPEG 0", "../../etc/passwd 0"), r"line 2: '../../etc/passwd 0' is"),
        (good.replace("n01440764/n01440764_7.", "n01440764/../n01440764_7."), "line 2: .* is not '<image> <label>'"),
        (good.replace("train/n01440764/n01440764_7.", "/train/n01440764/n01440764_7."), "line 2: "),
        (good.replace("n01440764_7.JPEG", "n01443537_7.JPEG"), "line 2: "),
        (good.replace("_7.JPEG 0", "_7.JPEG 3"), "line 2: .*a label below 3"),
        (good.replace("_7.JPEG 0", "_7.JPEG -1"), "line 2: "),
        (good.replace("_7.JPEG 0", "_7.JPEG"), "line 2: "),
        (good.replace("_7.JPEG 0", "_7.JPEG 1"), "line 2: n01440764 has label 1, which is n01443537 goldfish"),
        (good.replace("_7.JPEG 0", "_0.JPEG 0"), "n01440764_0.JPEG stands twice"),
        (good + "\n", "line 10: '' is not"),
        ("".join(good.splitlines(keepends=True)[1:]), "4 training images of n01440764 tench, not 5"),
        (good + (source / "ImageNet_LT_val.txt").read_text(), "stands twice in ImageNet_LT_train.txt and"),
        ("", "has 0 training images of n01440764 tench, not 5"),
    ):
        listed.write_text(text)
        refused(message, plan)
    listed.write_bytes(b"\xff\xfe" * 40)
    refused("is not the official ImageNet_LT_train.txt: it is not plain text", plan)
    listed.unlink()
    refused("needs .*ImageNet_LT_train.txt .missing.: get it from https://", plan, MissingFileError)
    assert not (tmp_path / "root").exists()  # nothing is written before the lists are known to be right


def test_an_official_list_is_known_by_its_md5(tmp_path):
    source = tree(tmp_path / "imagenet")
    refused(
        "ImageNet_LT_train.txt is not the official file .md5 .*, not 0123.; get it from https://",
        lambda: small(tmp_path / "root", md5="0123").prepare(source, quiet),
    )
    real = ImageNetLT(load_source_manifest("imagenet-lt"), tmp_path / "root")
    refused("ImageNet_LT_train.txt, line 1|has 9 lines, not 115,846", lambda: real.prepare(source, quiet))


def test_folders_that_lack_something(tmp_path):
    source = tree(tmp_path / "imagenet")
    data = small(tmp_path / "root")
    nowhere = tmp_path / "nowhere"
    refused("there is no folder .*nowhere; it has to hold", lambda: data.prepare(nowhere, quiet), MissingFileError)
    (source / "train" / WNIDS[1] / f"{WNIDS[1]}_7.JPEG").unlink()
    refused(r"n01443537_7.JPEG is missing \(1 of 15 are\)", lambda: data.prepare(source, quiet), MissingFileError)
    (source / "train").rename(source / "other")
    refused("needs .*train .missing.: get it from https://image-net.org", lambda: data.prepare(source, quiet),
            MissingFileError)  # fmt: skip


@pytest.mark.shared
def test_the_real_validation_list_and_counts():
    manifest = load_source_manifest("imagenet-lt")
    path = REAL_IMAGES / "ImageNet_LT_val.txt"
    assert hashlib.md5(path.read_bytes()).hexdigest() == manifest.file("ImageNet_LT_val.txt").md5
    entries = parse(path, path.read_text(), _IMAGE, 1000, 20_000)
    assert np.bincount([label for _, label in entries]).tolist() == [20] * 1000
    assert all(manifest.class_names[label].split()[0] == match.group(1) for match, label in entries)
    assert len({match.group() for match, _ in entries}) == 20_000
    counts = json.loads((REAL_IMAGES / "ImageNet_LT_train_counts.json").read_text())
    assert manifest.class_counts == tuple(counts)
