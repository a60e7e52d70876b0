"""CIFAR's loaders on small files in the official formats, with the checksum list given by the test."""

import hashlib
import http.server
import pickle
import re
import socket
import tarfile
import threading
import time
import urllib.error
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import DataError, MissingFileError, StorageError
from ltgen_bench.datasets import load_dataset
from ltgen_bench.datasets.manifest import load_manifest
from ltgen_bench.datasets.sets import cifar_files
from ltgen_bench.datasets.sets.cifar import Cifar
from ltgen_bench.testing import assert_passed
from ltgen_bench.testing.datasets import check_made_dataset

TRAIN, TEST = 20, 4  # images a class in the small files of CIFAR-10; CIFAR-100 has 5 and 1


class OldPickler(pickle._Pickler):
    """Spells arrays as the official files of 2009 do: old module name, a dtype with integers for booleans."""

    def reducer_override(self, value):
        if isinstance(value, np.dtype):
            return np.dtype, (value.str.lstrip("|"), 0, 1)
        return NotImplemented


def old_pickle(value, path):
    with path.open("wb") as file:
        OldPickler(file, protocol=2).dump(value)
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))


def test_the_small_files_spell_arrays_as_the_official_ones(tmp_path):
    old_pickle(np.zeros(3, np.uint8), tmp_path / "old")
    data = (tmp_path / "old").read_bytes()
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in data
    assert re.search(rb"cnumpy\ndtype\n.{0,12}u1.{0,2}K\x00K\x01\x87", data, re.DOTALL)


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def small_pixels(manifest, per_class, seed):
    """(images uint8 (N, 3, 32, 32), labels) in a shuffled order."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(manifest.class_names)), per_class))
    return random.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8), labels


@pytest.fixture(params=["cifar10", "cifar100"])
def small(request):
    """A manifest with small counts and the arrays that its files are to hold."""
    manifest = load_manifest(request.param)
    classes = len(manifest.class_names)
    train, test = (TRAIN, TEST) if classes == 10 else (5, 1)
    manifest = replace(manifest, train_counts=(train,) * classes, test_counts=(test,) * classes)
    return manifest, small_pixels(manifest, train, 0), small_pixels(manifest, test, 1)


def write_python(root, manifest, train, test):
    """The Python version under `root`; returns the manifest with its checksums."""
    files = manifest.files
    folder = root / files.folder
    folder.mkdir(parents=True)
    key = "labels" if manifest.name == "cifar10" else "fine_labels"
    sums = {}
    for part, (images, labels) in ((files.train, train), (files.test, test)):
        for (name, _), pixels, label in zip(
            part, np.array_split(images, len(part)), np.array_split(labels, len(part)), strict=True
        ):
            batch = {"data": pixels.reshape(len(pixels), -1), key: label.tolist(), "batch_label": name}
            if manifest.name == "cifar100":
                batch["coarse_labels"] = [0] * len(label)
            old_pickle(batch, folder / name)
            sums[name] = md5(folder / name)
    old_pickle({files.meta_key: list(manifest.class_names)}, folder / files.meta[0])
    return replace(
        manifest,
        files=replace(
            files,
            train=tuple((name, sums[name]) for name, _ in files.train),
            test=tuple((name, sums[name]) for name, _ in files.test),
            meta=(files.meta[0], md5(folder / files.meta[0])),
        ),
    )


def write_binary(root, manifest, train, test):
    """The binary version under `root`: label bytes, then 3072 bytes of red, green and blue rows."""
    files = manifest.files
    folder = root / files.binary_folder
    folder.mkdir(parents=True)
    for names, (images, labels) in ((files.binary_train, train), (files.binary_test, test)):
        for name, pixels, label in zip(
            names, np.array_split(images, len(names)), np.array_split(labels, len(names)), strict=True
        ):
            with (folder / name).open("wb") as out:
                for one, number in zip(pixels, label, strict=True):
                    out.write(bytes([7] * (files.label_bytes - 1) + [int(number)]) + one.tobytes())


def pack(root, folder, archive):
    with tarfile.open(root / archive, "w:gz") as tar:
        tar.add(root / folder, folder)
    for file in (root / folder).iterdir():
        file.unlink()
    (root / folder).rmdir()
    return md5(root / archive)


def same(image_set, arrays):
    assert image_set.images.dtype == np.uint8
    assert np.array_equal(image_set.images, arrays[0])
    assert np.array_equal(image_set.labels, arrays[1])


def test_python_version(tmp_path, small):
    manifest, train, test = small
    data = Cifar(write_python(tmp_path, manifest, train, test), tmp_path)
    assert data.missing_files() == []
    data.fetch()
    same(data.train(), train)
    same(data.held_out(), test)
    assert data.reference_set() is data.train()
    assert data.train_indices().tolist() == list(range(len(train[1])))


def test_binary_version(tmp_path, small):
    manifest, train, test = small
    write_binary(tmp_path, manifest, train, test)
    data = Cifar(manifest, tmp_path)
    assert data.missing_files() == []
    data.fetch()
    same(data.train(), train)
    same(data.held_out(), test)


def test_both_versions_give_one_fingerprint(tmp_path, small):
    manifest, train, test = small
    checked = write_python(tmp_path / "python", manifest, train, test)
    write_binary(tmp_path / "binary", manifest, train, test)
    python = Cifar(checked, tmp_path / "python", imbalance=0.3)
    binary = Cifar(manifest, tmp_path / "binary", imbalance=0.3)
    assert python.fingerprint() == binary.fingerprint()
    assert python.reference_fingerprint() == binary.reference_fingerprint()
    assert python.fingerprint() != python.reference_fingerprint()


def test_longtailed_and_balanced_cuts(tmp_path):
    manifest = load_manifest("cifar10")
    manifest = replace(manifest, train_counts=(TRAIN,) * 10, test_counts=(TEST,) * 10)
    train, test = small_pixels(manifest, TRAIN, 0), small_pixels(manifest, TEST, 1)
    write_binary(tmp_path, manifest, train, test)
    cut = Cifar(manifest, tmp_path, imbalance=0.1)
    assert cut.name == "cifar10lt-0.1"
    assert cut.class_counts == tuple(int(20 * 0.1 ** (i / 9)) for i in range(10))
    generator, expected = np.random.RandomState(0), []
    for label, count in enumerate(cut.class_counts):
        places = np.where(train[1] == label)[0]
        generator.shuffle(places)
        expected.extend(places[:count])
    same(cut.train(), (train[0][expected], train[1][expected]))
    few, more = (Cifar(manifest, tmp_path, per_class=n) for n in (3, 9))
    assert (few.name, few.total, more.total) == ("cifar10-3", 30, 90)
    assert set(few.train_indices()) < set(more.train_indices())
    assert few.reference_fingerprint() == cut.reference_fingerprint()
    assert_passed(check_made_dataset("cut", lambda: Cifar(manifest, tmp_path, imbalance=0.1)))


def test_a_changed_file_is_never_unpickled(tmp_path, small):
    manifest, train, test = small
    manifest = write_python(tmp_path, manifest, train, test)
    mark = tmp_path / "unpickled"

    class Foreign:
        def __reduce__(self):
            return Path.touch, (mark,)

    name = manifest.files.test[0][0]
    path = tmp_path / manifest.files.folder / name
    path.write_bytes(pickle.dumps(Foreign()))
    for act in (Cifar(manifest, tmp_path).train, Cifar(manifest, tmp_path).fetch):
        with pytest.raises(DataError, match=f"{name} is not the official file .*delete the folder") as caught:
            act()
        assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_a_truncated_python_file(tmp_path, small):
    manifest, train, test = small
    manifest = write_python(tmp_path, manifest, train, test)
    path = tmp_path / manifest.files.folder / manifest.files.train[-1][0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{path} is not the official file"):
        Cifar(manifest, tmp_path).train()


@pytest.mark.parametrize("change", [-1, 1])
def test_a_binary_file_of_another_size(tmp_path, small, change):
    manifest, train, test = small
    write_binary(tmp_path, manifest, train, test)
    path = tmp_path / manifest.files.binary_folder / manifest.files.binary_train[0]
    data = path.read_bytes()
    path.write_bytes(data[:-1] if change < 0 else data + b"x")
    with pytest.raises(DataError, match=rf"{path.name} has {len(data) + change} bytes, not {len(data)} \("):
        Cifar(manifest, tmp_path).train()
    with pytest.raises(DataError, match=f"{path.name} has"):
        Cifar(manifest, tmp_path).fetch()


def test_binary_labels_are_checked(tmp_path, small):
    manifest, train, test = small
    labels = train[1].copy()
    labels[0] = (labels[0] + 1) % len(manifest.class_names)
    write_binary(tmp_path / "a", manifest, (train[0], labels), test)
    with pytest.raises(DataError, match=f"is not the official {manifest.name}: .* images by class"):
        Cifar(manifest, tmp_path / "a").train()
    labels[3] = 200
    write_binary(tmp_path / "b", manifest, (train[0], labels), test)
    with pytest.raises(DataError, match="record 3 has label 200, not 0 to"):
        Cifar(manifest, tmp_path / "b").train()


@pytest.mark.parametrize("write", [write_python, write_binary])
def test_an_archive_placed_by_hand_is_checked_and_unpacked(tmp_path, small, write):
    manifest, train, test = small
    manifest = write(tmp_path, manifest, train, test) or manifest
    files = manifest.files
    if write is write_python:
        files = replace(files, archive_md5=pack(tmp_path, files.folder, files.archive))
    else:
        files = replace(files, binary_archive_md5=pack(tmp_path, files.binary_folder, files.binary_archive))
    data = Cifar(replace(manifest, files=files), tmp_path)
    assert data.missing_files() == []
    lines = []
    data.fetch(lines.append)
    assert any("unpacking" in line for line in lines)
    same(data.train(), train)
    assert not list(tmp_path.glob(".unpacking-*"))


def test_an_archive_that_is_an_error_page(tmp_path):
    data = load_dataset(DatasetConfig(name="cifar100lt"), tmp_path)
    (tmp_path / "cifar-100-python.tar.gz").write_text("<html>404</html>")
    for act in (data.fetch, data.train):
        with pytest.raises(DataError, match=r"cifar-100-python.tar.gz is not the official archive \(md5 .* delete it"):
            act()


def test_everything_but_pixels_is_known_without_files(tmp_path):
    data = load_dataset(DatasetConfig(name="cifar10lt"), tmp_path)
    assert (data.name, data.total, data.class_counts[0], data.class_counts[-1]) == ("cifar10lt", 12_406, 5000, 50)
    assert data.image_shape == (3, 32, 32)
    assert data.reference.class_counts == (5000,) * 10
    assert data.groups.as_dict() == {"many": (0, 1, 2, 3), "medium": (4, 5, 6), "few": (7, 8, 9)}
    assert data.summary()["fingerprint"] is None
    assert data.reference_fingerprint() is None
    (missing,) = data.missing_files()
    assert missing.path == tmp_path / "cifar-10-python.tar.gz"
    assert str(missing).endswith(
        "(missing): get it from https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz "
        "(md5 c58f30108f718f92721af3b95e74349a) and put it there"
    )
    with pytest.raises(MissingFileError, match=r"data set cifar10 needs .*cifar-10-python.tar.gz"):
        data.train()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "name", "total"),
    [
        ({"name": "cifar10lt", "imbalance": 0.001}, "cifar10lt-0.001", 9_324),
        ({"name": "cifar10lt", "imbalance": 0.01}, "cifar10lt", 12_406),
        ({"name": "cifar10lt", "imbalance": 0.05}, "cifar10lt-0.05", None),
        ({"name": "cifar100lt"}, "cifar100lt", 10_847),
        ({"name": "cifar10"}, "cifar10", 50_000),
        ({"name": "cifar10", "per_class": 500}, "cifar10-500", 5_000),
        ({"name": "cifar100", "per_class": 50}, "cifar100-50", 5_000),
    ],
)
def test_canonical_names(tmp_path, options, name, total):
    data = load_dataset(DatasetConfig(**options), tmp_path)
    assert data.name == name
    assert total in (None, data.total)
    assert (data.horizontal_flip, data.default_protocol) == (True, "cifar-50k.v1")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_manifest_agrees_with_torchvision(name):
    from torchvision import datasets

    source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    manifest = load_manifest(name)
    files = manifest.files
    assert files.url + files.archive == source.url
    assert (files.archive_md5, files.folder) == (source.tgz_md5, source.base_folder)
    assert [list(pair) for pair in files.train] == source.train_list
    assert [list(pair) for pair in files.test] == source.test_list
    assert {"filename": files.meta[0], "key": files.meta_key, "md5": files.meta[1]} == source.meta
    assert (sum(manifest.train_counts), sum(manifest.test_counts)) == (50_000, 10_000)
    assert len(set(manifest.class_names)) == len(manifest.class_names) == len(manifest.train_counts)
    assert list(manifest.class_names) == sorted(manifest.class_names)  # the official order is the alphabet's


def no_network(*args, **kwargs):
    raise socket.gaierror(-2, "Name or service not known")


def test_offline_fetch_fails_at_once_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    start = time.monotonic()
    with pytest.raises(MissingFileError) as caught:
        load_dataset(DatasetConfig(name="cifar10lt"), tmp_path).fetch()
    assert time.monotonic() - start < 3
    message = str(caught.value)
    assert "\n" not in message
    assert "www.cs.toronto.edu cannot be reached: [Errno -2] Name or service not known" in message
    assert f"{tmp_path}/cifar-10-python.tar.gz" in message
    assert "get it from https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz" in message
    assert list(tmp_path.iterdir()) == []


def test_a_name_look_up_that_hangs_is_given_up(tmp_path, monkeypatch):
    released = threading.Event()

    def hang(*args, **kwargs):
        released.wait(60)
        no_network()

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(cifar_files, "PROBE_SECONDS", 1.2)
    start = time.monotonic()
    with pytest.raises(MissingFileError, match=r"www.cs.toronto.edu does not answer"):
        load_dataset(DatasetConfig(name="cifar10lt"), tmp_path).fetch()
    assert time.monotonic() - start < 3
    released.set()


@pytest.fixture
def server(tmp_path):
    """An address that serves the files of the folder `served`."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def test_a_download(tmp_path, small, server, capfd):
    served, url = server
    manifest, train, test = small
    manifest = write_python(served, manifest, train, test)
    archive_md5 = pack(served, manifest.files.folder, manifest.files.archive)
    manifest = replace(manifest, files=replace(manifest.files, url=url, archive_md5=archive_md5))
    root = tmp_path / "data"
    data, lines = Cifar(manifest, root), []
    data.fetch(lines.append)
    assert [line.split()[0] for line in lines] == ["downloading", "unpacking", "checking"]
    assert {path.name for path in root.iterdir()} == {manifest.files.folder, manifest.files.archive, ".cache"}
    same(data.train(), train)
    assert socket.getdefaulttimeout() is None
    assert capfd.readouterr().out == ""  # stdout belongs to --json


