"""Folders of class folders: order, splits, cuts, decoding against Pillow, the cache, and every refusal."""

import fcntl
import importlib.util
import os
import time
import zlib

import numpy as np
import pytest
from conftest import REAL_IMAGES
from folder_support import fill, load, picture, refused
from PIL import Image

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import ConfigError, StorageError
from ltgen_bench.datasets import decoding, load_dataset
from ltgen_bench.datasets.sets.folder import slug
from ltgen_bench.testing import assert_passed
from ltgen_bench.testing.datasets import check_made_dataset


def pixels(file):
    return np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1)


def test_own_imbalance_and_split(pets):
    data = load(pets)
    assert data.name == "folder-my-pets"
    assert data.class_names == ("dog", "ant", "cat", "bee")  # by falling count, ties by name
    assert data.reference.class_counts == (4, 2, 2, 1)  # a fifth, and one at least
    assert data.class_counts == (16, 8, 8, 2)
    assert data.total == 34
    assert data.image_shape == (3, 6, 6)
    assert data.groups.as_dict() == {"many": (0, 1), "medium": (2,), "few": (3,)}
    assert data.default_protocol == "images-50k.v2"
    assert data.missing_files() == []
    files = [f for name in data.class_names for f in sorted((pets / name).iterdir())]
    train = data.train()
    assert tuple(train.counts(4)) == data.class_counts
    for image, index in zip(train.images, data.train_indices(), strict=True):
        assert np.array_equal(image, pixels(files[index]))
        assert data.class_names[train.labels[list(data.train_indices()).index(index)]] == files[index].parent.name
    both = [image.tobytes() for image in (*train.images, *data.reference_set().images)]
    assert len(both) == len(set(both)) == len(files)
    assert data.held_out().fingerprint() == data.reference_fingerprint()
    assert_passed(check_made_dataset("folder", lambda: load(pets)))


def test_the_split_depends_on_its_seed_only(pets):
    first, again, other = load(pets), load(pets), load(pets, split_seed=1)
    assert first.fingerprint() == again.fingerprint()
    assert first.fingerprint() != other.fingerprint()
    assert first.reference_fingerprint() != other.reference_fingerprint()
    cut = load(pets, imbalance=0.5)
    assert cut.reference_fingerprint() == first.reference_fingerprint()  # split off before the cut
    assert set(cut.train_indices()) < set(first.train_indices())


def test_a_larger_reference_share(pets):
    # floor(0.29 * 100) in decimals is 29; in binary floating point it would be 28
    fill(pets, {"yak": 100}, start=500)
    data = load(pets, reference_fraction=0.29)
    assert dict(zip(data.class_names, data.reference.class_counts, strict=True))["yak"] == 29


def test_artificial_imbalance_uses_the_shared_rule(tmp_path):
    root = fill(tmp_path / "even", dict.fromkeys("abc", 20))
    reference = fill(tmp_path / "even-reference", dict.fromkeys("abc", 2), start=900)
    data = load(root, imbalance=0.1, reference_path=reference, split_seed=5)
    assert data.name == "folder-even-0.1"
    assert data.reference.name == "folder-even-reference"
    assert data.class_counts == (20, 6, 2)
    generator, expected = np.random.RandomState(5), []
    for label, count in enumerate(data.class_counts):
        places = np.arange(20 * label, 20 * (label + 1))
        generator.shuffle(places)
        expected.extend(places[:count])
    assert data.train_indices().tolist() == expected
    smaller = load(root, imbalance=0.05, reference_path=reference, split_seed=5)
    assert set(smaller.train_indices()) < set(data.train_indices())


def test_an_uneven_folder_gets_the_largest_head_that_fits(pets):
    data = load(pets, imbalance=0.5)  # available after the split: 16, 8, 8, 2; the tail allows a head of 5
    assert data.class_counts == (5, 3, 3, 2)


def test_pareto_cut(tmp_path):
    root = fill(tmp_path / "even", dict.fromkeys("abcde", 20))
    data = load(root, reference_path=root, pareto_alpha=6)
    assert data.name == "folder-even-pareto6"  # another name than an exponential cut's
    # quantiles ((i + 1/2) / 5)^(-1/6) - 1, worked out by hand: 0.4678 0.2222 0.1225 0.0613 0.0177
    assert data.class_counts == (20, 9, 5, 2, 1)
    truncated = load(root, reference_path=root, pareto_alpha=6, imbalance=0.25)
    assert (truncated.name, truncated.class_counts) == ("folder-even-pareto6-0.25", (20, 9, 5, 5, 5))
    assert set(data.train_indices()) < set(truncated.train_indices())
    refused("takes pareto_alpha or per_class, not both", lambda: load(root, pareto_alpha=6, per_class=2), ConfigError)
    for alpha in (0.0, -1.0, 1e6):
        refused("pareto_alpha must lie above 0", lambda alpha=alpha: load(root, pareto_alpha=alpha), ConfigError)


