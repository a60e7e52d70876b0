"""CelebA-5 in both variants, from small trees in CelebA's official layouts."""

import dataclasses
import hashlib

import numpy as np
import pytest
from PIL import Image

from ltgen_bench.core.config import DatasetConfig
from ltgen_bench.core.errors import DataError, MissingFileError, UserError
from ltgen_bench.datasets import load_dataset
from ltgen_bench.datasets.sets.celeba import CelebA5, CelebA5M2M, overlaps
from ltgen_bench.datasets.source_manifest import load_source_manifest
from ltgen_bench.runs.resolve import resolve
from ltgen_bench.testing import assert_passed
from ltgen_bench.testing.datasets import check_made_dataset

HEADER = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young"
)
ATTRIBUTES = HEADER.split()
WORDS = {"black": "Black_Hair", "brown": "Brown_Hair", "blond": "Blond_Hair", "gray": "Gray_Hair", "bald": "Bald"}
# what each image has: exclusive ones 6 black, 4 brown, 3 blond, 2 gray, 2 bald; the others have none or two
FACES = [
    ["black"], ["brown"], [], ["black"], ["blond"], ["gray", "bald"], ["black"], ["brown"], ["bald"], ["black"],
    ["gray"], ["blond"], ["black", "brown"], ["brown"], ["black"], ["blond"], ["gray"], ["bald"], ["brown"], ["black"],
]  # fmt: skip


def quiet(line):
    pass


def attribute_file(faces=FACES):
    """As CelebA writes it: count, names with a space at the end, then 1 and -1 in columns of two."""
    rows = [f"{len(faces)}", HEADER + " "]
    for i, colours in enumerate(faces, start=1):
        own = {WORDS[colour] for colour in colours} | {"Young"}
        rows.append(f"{i:06d}.jpg " + " ".join(" 1" if name in own else "-1" for name in ATTRIBUTES))
    return "\n".join(rows) + "\n"


