"""The embedded digits, image sets, names, options and the registry of data sets."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import ConfigError, DataError, UnknownNameError
from ltgen_bench.datasets import DATASETS, ImageSet, dataset_names, describe, load_dataset
from ltgen_bench.datasets.base import take
from ltgen_bench.datasets.manifest import load_manifest
from ltgen_bench.datasets.sets.digits import _rows as source_rows

NOWHERE = Path("/nonexistent")


def digits(**options):
    return load_dataset(DatasetConfig(**options), NOWHERE)


def rows(images):
    return {image.tobytes() for image in images}


def test_digits_lt_facts():
    data = digits()
    assert data.name == "digits-lt"
    assert data.class_counts == (120, 86, 61, 44, 31, 22, 16, 11, 8, 6)
    assert data.total == 405
    assert data.image_shape == (1, 8, 8)
    assert data.class_names == tuple("0123456789")
    assert (data.horizontal_flip, data.default_protocol) == (False, "digits-1k.v2")
    assert data.missing_files() == []
    train = data.train()
    assert tuple(train.counts(10)) == data.class_counts
    assert train.images.shape == (405, 1, 8, 8)


def test_digits_pixels_are_the_source_scaled():
    source = load_digits()
    reference = digits().reference_set()
    assert len(reference) == 1797
    assert np.array_equal(reference.labels, source.target)
    # exact in integers: round(v * 255 / 16), and the only tie (v = 8) is 127.5, which rounds to the even 128
    expected = (source.images.astype(int) * 255 * 2 + 16) // 32
    assert np.array_equal(reference.images[:, 0], expected)


def test_digits_training_images_follow_the_rule():
    source = load_digits()
    generator = np.random.RandomState(0)
    expected = []
    for label, count in enumerate(digits().class_counts):
        places = np.where(source.target == label)[0]
        generator.shuffle(places)
        expected.extend(places[:count])
    data = digits()
    assert data.train_indices().tolist() == expected
    assert np.array_equal(data.train().labels, source.target[expected])


@pytest.mark.parametrize("options", [{}, {"imbalance": 1.0}, {"name": "digits"}, {"imbalance": 0.01}])
def test_held_out_images_are_in_no_training_set(options):
    held = digits().held_out()
    assert held.counts(10).min() >= 50
    data = digits(**{"name": "digits-lt", **options})
    assert not rows(held.images) & rows(data.train().images)
    assert data.held_out().fingerprint() == held.fingerprint()


def test_digits_names_and_subsets():
    assert digits(name="digits").name == "digits"
    assert digits(name="digits").class_counts == (120,) * 10
    assert digits(name="digits", per_class=50).name == "digits-50"
    assert digits(name="digits-lt", imbalance=0.1).name == "digits-lt-0.1"
    assert digits(name="digits-lt", imbalance=1.0).name == "digits-lt-1"
    assert set(digits(name="digits", per_class=50).train_indices()) < set(digits(name="digits").train_indices())


def test_fingerprints_are_stable():
    data = digits()
    assert data.fingerprint() == digits().fingerprint() == data.fingerprint()
    assert data.fingerprint() == "3353349db4b0501e80c4e7ddd08ae5abcea98536ae92904c551f40f74870ee16"
    assert data.reference_fingerprint() == digits(name="digits").reference_fingerprint()
    assert data.fingerprint() != digits(imbalance=0.04).fingerprint()


def test_fingerprints_see_one_pixel_one_label_and_the_order():
    train = digits().train()
    pixel, label = train.images.copy(), train.labels.copy()
    pixel[7, 0, 3, 3] ^= 1
    label[7] += 1
    prints = {
        train.fingerprint(),
        ImageSet(pixel, train.labels).fingerprint(),
        ImageSet(train.images, label).fingerprint(),
        ImageSet(train.images[::-1], train.labels[::-1]).fingerprint(),
    }
    assert len(prints) == 4
    assert ImageSet(train.images.copy(order="F"), train.labels).fingerprint() == train.fingerprint()


def test_summary_is_json():
    import json

    summary = json.loads(json.dumps(digits().summary()))
    assert {"name", "class_names", "class_counts", "total", "groups", "reference", "fingerprint"} <= set(summary)
    assert summary["reference"]["total"] == 1797
    assert summary["groups"] == {"many": [0, 1, 2, 3], "medium": [4, 5, 6], "few": [7, 8, 9]}


GOOD = np.zeros((2, 3, 4, 4), np.uint8)
LABELS = np.zeros(2, np.int64)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (GOOD.astype(np.float32), LABELS, "images must be a uint8 array, got float32"),
        ([[1]], LABELS, "images must be a uint8 array, got list"),
        (GOOD, LABELS.astype(np.int32), "labels must be an int64 array, got int32"),
        (GOOD[0], LABELS, r"C = 1 or 3 and H = W, got the shape \(3, 4, 4\)"),
        (GOOD[:, :2], LABELS, r"got the shape \(2, 2, 4, 4\)"),
        (GOOD[..., :3], LABELS, r"got the shape \(2, 3, 4, 3\)"),
        (GOOD[:0], LABELS[:0], "at least one"),
        (GOOD, LABELS[:1], "one for each of the 2 images"),
        (GOOD, LABELS - 1, "must not be negative, got -1 at position 0"),
    ],
)
def test_image_sets_are_checked(images, labels, message):
    with pytest.raises(DataError, match=message):
        ImageSet(images, labels)


def test_labels_beyond_the_classes():
    with pytest.raises(DataError, match="label 1 at position 1 is not below 1"):
        ImageSet(GOOD, np.array([0, 1])).counts(1)


def test_take_keeps_a_view_of_neighbours():
    images, labels = np.arange(5 * 4, dtype=np.uint8).reshape(5, 1, 2, 2), np.arange(5)
    run = take(images, labels, np.array([1, 2, 3]))
    assert run.images.base is not None
    assert np.array_equal(run.images, images[1:4])
    mixed = take(images, labels, np.array([3, 1]))
    assert mixed.labels.tolist() == [3, 1]
    assert not np.shares_memory(mixed.images, images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"path": "x"},
            "data set 'digits-lt' has no option 'path'; it takes imbalance, cut_seed, class_order; .* 'digits'",
        ),
        ({"per_class": 5}, "data set 'digits-lt' has no option 'per_class'"),
        ({"split_seed": 1}, "no option 'split_seed'"),
        ({"imbalance": 0.0}, r"imbalance is smallest / largest class, in \(0, 1\]; got 0.0"),
        ({"imbalance": 1.5}, "got 1.5"),
        ({"imbalance": 0.001}, "leaves no image in the smallest class"),
        ({"name": "digits", "imbalance": 0.1}, "data set 'digits' has no option 'imbalance'.*'digits-lt'"),
        ({"name": "digits", "per_class": 121}, "can give 1 to 120 images a class; got per_class 121"),
        ({"name": "digits", "per_class": 0}, "got per_class 0"),
        ({"name": "cifar10", "per_class": 5001}, "can give 1 to 5000 images a class"),
        ({"name": "cifar10", "imbalance": 0.01}, "long-tailed sets are made from 'cifar10lt'"),
        ({"name": "cifar100lt", "per_class": 5}, "balanced subsets are made from 'cifar100'"),
        ({"name": "cifar10lt", "image_size": 64}, "no option 'image_size'"),
        ({"name": "folder"}, "data set 'folder' needs a path"),
        ({"name": "folder", "path": "x", "imbalance": 0.1, "per_class": 5}, "imbalance or per_class, not both"),
        ({"name": "folder", "path": "x", "image_size": 0}, "image_size must be 1 to 1024 pixels, got 0"),
        ({"name": "folder", "path": "x", "reference_fraction": 1.0}, "between 0 and 1, got 1.0"),
        ({"name": "folder", "path": "x", "reference_path": "y", "reference_fraction": 0.1}, "has no meaning"),
        ({"name": "folder", "path": "x", "split_seed": -1}, "split_seed must lie in 0 to"),
    ],
)
def test_options_that_a_set_does_not_take(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        digits(**options)
    assert "\n" not in str(caught.value)


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="unknown data set 'cifar10tl'; did you mean 'cifar10lt'"):
        digits(name="cifar10tl")
    with pytest.raises(UnknownNameError, match=r"--dataset cifar10lt --set dataset.imbalance=0.001\?"):
        digits(name="cifar10lt-0.001")
    with pytest.raises(UnknownNameError, match=r"--dataset cifar10 --set dataset.per_class=500\?"):
        digits(name="cifar10-500")
    with pytest.raises(UnknownNameError, match="did you mean 'folder'"):
        describe("folders")


def test_descriptions_are_one_line_and_true():
    assert set(dataset_names()) >= {"digits-lt", "digits", "cifar10", "cifar10lt", "cifar100", "cifar100lt", "folder"}
    for name in dataset_names():
        assert "\n" not in describe(name)
        assert len(describe(name)) < 120
    for name in ("cifar10lt", "cifar100lt"):
        data = digits(name=name)
        assert f"{data.total:,} images, {data.class_counts[0]:,} ... {data.class_counts[-1]} a class" in describe(name)


def test_the_readme_shows_the_counts_and_checksums():
    text = (Path(__file__).parents[2] / "data" / "README.md").read_text(encoding="utf-8")
    for name, imbalance in (("cifar10lt", None), ("cifar10lt", 0.001), ("digits-lt", None)):
        data = digits(name=name, imbalance=imbalance)
        assert f"| `{data.name}` | {' | '.join(map(str, data.class_counts))} | {data.total:,} |" in text
    counts = digits(name="cifar100lt").class_counts
    assert f"| images | {' | '.join(f'{sum(counts[i : i + 10]):,}' for i in range(0, 100, 10))} | 10,847 |" in text
    for name in ("cifar10", "cifar100"):
        files = load_manifest(name).files
        assert f"| `{files.archive}` | " in text
        assert f"`{files.archive_md5}` | `{files.folder}/` |" in text
        assert f"`{files.binary_archive_md5}` | `{files.binary_folder}/` |" in text


def test_a_data_set_can_be_registered():
    DATASETS._entries.pop("mine", None)

    made = load_dataset(DatasetConfig(name="digits"), NOWHERE)

    @DATASETS.register("mine")
    def mine(options, data_root):
        return made if (options.name, data_root) == ("mine", NOWHERE) and options.per_class is None else "a word"

    try:
        assert load_dataset(DatasetConfig(name="mine"), NOWHERE) is made
        assert describe("mine") == "from a plug-in, which says nothing of it"
        with pytest.raises(ConfigError, match="'mine': its function has to return a Dataset, and returned str"):
            load_dataset(DatasetConfig(name="mine", per_class=5), NOWHERE)
        with pytest.raises(ConfigError, match=r"DATASETS.register\('no'\) takes a function"):
            DATASETS.register("no")(lambda: made)
    finally:
        del DATASETS._entries["mine"]


def test_images_are_those_of_scikit_learn_wherever_it_keeps_them(monkeypatch):
    expected = np.column_stack(load_digits(return_X_y=True))
    np.testing.assert_array_equal(source_rows(), expected)
    monkeypatch.setattr("ltgen_bench.datasets.sets.digits.find_spec", lambda name: None)
    np.testing.assert_array_equal(source_rows(), expected)


def test_importing_the_package_and_loading_digits_stay_light():
    code = (
        "import sys; from ltgen_bench.datasets import load_dataset, dataset_names; dataset_names();"
        "from ltgen_bench.core.config import DatasetConfig; load_dataset(DatasetConfig(), 'nowhere').train();"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'PIL', 'scipy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