def test_balanced_subset(pets):
    data = load(pets, per_class=2)
    assert (data.name, data.class_counts) == ("folder-my-pets-2", (2, 2, 2, 2))
    refused("can give 1 to 2 images a class; got per_class 3", lambda: load(pets, per_class=3), ConfigError)


def test_reference_folder(pets, tmp_path):
    other = fill(tmp_path / "val", {"dog": 2, "cat": 3, "ant": 1, "bee": 1}, start=100)
    data = load(pets, reference_path=other)
    assert data.class_counts == (20, 10, 10, 3)
    assert data.reference.class_counts == (2, 1, 3, 1)
    assert data.reference.name == "folder-val"
    assert np.array_equal(data.reference_set().images[2], pixels(other / "ant" / "000.png"))
    assert isinstance(data.train().images.base, np.memmap)  # an uncut folder is not copied into memory
    assert len(data.held_out()) == 7


def test_a_reference_that_holds_training_images(pets):
    # as CIFAR's: the full folder is the reference of its own cut, and what was cut away is held out
    data = load(pets, reference_path=pets, per_class=3)
    assert data.reference.class_counts == (20, 10, 10, 3)
    assert data.held_out().counts(4).tolist() == [17, 7, 7, 0]
    assert load(pets, reference_path=pets).held_out() is None


def test_order_file(pets):
    (pets / "classes.txt").write_text("bee\n\n cat \nant\ndog\n")
    data = load(pets)
    assert data.class_names == ("bee", "cat", "ant", "dog")
    assert data.groups.many == (1, 3)  # the groups still go by count
    for text, message in (
        ("bee\ncat\nant\n", "classes.txt lacks the class 'dog'"),
        ("bee\ncat\nant\ndog\nemu\n", "classes.txt has the class 'emu'"),
        ("bee\ncat\nant\ndog\nbee\n", "classes.txt names the class 'bee' twice"),
        ("../bee\ncat\nant\ndog\nbee\n", "classes.txt has the class '../bee'"),
    ):
        (pets / "classes.txt").write_text(text)
        refused(message, lambda: load(pets))
    (pets / "classes.txt").write_bytes(b"\xff\xfe\xff")
    refused("cannot read .*classes.txt", lambda: load(pets))


def test_names_that_are_passed_over(pets):
    (pets / "README.md").write_text("pets")
    (pets / ".git").mkdir()
    (pets / "cat" / ".DS_Store").write_bytes(b"x")
    (pets / "cat" / "Thumbs.db").write_bytes(b"x")
    picture(77).save(pets / "cat" / "UPPER.PNG")
    data = load(pets)
    assert sum(data.class_counts) + sum(data.reference.class_counts) == 44


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "bmp"])
def test_formats(tmp_path, suffix):
    for i in range(2):
        (tmp_path / "set" / "a").mkdir(parents=True, exist_ok=True)
        picture(i).save(tmp_path / "set" / "a" / f"{i}.{suffix}")
    data = load(tmp_path / "set", reference_path=tmp_path / "set")
    assert np.array_equal(data.train().images[1], pixels(tmp_path / "set" / "a" / f"1.{suffix}"))


def test_grey_stays_grey_only_if_all_are(tmp_path):
    root = fill(tmp_path / "grey", {"a": 3, "b": 3}, mode="L")
    picture(50, mode="LA").save(root / "b" / "alpha.png")
    data = load(root, reference_path=root)
    assert data.image_shape == (1, 6, 6)
    order = [f for name in data.class_names for f in sorted((root / name).iterdir())]
    assert np.array_equal(data.train().images[:, 0], [np.asarray(Image.open(f).convert("L")) for f in order])
    picture(51, mode="RGBA").save(root / "b" / "colour.png")
    data = load(root, reference_path=root)
    assert data.image_shape == (3, 6, 6)
    first = data.train().images[list(data.train().labels).index(data.class_names.index("a"))]
    assert np.array_equal(first[0], first[1])


