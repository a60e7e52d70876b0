"""The forms in which people have samples; each gives the same samples as the .npz of the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ltgen_bench.core.errors import UserError
from ltgen_bench.evaluation.sample_sources import load_samples, resize_samples
from ltgen_bench.evaluation.samples import Samples

NAMES = ("cat", "dog", "owl")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
LABELS = np.array([0, 0, 1, 1, 2, 2])


def load(tmp_path: Path, *paths: Path) -> Samples:
    return load_samples(paths, NAMES, tmp_path / "cache")


def write_folder(root: Path, names: tuple[str, ...], suffix: str = ".png", **options: Any) -> Path:
    for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (root / names[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / names[label] / f"{index}{suffix}", **options)
    return root


def test_all_forms_give_the_same(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", arr_0=IMAGES, labels=LABELS)
    whole = load(tmp_path, tmp_path / "all.npz")
    shards = tmp_path / "shards"
    shards.mkdir()
    np.savez(shards / "a.npz", arr_0=IMAGES[:4], arr_1=LABELS[:4])
    np.savez(shards / "b.npz", arr_0=IMAGES[4:], arr_1=LABELS[4:])
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS)
    for paths in (
        [shards],
        [shards / "a.npz", shards / "b.npz"],
        [tmp_path / "x.npy", tmp_path / "y.npy"],
        [tmp_path / "y.npy", tmp_path / "x.npy"],
        [write_folder(tmp_path / "named", NAMES)],
        [write_folder(tmp_path / "indexed", ("0", "1", "002"))],
        [write_folder(tmp_path / "webp", NAMES, ".webp", lossless=True)],
    ):
        assert load(tmp_path, *paths).sha256() == whole.sha256(), paths


def test_unconditional_images_need_no_labels_in_any_form(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", arr_0=IMAGES)
    np.savez(tmp_path / "labelled.npz", arr_0=IMAGES, labels=LABELS - 9)
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS - 9)
    forms = [
        [tmp_path / "all.npz"],
        [tmp_path / "labelled.npz"],
        [tmp_path / "x.npy"],
        [tmp_path / "x.npy", tmp_path / "y.npy"],
        [write_folder(tmp_path / "folder", ("any", "name", "will do"))],
    ]
    found = [load_samples(paths, NAMES, tmp_path / "cache", labelled=False) for paths in forms]
    assert all(samples.labels is None for samples in found)
    assert len({samples.sha256() for samples in found}) == 1


def test_a_class_may_be_absent_from_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "s", NAMES)
    for file in (tmp_path / "s" / "dog").iterdir():
        file.unlink()
    (tmp_path / "s" / "dog").rmdir()
    assert load(tmp_path, tmp_path / "s").labels.tolist() == [0, 0, 2, 2]


def test_folders_are_all_names_or_all_indices(tmp_path: Path) -> None:
    """With classes called 1 ... 3, the folders 0, 1, 2 are indices and 1, 2, 3 names; 0, 1, 3 could be anything."""

    def labels(*folders: str) -> list[int]:
        root = write_folder(tmp_path / "-".join(folders), folders)
        return load_samples([root], ("1", "2", "3"), tmp_path / "cache").labels.tolist()

    assert labels("0", "1", "2") == [0, 0, 1, 1, 2, 2]
    assert labels("1", "2", "3") == [0, 0, 1, 1, 2, 2]
    with pytest.raises(
        UserError, match=r"mixes class names and indices: \S+/0 is not a class .* \S+/3 is not an index below 3"
    ):
        labels("0", "1", "3")


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda root: [root / "absent.npz"], "there is no samples file"),
        (lambda root: [root / "absent.txt"], "samples are one .npz, several .npz shards"),
        (lambda root: [root], "holds no class folders"),
        (lambda root: [save(root / "x.npy", IMAGES)], "images in .npy need their labels"),
        (lambda root: [save(root / "x.npy", LABELS), save(root / "y.npy", LABELS)], "neither"),
        (lambda root: [save(root / "x.npy", IMAGES), save(root / "y.npy", LABELS[:3])], "the labels of 6 images"),
        (lambda root: [save(root / "x.npy", IMAGES / 2), save(root / "y.npy", LABELS)], "images are uint8"),
        (lambda root: [save(root / "x.npy", IMAGES), truncated(root / "y.npy")], "says 48 bytes and stores 40"),
        (lambda root: [write_folder(root / "f", ("cat", "dgo", "owl"))], "did you mean 'dog'?"),
        (lambda root: [write_folder(root / "f", ("0", "1", "3"))], "nor an index below 3"),
        (lambda root: [write_folder(root / "f", ("cat", "1", "owl"))], "mixes class names and indices"),
        (lambda root: [corrupt(write_folder(root / "f", NAMES) / "dog" / "2.png")], "2.png"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, make: Any, part: str) -> None:
    with pytest.raises(UserError) as error:
        load(tmp_path, *make(tmp_path))
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def save(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


def truncated(path: Path) -> Path:
    save(path, LABELS)
    path.write_bytes(path.read_bytes()[:-8])
    return path


def corrupt(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:40])
    return path.parents[1]


def test_shards_of_two_sizes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", arr_0=IMAGES, labels=LABELS)
    np.savez(tmp_path / "b.npz", arr_0=IMAGES[:, :4, :4], labels=LABELS)
    with pytest.raises(UserError, match="shards hold images of one shape"):
        load(tmp_path, tmp_path / "a.npz", tmp_path / "b.npz")


def test_resizing_is_antialiased_and_keeps_what_it_should() -> None:
    """A flat image stays flat; a fine checkerboard becomes its mean (without antialiasing it would stay one)."""
    flat = np.full((1, 3, 32, 32), 77, np.uint8)
    checker = np.broadcast_to((np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8), (1, 3, 32, 32))
    samples = resize_samples(Samples(np.concatenate([flat, checker]), np.array([0, 1])), 8)
    assert samples.images.shape == (2, 3, 8, 8)
    assert (samples.images[0] == 77).all()
    assert np.abs(samples.images[1].astype(int) - 127.5).max() <= 8
    ours = resize_samples(Samples(np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2)), LABELS), 4).images
    pillow = np.stack([np.asarray(Image.fromarray(image).resize((4, 4), Image.Resampling.BICUBIC)) for image in IMAGES])
    # Pillow rounds after each direction, we once at the end; cubic parameter -0.5 in both
    assert np.abs(ours.transpose(0, 2, 3, 1).astype(int) - pillow).max() <= 2
