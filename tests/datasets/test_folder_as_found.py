"""Folders as people have them: leftovers, unused files, equal images, no tail."""

from folder_support import fill, load, picture, refused


def test_what_is_left_behind_is_skipped_and_what_is_not_used_is_counted(pets):
    for folder in ("__MACOSX", "cat/__MACOSX", ".ipynb_checkpoints", "dog/.ipynb_checkpoints", "@eaDir"):
        (pets / folder).mkdir()
        (pets / folder / "._000.png").write_bytes(b"resource fork")
    for name in ("Thumbs.db", "cat/Thumbs.db", "cat/desktop.ini", "cat/.DS_Store"):
        (pets / name).write_bytes(b"x")
    assert load(pets).remarks() == []
    assert load(pets).class_names == ("dog", "ant", "cat", "bee")
    (pets / "cat" / "moving.gif").write_bytes(b"GIF89a")
    (pets / "dog" / "moving.GIF").write_bytes(b"GIF89a")
    (pets / "dog" / "README").write_bytes(b"x")
    picture(1).save(pets / "stray.png")
    data = load(pets)
    assert data.remarks() == ["not used: 2 files (.gif), 1 file (no suffix), 1 image outside of class folders"]
    assert data.summary()["remarks"] == data.remarks()


def test_equal_images_are_counted_and_never_divided(tmp_path):
    root = fill(tmp_path / "pairs", {"a": 20, "b": 12})
    for i in range(10):  # every second image of a is its neighbour's copy; two of b's are a's
        (root / "a" / f"{2 * i + 1:03d}.png").write_bytes((root / "a" / f"{2 * i:03d}.png").read_bytes())
    (root / "b" / "000.png").write_bytes((root / "a" / "000.png").read_bytes())
    for seed in range(8):
        data = load(root, split_seed=seed, reference_fraction=0.4)
        train = {image.tobytes() for image in data.train().images}
        held = {image.tobytes() for image in data.reference_set().images}
        assert not train & held
        assert len(data.train()) + len(data.reference_set()) == 32
    assert data.remarks() == ["10 images occur more than once (21 files); 1 of them in several classes"]


def test_equal_images_on_both_sides_of_a_users_own_split_are_said(tmp_path):
    root, other = fill(tmp_path / "one", {"a": 6, "b": 5}), fill(tmp_path / "two", {"a": 6, "b": 5}, start=100)
    (other / "a" / "000.png").write_bytes((root / "a" / "000.png").read_bytes())
    (remark,) = load(root, reference_path=other).remarks()
    assert remark == "1 images occur more than once (2 files); 1 of them both in training and reference"


def test_a_class_of_equal_images_leaves_no_reference(tmp_path):
    root = fill(tmp_path / "same", {"a": 6, "b": 3})
    for i in (1, 2):
        (root / "b" / f"{i:03d}.png").write_bytes((root / "b" / "000.png").read_bytes())
    refused("b are equal to each other: a reference cannot be split off", lambda: load(root))


def test_a_balanced_folder_has_no_head_and_no_tail(tmp_path):
    data = load(fill(tmp_path / "even", {"a": 10, "b": 10, "c": 10}))
    assert data.groups.as_dict() == {"many": (), "medium": (), "few": ()}
    assert "no head and no tail" in data.groups.rule
    assert load(fill(tmp_path / "odd", {"a": 10, "b": 10, "c": 12})).groups.many