def test_resizing_is_pillows_antialiased_bicubic_on_the_centre(tmp_path):
    root = tmp_path / "sizes"
    fill(root, {"a": 2}, size=(13, 8))
    fill(root, {"b": 2}, size=(6, 11), start=10)
    fill(root, {"c": 1}, size=(4, 4), start=20)
    fill(root, {"d": 1}, size=(7, 4), start=30)
    data = load(root, reference_path=root, image_size=4)
    assert data.name == "folder-sizes-4px"
    assert data.image_shape == (3, 4, 4)
    for label, box in enumerate([(2, 0, 10, 8), (0, 2, 6, 8), (0, 0, 4, 4), (1, 0, 5, 4)]):
        name = "abcd"[label]
        image = Image.open(root / name / "000.png").crop(box)
        if image.size != (4, 4):
            image = image.resize((4, 4), Image.Resampling.BICUBIC)
        got = data.train().images[list(data.train().labels).index(data.class_names.index(name))]
        assert np.array_equal(got, np.asarray(image).transpose(2, 0, 1))


def test_the_orientation_tag_is_followed(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    tag = Image.Exif()
    tag[0x0112] = 6  # shown after a quarter turn clockwise
    picture(1).save(tmp_path / "set" / "a" / "0.png", exif=tag)
    data = load(tmp_path / "set", reference_path=tmp_path / "set")
    plain = np.asarray(picture(1)).transpose(2, 0, 1)
    assert np.array_equal(data.train().images[0], np.rot90(plain, -1, axes=(1, 2)))


def test_a_second_start_does_not_decode(pets, monkeypatch):
    first = load(pets).fingerprint()
    monkeypatch.setattr(decoding, "_decode", lambda *a: pytest.fail("decoded again"))
    assert load(pets).fingerprint() == first
    monkeypatch.undo()
    # a file that changed, even to the same size, is seen by its time
    picture(99).save(pets / "dog" / "000.png")
    os.utime(pets / "dog" / "000.png", ns=(1, 1))
    changed = load(pets, reference_path=pets).fingerprint()
    picture(0).save(pets / "dog" / "000.png")
    assert load(pets, reference_path=pets).fingerprint() != changed


def test_a_file_overwritten_with_its_old_size_and_time_is_decoded_again(tmp_path):
    """As `cp -p` and `tar` do it, in place and by another file under the name."""
    file = tmp_path / "set" / "a" / "0.bmp"  # uncompressed: every picture has the same size
    file.parent.mkdir(parents=True)

    def fingerprint():
        return load(tmp_path / "set", reference_path=tmp_path / "set").fingerprint()

    picture(1).save(file)
    before, seen = file.stat(), {fingerprint()}
    picture(2).save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    seen.add(fingerprint())
    picture(3).save(tmp_path / "new.bmp")
    os.utime(tmp_path / "new.bmp", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "new.bmp").replace(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    seen.add(fingerprint())
    assert len(seen) == 3


@pytest.mark.parametrize("harm", ["flip", "cut", "note", "gone"])
def test_a_damaged_cache_is_made_anew(pets, harm):
    before = load(pets).fingerprint()
    (cached,) = (pets.parent / "root" / ".cache" / "folder").glob("*.npy")
    data = bytearray(cached.read_bytes())
    if harm == "flip":
        data[-1] ^= 1
    cached.write_bytes(data[:-5] if harm == "cut" else data)
    if harm == "note":
        cached.with_suffix(".json").write_text('{"sha')
    if harm == "gone":
        cached.unlink()
    assert load(pets).fingerprint() == before
    assert len(list(cached.parent.iterdir())) == 2


def test_what_a_killed_process_left_is_cleaned_up(pets):
    cache = pets.parent / "root" / ".cache" / "folder"
    cache.mkdir(parents=True)
    stale, young, busy = (cache / f".abc-{name}.partial.npy" for name in ("stale", "young", "busy"))
    for path in (stale, young, busy):
        path.write_bytes(b"half")
    for path in (stale, busy):
        os.utime(path, (time.time() - 60,) * 2)
    with busy.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        load(pets).train()
    assert not stale.exists()
    assert young.exists()  # may be somebody's who has not taken its lock yet
    assert busy.exists()


def test_writing_to_the_images_leaves_the_cache_alone(pets):
    data = load(pets, reference_path=pets)
    before = data.fingerprint()
    data.train().images[:] = 0
    assert load(pets, reference_path=pets).fingerprint() == before


def test_missing_and_empty_folders(tmp_path):
    refused("image folder .*nothing is not there", lambda: load(tmp_path / "nothing"))
    (tmp_path / "file").write_text("")
    refused("image folder .*file is not there, or is not a folder", lambda: load(tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    refused("image folder .*empty holds no class folders", lambda: load(tmp_path / "empty"))
    picture(0).save(tmp_path / "empty" / "0.png")
    refused("images lie in .*empty/<class name>/", lambda: load(tmp_path / "empty"))


def test_class_folders_that_cannot_be_used(pets, tmp_path):
    (pets / "emu").mkdir()
    refused(r"class folder .*emu holds no images \(\.png, ", lambda: load(pets))
    (pets / "emu" / "notes.txt").write_text("")
    refused("class folder .*emu holds no images", lambda: load(pets))
    picture(0).save(pets / "emu" / "0.png")
    refused("class folder .*emu has only one image", lambda: load(pets))
    assert load(pets, reference_path=pets).class_counts[-1] == 1
    (pets / "emu" / "more").mkdir()
    refused("emu/more is a folder inside a class folder", lambda: load(pets))
    (pets / "emu" / "more").rmdir()
    (pets / "emu" / "pipe.png").unlink(missing_ok=True)
    os.mkfifo(pets / "emu" / "pipe.png")
    refused("emu/pipe.png: it is not a regular file", lambda: load(pets))
    (pets / "emu" / "pipe.png").unlink()
    (pets / "e\nmu").mkdir()
    refused(r"has a name that cannot be printed", lambda: load(pets))


def test_other_classes_in_the_reference(pets, tmp_path):
    other = fill(tmp_path / "val", {"dog": 1, "cat": 1, "ant": 1})
    refused("val lacks the class 'bee' that .*Pets! has", lambda: load(pets, reference_path=other))
    fill(other, {"bee": 1, "emu": 1})
    refused("val has the class 'emu' that .*Pets! lacks", lambda: load(pets, reference_path=other))


def test_links_that_leave_the_folder(pets, tmp_path):
    outside = fill(tmp_path / "outside", {"emu": 3})
    link = pets / "cat" / "link.png"
    link.symlink_to(outside / "emu" / "000.png")
    refused("cat/link.png is a link that leaves the image folder", lambda: load(pets))
    link.unlink()
    link.symlink_to(pets / "cat" / "none.png")
    refused("cat/link.png is a broken link", lambda: load(pets))
    link.unlink()
    (pets / "emu").symlink_to(outside / "emu")
    refused("emu is a link that leaves the image folder", lambda: load(pets))
    (pets / "emu").unlink()
    link.symlink_to(pets / "cat" / "000.png")
    assert sum(load(pets, reference_path=pets).class_counts) == 44  # a link that stays inside is followed
    (tmp_path / "alias").symlink_to(pets)
    assert load(tmp_path / "alias", reference_path=pets).total == 44


def bomb(path, side):
    """A PNG that claims side x side pixels in a few hundred bytes."""
    picture(0, (1, 1), "L").save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)


@pytest.mark.parametrize("side", [8193, 10_000, 20_000, 60_000])
def test_decompression_bombs(pets, side):
    bomb(pets / "cat" / "bomb.png", side)
    start = time.monotonic()
    refused("cat/bomb.png claims more than 67,108,864 pixels", load(pets, image_size=8).train)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: f.write_bytes(b""), "it is not a PNG, JPEG, WebP or BMP file"),
        (lambda f: f.write_bytes(b"<html>404</html>"), "it is not a PNG, JPEG, WebP or BMP file"),
        (lambda f: picture(0).save(f, format="GIF"), "it is not a PNG, JPEG, WebP or BMP file"),
        (lambda f: f.write_bytes(f.read_bytes()[:90]), ""),
        (lambda f: f.write_bytes(f.read_bytes()[:40] + b"\x00" * 30 + f.read_bytes()[70:]), ""),
    ],
)
def test_images_that_cannot_be_read(pets, harm, message):
    harm(pets / "cat" / "004.png")
    refused(f"cannot read image .*cat/004.png: .*{message}", load(pets).train)
    assert not list((pets.parent / "root").rglob("*.npy"))  # nothing half-made stays
    assert not list((pets.parent / "root").rglob("*.partial*"))


