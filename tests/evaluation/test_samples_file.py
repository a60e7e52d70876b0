"""Samples files come from anywhere: each kind of bad one is refused in one line, before anything large is read."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltgen_bench.core.errors import SamplesError
from ltgen_bench.evaluation.samples import Samples, read_samples, write_samples

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)
LABELS = np.arange(6)


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def message(path: Path) -> str:
    with pytest.raises(SamplesError) as error:
        read_samples(path)
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@pytest.mark.parametrize("key", ["labels", "arr_1"])
@pytest.mark.parametrize("compress", [False, True])
def test_an_adm_file_is_read(tmp_path: Path, key: str, compress: bool) -> None:
    path = tmp_path / "s.npz"
    (np.savez_compressed if compress else np.savez)(path, arr_0=IMAGES, **{key: LABELS.astype(np.int32)})
    samples = read_samples(path)
    assert samples.images.shape == (6, 1, 8, 8)
    assert np.array_equal(samples.images.transpose(0, 2, 3, 1), IMAGES)
    assert samples.labels.dtype == np.int64
    assert np.array_equal(samples.labels, LABELS)


def test_writing_and_reading_gives_the_same(tmp_path: Path) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (3, 3, 4, 4), dtype=np.uint8)
    samples = Samples(rgb, np.array([2, 0, 1]))
    write_samples(tmp_path / "a.npz", samples)
    again = read_samples(tmp_path / "a.npz")
    assert again.sha256() == samples.sha256()
    write_samples(tmp_path / "b.npz", samples)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["arr_0"].shape == (3, 4, 4, 3)


def test_unconditional_samples_have_no_labels(tmp_path: Path) -> None:
    """Whether the file holds labels, and which, makes no difference: they are not read."""
    files = [
        save(tmp_path / "none.npz", arr_0=IMAGES),
        save(tmp_path / "absurd.npz", arr_0=IMAGES, labels=np.full(6, -77)),
        save(tmp_path / "other.npz", arr_0=IMAGES, labels=np.zeros((2, 3))),
    ]
    samples = [read_samples(file, labelled=False) for file in files]
    assert all(each.labels is None and len(each) == 6 for each in samples)
    assert len({each.sha256() for each in samples}) == 1
    assert samples[0].class_counts(3) == [0, 0, 0]
    write_samples(tmp_path / "again.npz", samples[0])
    with np.load(tmp_path / "again.npz") as archive:
        assert archive.files == ["arr_0"]
    assert "--set sampling.conditioning=none" in message(tmp_path / "again.npz")


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ({"arr_0": IMAGES}, "has no labels: an integer array 'labels' or 'arr_1' of shape (N,) is needed"),
        ({"labels": LABELS}, "has no array 'arr_0' with the images; it has ['labels']"),
        ({"arr_0": IMAGES / 255.0, "labels": LABELS}, "'arr_0' has the dtype float64; images are uint8; scale to 0"),
        ({"arr_0": IMAGES.astype(np.int16), "labels": LABELS}, "'arr_0' has the dtype int16; images are uint8"),
        ({"arr_0": IMAGES[..., 0], "labels": LABELS}, "'arr_0' has the shape (6, 8, 8); images are (N, H, W, C)"),
        ({"arr_0": IMAGES.transpose(0, 3, 1, 2), "labels": LABELS}, "the channels come last"),
        ({"arr_0": IMAGES[:0], "labels": LABELS[:0]}, "'arr_0' is empty"),
        ({"arr_0": IMAGES, "labels": LABELS[:5]}, "'labels' has the shape (5,); 6 images need (6,)"),
        ({"arr_0": IMAGES, "labels": LABELS[:, None]}, "'labels' has the shape (6, 1); 6 images need (6,)"),
        ({"arr_0": IMAGES, "labels": LABELS + 0.5}, "'labels' has the dtype float64; labels are integers"),
        ({"arr_0": IMAGES, "labels": LABELS - 1}, "label -1 is negative"),
        (
            {"arr_0": IMAGES, "labels": np.array([None] * 6)},
            "'labels' holds pickled Python objects, which are never read",
        ),
        ({"arr_0": np.zeros((1, 5000, 1, 1), np.uint8), "labels": LABELS[:1]}, "which is beyond what is read here"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, arrays: dict[str, Any], part: str) -> None:
    assert part in message(save(tmp_path / "s.npz", **arrays))


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    assert "there is no samples file" in message(tmp_path / "absent.npz")
    assert "there is no samples file" in message(tmp_path)
    page = tmp_path / "page.npz"
    page.write_text("<html>404</html>")
    assert "is not a readable .npz file" in message(page)
    whole = save(tmp_path / "whole.npz", arr_0=IMAGES, labels=LABELS).read_bytes()
    for cut in (10, len(whole) // 2, len(whole) - 5):
        path = tmp_path / f"cut{cut}.npz"
        path.write_bytes(whole[:cut])
        assert "is not a readable .npz file" in message(path)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    data = bytearray(save(tmp_path / "s.npz", arr_0=IMAGES, labels=LABELS).read_bytes())
    data[300] ^= 1  # in the pixels of arr_0
    (tmp_path / "s.npz").write_bytes(bytes(data))
    assert "Bad CRC-32" in message(tmp_path / "s.npz")


@pytest.mark.parametrize("packing", ["ZIP_STORED", "ZIP_DEFLATED", "ZIP_BZIP2", "ZIP_LZMA"])
def test_damage_anywhere_in_a_packed_file_is_told_in_one_line(tmp_path: Path, packing: str) -> None:
    """Whatever the unpacker makes of it: each has errors of its own."""
    images, path = np.random.default_rng(0).integers(0, 4, (200, 8, 8, 1)).astype(np.uint8), tmp_path / "s.npz"
    with zipfile.ZipFile(path, "w", getattr(zipfile, packing)) as archive:
        for name, array in (("arr_0.npy", images), ("labels.npy", np.zeros(200, np.int64))):
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(name, buffer.getvalue())
    whole, refused = path.read_bytes(), 0
    for place in range(40, len(whole) - 200, 101):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF, whole[place + 1] ^ 0x55]) + whole[place + 2 :])
        try:
            read_samples(path)
        except SamplesError as error:
            refused += "\n" not in str(error)
    assert refused >= len(range(40, len(whole) - 200, 101)) - 2  # a zip has a few bytes that nobody reads


def test_a_header_that_promises_more_than_is_stored(tmp_path: Path) -> None:
    """Such a file would make a naive reader reserve 10^12 bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 32, 32, 1)})
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", header.getvalue() + b"\0" * 100)
    assert "'arr_0' says 1024000000000 bytes and stores 100" in message(path)


def test_a_header_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", np.lib.format.magic(2, 0) + (2**32 - 1).to_bytes(4, "little") + b" " * 100)
    assert "npy format 2.0, only 1.0 is read" in message(path)