def test_a_download_of_something_else(tmp_path, small, server):
    served, url = server
    manifest = replace(small[0], files=replace(small[0].files, url=url))
    (served / manifest.files.archive).write_text("<html>sorry</html>")
    with pytest.raises(MissingFileError, match="its download failed: File not found or corrupted"):
        Cifar(manifest, tmp_path / "data").fetch()
    assert list((tmp_path / "data").iterdir()) == []


def test_a_download_that_is_not_there(tmp_path, small, server):
    _, url = server
    manifest = replace(small[0], files=replace(small[0].files, url=url))
    with pytest.raises(MissingFileError, match=r"127.0.0.1 answers 404 \(File not found\)"):
        Cifar(manifest, tmp_path / "data").fetch()


def test_a_data_root_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(cifar_files, "_unreachable", lambda url: None)
    with pytest.raises(StorageError, match="cannot write"):
        load_dataset(DatasetConfig(name="cifar10"), tmp_path / "file").fetch()


def test_a_folder_that_lacks_files(tmp_path, small):
    manifest, train, test = small
    manifest = write_python(tmp_path, manifest, train, test)
    archive = tmp_path / manifest.files.archive
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / manifest.files.folder, manifest.files.folder)
    manifest = replace(manifest, files=replace(manifest.files, archive_md5=md5(archive)))
    (tmp_path / manifest.files.folder / manifest.files.test[0][0]).unlink()
    with pytest.raises(DataError, match="lacks some of its files; delete that folder"):
        Cifar(manifest, tmp_path).train()
    archive.unlink()
    assert len(Cifar(manifest, tmp_path).missing_files()) == 1
    with pytest.raises(DataError, match="lacks some of its files; delete that folder"):
        Cifar(manifest, tmp_path).fetch()  # without asking the network first