def test_a_truncated_jpeg(tmp_path):
    root = fill(tmp_path / "set", {"a": 2}, size=(32, 32))
    picture(5, (32, 32)).save(root / "a" / "z.jpg")
    (root / "a" / "z.jpg").write_bytes((root / "a" / "z.jpg").read_bytes()[:-200])
    refused("cannot read image .*a/z.jpg: image file is truncated", load(root).train)


def test_sizes_that_differ(pets):
    picture(0, (6, 5)).save(pets / "cat" / "wide.png")
    refused("cat/wide.png is 6x5 and not square; give an image size", load(pets).train)
    picture(0, (8, 8)).save(pets / "cat" / "wide.png")
    refused("cat/wide.png is 8x8 where .*dog/000.png is 6x6; give an image size to resize", load(pets).train)
    assert load(pets, image_size=8).image_shape == (3, 8, 8)


def test_sixteen_bits_are_refused(pets):
    Image.fromarray(np.full((6, 6), 40_000, np.uint16)).save(pets / "cat" / "deep.png")
    refused("cat/deep.png has more than 8 bits a channel", load(pets).train)


def test_a_file_that_vanishes(pets):
    data = load(pets)
    (pets / "cat" / "004.png").unlink()
    refused("cannot read image .*cat/004.png: No such file", data.train)


