"""Verification: what the manifest states, what is remembered from the first use, and what is found when it changed."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from test_cifar import small_pixels, write_python
from test_folder import fill

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import DataError, MissingFileError
from ltgen_bench.core.storage import sha256_arrays
from ltgen_bench.datasets import IMAGE_FOLDERS, dataset_names, load_dataset, verify_dataset
from ltgen_bench.datasets.longtail import select_longtail_indices
from ltgen_bench.datasets.manifest import load_manifest
from ltgen_bench.datasets.sets.cifar import Cifar
from ltgen_bench.datasets.source_manifest import load_source_manifest, published_hashes
from ltgen_bench.datasets.verify import hashes_of, remembered_path


def quiet(line):
    pass


def against(checks):
    return {check.what: check.against for check in checks}


@pytest.mark.parametrize("name", ["digits-lt", "digits"])
def test_the_embedded_sets_are_those_of_the_manifest(tmp_path, name):
    data = load_dataset(DatasetConfig(name=name), tmp_path)
    checks = against(verify_dataset(data, tmp_path, quiet))
    assert checks == {"class counts": "as stated", "index list": "manifest", "training set": "manifest",
                      "reference set": "manifest"}  # fmt: skip
    assert not (tmp_path / ".cache").exists()
    stated = published_hashes("digits", name)
    assert stated["indices"] == sha256_arrays(indices=data.train_indices())
    assert stated["fingerprint"] == data.fingerprint()
    assert stated["reference_fingerprint"] == data.reference_set().fingerprint()


def test_what_no_manifest_states_is_remembered(tmp_path):
    data = load_dataset(DatasetConfig(name="digits-lt", imbalance=0.1), tmp_path)
    said = []
    assert against(verify_dataset(data, tmp_path, said.append))["index list"] == "new"
    path = remembered_path(data, tmp_path)
    assert said[-1] == (
        f"not in the manifest, so computed here and kept in {path}: index list, training set, reference set"
    )
    said.clear()
    assert against(verify_dataset(data, tmp_path, said.append))["index list"] == "first use here"
    assert said == ["reading the images"]
    values = json.loads(path.read_text())
    assert values == hashes_of(data)
    for key, word in (
        ("indices", "index list"),
        ("fingerprint", "training set"),
        ("reference_fingerprint", "reference"),
    ):
        path.write_text(json.dumps({**values, key: "0" * 64}))
        with pytest.raises(
            DataError, match=rf"the {word}.* has sha256 {values[key]}, not 0000.* as in .*; if the change"
        ):
            verify_dataset(data, tmp_path, quiet)
    path.write_text('{"ind')  # half a file counts as none
    assert against(verify_dataset(data, tmp_path, quiet))["index list"] == "new"


def test_other_pixels_than_the_manifest_states(tmp_path, monkeypatch):
    from ltgen_bench.datasets.sets import digits

    real = digits.np.rint
    monkeypatch.setattr(digits.np, "rint", lambda values: np.maximum(real(values) - 1, 0))
    data = load_dataset(DatasetConfig(name="digits-lt"), tmp_path)
    with pytest.raises(DataError, match=r"data set digits-lt: the training set has sha256 .* as in the manifest$"):
        verify_dataset(data, tmp_path, quiet)


def test_folders_of_the_same_name_are_two_data_sets(tmp_path):
    for i, place in enumerate(("a", "b")):
        (tmp_path / place).mkdir()
        root = fill(tmp_path / place / "pets", {"cat": 4, "dog": 5}, start=50 * i)
        data = load_dataset(DatasetConfig(name="folder", path=root), tmp_path)
        assert against(verify_dataset(data, tmp_path, quiet))["training set"] == "new"
    (root / "dog" / "000.png").unlink()
    data = load_dataset(DatasetConfig(name="folder", path=root), tmp_path)
    with pytest.raises(DataError, match="data set folder-pets: the index list has sha256"):
        verify_dataset(data, tmp_path, quiet)


def test_the_index_list_of_a_cifar_cut_is_computed_on_first_use(tmp_path):
    """Official labels are needed for it, so the manifest cannot state what was not computed."""
    manifest = load_manifest("cifar10")
    manifest = dataclasses.replace(manifest, train_counts=(20,) * 10, test_counts=(4,) * 10)
    train, test = small_pixels(manifest, 20, 1), small_pixels(manifest, 4, 2)
    data = Cifar(write_python(tmp_path, manifest, train, test), tmp_path, imbalance=0.2)
    said = []
    checks = against(verify_dataset(data, tmp_path, said.append))
    assert checks["official files"] == "file"
    assert checks["index list"] == "new"
    assert any("computed here and kept in" in line and "index list" in line for line in said)
    kept = json.loads(remembered_path(data, tmp_path).read_text())
    assert kept["indices"] == sha256_arrays(indices=select_longtail_indices(train[1], data.class_counts))
    assert against(verify_dataset(data, tmp_path, quiet))["index list"] == "first use here"
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(MissingFileError, match="data_batch_2 is not the official file"):
        verify_dataset(data, tmp_path, quiet)


def test_missing_data_sets_are_no_success(tmp_path):
    for name in ("cifar10lt", "celeba5", "celeba5-m2m", "imagenet-lt", "tinyimagenet-lt"):
        with pytest.raises(MissingFileError, match=f"data set {name.removesuffix('lt').removesuffix('-')}") as caught:
            verify_dataset(load_dataset(DatasetConfig(name=name), tmp_path), tmp_path, quiet)
        assert "\n" not in str(caught.value)


def test_the_rules_are_shown():
    for name in dataset_names():
        if name not in IMAGE_FOLDERS:
            summary = load_dataset(DatasetConfig(name=name), Path("nowhere")).summary()
            assert summary["index_rule"]
            assert summary["groups_rule"]
            json.dumps(summary)


def test_manifests_are_complete_and_small():
    from importlib import resources

    folder = resources.files("ltgen_bench.datasets").joinpath("manifests")
    for name in ("celeba5", "celeba5-m2m", "imagenet-lt", "tinyimagenet-lt"):
        assert name in dataset_names()
        text = folder.joinpath(f"{name}.toml").read_text(encoding="utf-8")
        assert len(text) < 40_000
        manifest = load_source_manifest(name)
        assert manifest.name == name == load_dataset(DatasetConfig(name=name), Path("nowhere")).name
        assert manifest.licence
        assert manifest.citation
        assert manifest.index_rule
        assert manifest.pixel_rule
        assert manifest.groups in ("counts", "thirds")
        assert len(manifest.class_counts) in (0, len(manifest.class_names))
        assert all(not file.md5 or len(file.md5) == 32 for file in manifest.files)
        if manifest.class_counts and manifest.groups == "thirds":
            assert list(manifest.class_counts) == sorted(manifest.class_counts, reverse=True)