def test_reasons_are_one_line():
    assert cifar_files._one_line(urllib.error.URLError(OSError("a\n b"))) == "a b"
    assert cifar_files._one_line(TimeoutError()) == "TimeoutError"


def test_a_web_page_under_the_archives_name_is_missing_from_the_start(tmp_path, small):
    """A common download accident: `doctor` said ready, and the run's first check said nothing."""
    manifest, _, _ = small
    archive = tmp_path / manifest.files.archive
    archive.write_text("<!doctype html><title>404</title>")
    (missing,) = Cifar(manifest, tmp_path).missing_files()
    assert "a web page, not the archive: an error page saved by a download" in missing.reason
    archive.write_bytes(b"half of it")
    (missing,) = Cifar(manifest, tmp_path).missing_files()
    assert "not the official archive (10 bytes)" in missing.reason
    with pytest.raises(DataError, match="not the official archive"):
        Cifar(manifest, tmp_path).fetch()


def test_a_changed_file_is_missing_although_it_lies_there(tmp_path, small):
    manifest, train, test = small
    written = write_python(tmp_path, manifest, train, test)
    assert Cifar(written, tmp_path).missing_files() == []
    file = tmp_path / written.files.folder / written.files.train[0][0]
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    (missing,) = Cifar(written, tmp_path).missing_files()
    assert f"{file} is not the official file" in missing.reason