def test_a_data_root_that_cannot_be_written(pets, tmp_path):
    (tmp_path / "taken").write_text("")
    refused("cannot write", load(pets, tmp_path / "taken").train, StorageError)


def test_slugs(tmp_path):
    assert slug(tmp_path / "Größe_42 (neu)") == "gr-e-42-neu"
    assert slug(tmp_path / "birds" / "train") == "birds-train"
    assert slug(tmp_path / "日本") == "images"


@pytest.mark.shared
def test_real_images(tmp_path):
    specification = importlib.util.spec_from_file_location("unpack", REAL_IMAGES / "unpack.py")
    unpack = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(unpack)
    files, labels, classes = unpack.load(REAL_IMAGES / "cifar10_jpeg_train.npz")
    root = tmp_path / "cifar10-jpeg"
    for i in range(0, 50_000, 100):
        (root / classes[labels[i]]).mkdir(parents=True, exist_ok=True)
        (root / classes[labels[i]] / f"{i:06d}.jpg").write_bytes(files[i])
    data = load(root, reference_path=root, imbalance=0.1)
    assert data.class_counts == tuple(int(50 * 0.1 ** (i / 9) + 1e-9) for i in range(10))
    assert data.class_names == tuple(sorted(classes))
    assert data.image_shape == (3, 32, 32)
    # natural images: neighbouring pixels are alike, in each channel
    images = data.reference_set().images.astype(float)
    assert len(images) == 500
    left, right = images[..., :-1].ravel(), images[..., 1:].ravel()
    assert np.corrcoef(left, right)[0, 1] > 0.8
    again = load(root, reference_path=root, image_size=16)
    assert again.image_shape == (3, 16, 16)
    halves = images.reshape(500, 3, 16, 2, 16, 2).mean((3, 5))
    assert np.abs(again.reference_set().images - halves).mean() < 6  # bicubic and box differ by a little


def test_a_head_of_the_mean_size_numbers_classes_by_name(tmp_path):
    root = fill(tmp_path / "pictures", {"b": 12, "a": 4, "c": 8})
    plain = load(root, reference_path=root, imbalance=0.25)
    mean = load(root, reference_path=root, imbalance=0.25, head="mean")
    assert plain.class_names == ("b", "c", "a")
    assert mean.class_names == ("a", "b", "c")
    assert mean.class_counts == (4, 4, 2)  # floor(8 / 4^(i / 2))
    assert mean.name == "folder-pictures-mean-0.25"
    assert load(root, reference_path=root, imbalance=0.25, head="largest").fingerprint() == plain.fingerprint()
    refused("head = mean with an exponential imbalance", lambda: load(root, head="mean"), ConfigError)


def test_what_is_not_imagenet_is_refused(tmp_path):
    root = fill(tmp_path / "pictures", {"b": 120, "a": 120}, size=(2, 2))

    def exponential(**options):
        return load_dataset(DatasetConfig(name="imagenet-lt-exponential", **options), tmp_path)

    refused("needs --path, ILSVRC's train folder", exponential, ConfigError)
    refused(r"has \d+ images of 2 classes, and that of ImageNet's", lambda: exponential(path=root, reference_path=root))
    refused("no option 'imbalance'", lambda: exponential(path=root, reference_path=root, imbalance=0.1), ConfigError)