def face(i):
    """178 x 218 pixels, as the aligned images are."""
    pixels = np.random.default_rng(i).integers(0, 256, (218, 178, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def celeba(root, faces=FACES, images="img_align_celeba", lists="."):
    (root / images).mkdir(parents=True)
    (root / lists).mkdir(exist_ok=True)
    for i in range(1, len(faces) + 1):
        face(i).save(root / images / f"{i:06d}.jpg", quality=90)
    (root / lists / "list_attr_celeba.txt").write_text(attribute_file(faces))
    return root


def unpinned(name, **changes):
    """The real manifest without the checksums and sizes of the real files."""
    manifest = load_source_manifest(name)
    files = tuple(dataclasses.replace(file, md5="", lines=0) for file in manifest.files)
    return dataclasses.replace(manifest, files=files, **changes)


def refused(message, act, kind=DataError):
    with pytest.raises(kind, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)


def test_what_is_known_without_a_file(tmp_path):
    data = load_dataset(DatasetConfig(name="celeba5"), tmp_path)
    assert data.name == "celeba5"  # recipes are found by this name
    assert data.class_names == ("black", "brown", "blond", "gray", "bald")
    assert data.groups.as_dict() == {"many": (0, 1), "medium": (2, 3), "few": (4,)}
    assert data.image_shape == (3, 64, 64)
    refused(r"its class counts follow from list_attr_celeba.txt, so it needs .*data prepare celeba5 --path",
            lambda: data.class_counts, MissingFileError)  # fmt: skip
    refused("its class counts follow from", lambda: data.total, MissingFileError)
    summary = data.summary()
    assert (summary["class_counts"], summary["total"], summary["reference"]["total"]) == (None, None, None)
    assert summary["reference"]["name"] == "celeba5-balanced"
    assert "so it needs" in summary["unknown"]
    refused("its class counts follow from", lambda: resolve({"dataset": "celeba5"}, tmp_path).spec, UserError)


@pytest.mark.parametrize(
    ("images", "lists"),
    [("img_align_celeba", "."), ("Img/img_align_celeba", "Anno"), ("img_align_celeba/img_align_celeba", ".")],
)
def test_exclusive_hair_colours(tmp_path, images, lists):
    source = celeba(tmp_path / "celeba", images=images, lists=lists)
    data = CelebA5(unpinned("celeba5"), tmp_path / "root")
    said = []
    data.prepare(source, said.append)
    assert data.class_counts == (6, 4, 3, 2, 2)
    assert any("17 images have exactly one hair colour: (6, 4, 3, 2, 2), largest / smallest 3.0" in s for s in said)
    train = data.train()
    for image, label, index in zip(train.images, train.labels, data.train_indices(), strict=True):
        assert FACES[index] == [data.class_names[label]]
        with Image.open(source / images / f"{index + 1:06d}.jpg") as opened:
            square = opened.crop((0, 20, 178, 198)).resize((64, 64), Image.Resampling.BICUBIC)
        assert np.array_equal(image, np.asarray(square).transpose(2, 0, 1))
    assert sorted(data.train_indices()) == [i for i, colours in enumerate(FACES) if len(colours) == 1]
    # the reference: as many of each class as the smallest has, out of the training images
    reference = data.reference_set()
    assert data.reference.class_counts == (2, 2, 2, 2, 2)
    assert reference.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    own = {image.tobytes() for image in train.images}
    assert all(image.tobytes() in own for image in reference.images)
    assert data.held_out() is None
    assert resolve({"dataset": "celeba5"}, tmp_path / "root").spec.class_counts == (6, 4, 3, 2, 2)
    assert_passed(check_made_dataset("celeba5", lambda: CelebA5(unpinned("celeba5"), tmp_path / "root")))


def test_the_reference_follows_the_shared_index_rule(tmp_path):
    source = celeba(tmp_path / "celeba")
    data = CelebA5(unpinned("celeba5"), tmp_path / "root")
    plan = data.plan(source, quiet)
    exclusive = [(i, colours[0]) for i, colours in enumerate(FACES) if len(colours) == 1]
    random, expected = np.random.RandomState(0), []
    for colour in data.class_names:
        positions = np.array([k for k, (_, own) in enumerate(exclusive) if own == colour])
        random.shuffle(positions)
        expected += [exclusive[k][0] for k in positions[:2]]
    assert plan.indices[:10].tolist() == expected


def test_counts_from_the_attribute_file_alone(tmp_path):
    (tmp_path / "celeba").mkdir()
    (tmp_path / "celeba" / "list_attr_celeba.txt").write_text(attribute_file())
    data = CelebA5(unpinned("celeba5"), tmp_path)
    assert data.class_counts == (6, 4, 3, 2, 2)
    assert data.reference.total == 10
    assert data.summary()["unknown"] is None
    assert data.missing_files()
    refused("needs .*img_align_celeba .missing.", data.fetch, MissingFileError)


def test_an_attribute_file_that_is_not_celebas(tmp_path):
    source = celeba(tmp_path / "celeba")
    listed = source / "list_attr_celeba.txt"
    good = attribute_file()

    def plan():
        return CelebA5(unpinned("celeba5"), tmp_path / "root").plan(source, quiet)

    third = good.splitlines()[2]
    for text, message in (
        ("", "it has no attribute Black_Hair|0 images"),
        (good.replace("20\n", "21\n", 1), "it has 20 images, not '21'"),
        (good.replace("Gray_Hair", "Grey_Hair"), "it has no attribute Gray_Hair"),
        (good.replace("000001.jpg", "../001.jpg"), "line 3: it is not '<image>.jpg' and 40 times 1 or -1"),
        (good.replace(third, third + " 1"), "line 3: "),
        (good.replace(third, third.replace("-1", " 0", 1)), "line 3: "),
        (good.replace("000002.jpg", "000001.jpg"), "names an image twice"),
        (attribute_file([["black"]] * 3), "has no image that is only brown"),
    ):
        listed.write_text(text)
        refused(message, plan)
    listed.write_text(good)
    real = CelebA5(load_source_manifest("celeba5"), tmp_path / "root")
    md5 = hashlib.md5(good.encode()).hexdigest()
    refused(f"is not the official file .md5 {md5}, not 75e246fa", lambda: real.plan(source, quiet))


def m2m(root, swap=False):
    """Lists like those of the M2m repository: their authors' paths in front, labels in the order of the attributes."""
    order = ["bald", "black", "blond", "brown", "gray"]
    prefix = "/home/somebody/data/CelebA/image64"
    # (image, colour); 6 is listed as bald and as gray, and 1 in two splits
    train = [
        (1, "black"),
        (4, "black"),
        (7, "black"),
        (2, "brown"),
        (8, "brown"),
        (5, "blond"),
        (6, "bald"),
        (6, "gray"),
    ]
    splits = {"train": train, "val": [(10, "black"), (14, "brown"), (12, "blond"), (9, "bald"), (11, "gray")],
              "test": [(1, "black"), (19, "brown"), (16, "blond"), (18, "bald"), (17, "gray")]}  # fmt: skip
    if swap:
        order[0], order[4] = order[4], order[0]
    for split, entries in splits.items():
        lines = [f"{prefix}/{i:06d}.jpg {order.index(colour)}\n" for i, colour in entries]
        (root / f"celebA_{split}_orig.txt").write_text("".join(lines))
    return train


def lists_data(root, **changes):
    facts = {"distinct_files": 16, "listed_twice": 2, "across_splits": 1}
    manifest = unpinned("celeba5-m2m", class_counts=(3, 2, 1, 1, 1), reference_per_class=2, facts=facts)
    return CelebA5M2M(dataclasses.replace(manifest, **changes), root)


def test_the_lists_of_kim_et_al(tmp_path):
    source = celeba(tmp_path / "celeba")
    train = m2m(source)
    data = lists_data(tmp_path / "root")
    said = []
    data.prepare(source, said.append)
    assert any("name 16 images, 2 of them twice and 1 in two splits; they are taken as they are" in s for s in said)
    assert data.facts() == {"distinct_files": 16, "listed_twice": 2, "across_splits": 1}
    assert [data.class_names[label] for label in data.train().labels] == [colour for _, colour in train]
    assert data.class_counts == (3, 2, 1, 1, 1)
    assert data.reference_set().counts(5).tolist() == [2] * 5
    held_out = data.held_out()
    assert held_out.counts(5).tolist() == [1, 2, 2, 2, 2]  # image 1 is trained on
    assert np.array_equal(held_out.images[0], data.reference_set().images[0])
    # the two labels of the image that is listed twice have the same pixels
    assert np.array_equal(data.train().images[6], data.train().images[7])
    assert_passed(check_made_dataset("celeba5-m2m", lambda: lists_data(tmp_path / "root")))


def test_known_facts_of_the_lists(tmp_path):
    data = load_dataset(DatasetConfig(name="celeba5-m2m"), tmp_path)
    assert dict(zip(data.class_names, data.class_counts, strict=True)) == {
        "black": 2423, "brown": 2078, "blond": 1499, "bald": 424, "gray": 227,
    }  # fmt: skip
    assert (data.total, data.reference.total) == (6651, 750)
    facts = data.manifest.facts
    assert facts["distinct_files"] + facts["listed_twice"] == 6651 + 250 + 500
    assert overlaps([["a", "b", "a"], ["a", "c"]]) == {"distinct_files": 3, "listed_twice": 1, "across_splits": 1}


def test_lists_with_another_meaning_are_found_out(tmp_path):
    source = celeba(tmp_path / "celeba")
    m2m(source, swap=True)
    refused(
        "images listed as bald are mostly gray in list_attr_celeba.txt",
        lambda: lists_data(tmp_path).plan(source, quiet),
    )
    (source / "list_attr_celeba.txt").unlink()
    said = []
    lists_data(tmp_path).plan(source, said.append)  # nothing to compare with: then it is said
    assert any("what the lists' labels mean is taken from the order of the attributes" in line for line in said)


def test_lists_that_do_not_fit(tmp_path):
    source = celeba(tmp_path / "celeba")
    m2m(source)
    refused(
        "have 2 listed twice, not 210", lambda: lists_data(tmp_path, facts={"listed_twice": 210}).plan(source, quiet)
    )
    listed = source / "celebA_val_orig.txt"
    good = listed.read_text()
    for old, new in (
        ("000010.jpg", "../../000010.jpg"), ("000010.jpg", "10.jpg"), ("000010.jpg", "passwd"),
        ("/home/", "/ho\x00me/"), ("000010.jpg 1", "000010.jpg 5"), ("000010.jpg 1", "000010.jpg"),
    ):  # fmt: skip
        listed.write_text(good.replace(old, new, 1))
        refused("celebA_val_orig.txt, line 1: ", lambda: lists_data(tmp_path).plan(source, quiet))
    listed.unlink()
    refused("needs .*celebA_val_orig.txt .missing.: get it from https://github.com/alinlab/M2m",
            lambda: lists_data(tmp_path).plan(source, quiet), MissingFileError)  # fmt: skip
