"""The preparation pass: killed and resumed, corrupt images, damage, locks, and how much memory it takes."""

import fcntl
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltgen_bench.core.errors import DataError, MissingFileError, StorageError
from ltgen_bench.datasets import prepared
from ltgen_bench.datasets.prepared import Plan, check_prepared, is_prepared, open_prepared, prepare


def quiet(line):
    pass


def picture(seed, size=(20, 16)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def make_plan(root, count, train=None):
    root.mkdir(exist_ok=True)
    names = [f"{i:05d}.png" for i in range(count)]
    for i, name in enumerate(names):
        if not (root / name).exists():
            picture(i).save(root / name)
    train = count - 2 if train is None else train
    labels = np.arange(count, dtype=np.int64) % 3
    files = [root / name for name in names]
    return Plan(names, files, labels, np.arange(count, dtype=np.int64), (0, train), (train, count), {"fact": 7})


@pytest.fixture
def blocks_of_four(monkeypatch):
    monkeypatch.setattr(prepared, "_BLOCK", 4)


def refused(message, act, kind=DataError):
    with pytest.raises(kind, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)


def expected(plan, size=8):
    """What Pillow alone makes of the files."""
    squares = [
        Image.open(file).crop((2, 0, 18, 16)).resize((size, size), Image.Resampling.BICUBIC) for file in plan.files
    ]
    return np.stack([np.asarray(square).transpose(2, 0, 1) for square in squares])


def test_pixels_parts_and_note(tmp_path, blocks_of_four):
    plan = make_plan(tmp_path / "images", 10)
    ticks = []
    assert not is_prepared(tmp_path / "out")
    prepare(plan, tmp_path / "out", 8, quiet, lambda done, total: ticks.append((done, total)))
    assert is_prepared(tmp_path / "out")
    assert ticks == [(0, 10), (4, 10), (8, 10), (10, 10)]
    found = open_prepared(tmp_path / "out")
    assert np.array_equal(found.images, expected(plan))
    assert isinstance(found.images, np.memmap)
    assert np.array_equal(found.labels[found.train], plan.labels[:8])
    assert (found.reference, found.note["facts"]) == (slice(8, 10), {"fact": 7})
    assert (tmp_path / "out" / "files.txt").read_text().split() == list(plan.names)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".lock", "files.txt", "images.json", "images.npy", "index.npz",
    ]  # fmt: skip
    assert [name for name, _ in check_prepared(tmp_path / "out")] == ["images.npy", "files.txt", "index.npz"]


def test_a_corrupt_image_is_named_and_the_rest_is_kept(tmp_path, blocks_of_four, monkeypatch):
    plan = make_plan(tmp_path / "images", 14)
    good = plan.files[9].read_bytes()
    plan.files[9].write_bytes(good[: len(good) // 2])
    refused("cannot read image .*00009.png: ", lambda: prepare(plan, tmp_path / "out", 8, quiet))
    assert not is_prepared(tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "progress.json").read_text())["blocks"]) == 2
    plan.files[9].write_bytes(good)
    decoded, said = [], []
    real = prepared.decode_checked
    monkeypatch.setattr(prepared, "decode_checked", lambda file, size: decoded.append(file.name) or real(file, size))
    prepare(plan, tmp_path / "out", 8, said.append)
    assert said == ["resuming after 8 of 14 images"]
    assert sorted(decoded) == list(plan.names[8:])
    assert np.array_equal(open_prepared(tmp_path / "out").images, expected(plan))
    prepare(plan, tmp_path / "out", 8, said.append)
    assert said[-1].endswith("is prepared already")
    assert len(decoded) == 6


@pytest.mark.parametrize("harm", ["flip", "cut", "more", "state", "gone"])
def test_what_was_left_damaged_is_done_again(tmp_path, blocks_of_four, harm):
    plan = make_plan(tmp_path / "images", 10)
    good = plan.files[8].read_bytes()
    plan.files[8].write_bytes(b"")
    refused("00008.png", lambda: prepare(plan, tmp_path / "out", 8, quiet))
    plan.files[8].write_bytes(good)
    partial, state = tmp_path / "out" / "images.partial.npy", tmp_path / "out" / "progress.json"
    data = bytearray(partial.read_bytes())
    if harm == "flip":
        data[len(data) - 3 * 192] ^= 1  # in the second block: the first one still counts
    if harm == "more":
        data += b"half a block that was cut off by a kill"
    partial.write_bytes(data[:-100] if harm == "cut" else data)
    if harm == "state":
        state.write_text('{"key": "')
    if harm == "gone":
        partial.unlink()
    said = []
    prepare(plan, tmp_path / "out", 8, said.append)
    first = {"flip": ["resuming after 4 of 10 images"], "cut": ["resuming after 4 of 10 images"],
             "more": ["resuming after 8 of 10 images"]}  # fmt: skip
    assert said == first.get(harm, [])
    assert np.array_equal(open_prepared(tmp_path / "out").images, expected(plan))


def test_another_plan_is_not_mixed_with_the_first(tmp_path, blocks_of_four):
    plan = make_plan(tmp_path / "images", 10)
    prepare(plan, tmp_path / "out", 8, quiet)
    other = make_plan(tmp_path / "images", 10, train=5)
    said = []
    prepare(other, tmp_path / "out", 8, said.append)
    assert said == []  # nothing of it is reused
    assert open_prepared(tmp_path / "out").reference == slice(5, 10)
    prepare(other, tmp_path / "out", 4, quiet)
    assert open_prepared(tmp_path / "out").images.shape == (10, 3, 4, 4)


def test_cut_off_between_the_last_renames(tmp_path, blocks_of_four, monkeypatch):
    plan = make_plan(tmp_path / "images", 10)

    def die(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepared.np, "savez", die)
        with pytest.raises(KeyboardInterrupt):
            prepare(plan, tmp_path / "out", 8, quiet)
    assert (tmp_path / "out" / "images.npy").exists()
    monkeypatch.setattr(prepared, "decode_checked", lambda *args: pytest.fail("decoded again"))
    prepare(plan, tmp_path / "out", 8, quiet)
    assert np.array_equal(open_prepared(tmp_path / "out").images, expected(plan))


CHILD = textwrap.dedent("""
    import sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_prepared import make_plan
    from ltgen_bench.datasets import prepared
    prepared._BLOCK = 4
    real = prepared.decode_checked
    def slow(file, size):
        import time
        time.sleep(0.05)
        return real(file, size)
    prepared.decode_checked = slow
    root = Path(sys.argv[1])
    prepared.prepare(make_plan(root / "images", 60), root / "out", 8, print, lambda done, total: None)
""")


def test_killed_and_resumed(tmp_path):
    """kill -9 in the middle, twice; the third start ends with the bytes of an unbroken one."""
    make_plan(tmp_path / "images", 60)
    script = CHILD.format(tests=str(Path(__file__).parent))
    state = tmp_path / "out" / "progress.json"
    done = 0
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                blocks = len(json.loads(state.read_text())["blocks"]) if state.exists() else 0
                if blocks >= done + 2:
                    break
                time.sleep(0.01)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert not is_prepared(tmp_path / "out")
        done = len(json.loads(state.read_text())["blocks"])
        assert done >= 2
    answer = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert f"resuming after {4 * done} of 60 images" in answer.stdout
    plan = make_plan(tmp_path / "images", 60)
    assert np.array_equal(open_prepared(tmp_path / "out").images, expected(plan))
    prepare(plan, tmp_path / "whole", 8, quiet)
    for name in ("images.npy", "files.txt", "index.npz"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("name", ["images.npy", "files.txt", "index.npz", "images.json"])
def test_later_damage_is_found(tmp_path, name):
    prepare(make_plan(tmp_path / "images", 5), tmp_path / "out", 8, quiet)
    path = tmp_path / "out" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    refused("prepare again", lambda: check_prepared(tmp_path / "out"))
    path.write_bytes(data[: len(data) // 2])
    refused("prepare again", lambda: check_prepared(tmp_path / "out"))


def test_writing_to_the_images_leaves_the_file_alone(tmp_path):
    prepare(make_plan(tmp_path / "images", 5), tmp_path / "out", 8, quiet)
    open_prepared(tmp_path / "out").images[:] = 0
    check_prepared(tmp_path / "out")


def test_two_at_a_time_and_missing_files(tmp_path):
    plan = make_plan(tmp_path / "images", 5)
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused("another process is preparing", lambda: prepare(plan, tmp_path / "out", 8, quiet), StorageError)
    plan.files[2].unlink()
    refused(r"00002.png is missing \(1 of 5 are\)", lambda: prepare(plan, tmp_path / "out", 8, quiet), MissingFileError)
    (tmp_path / "taken").write_text("")
    refused("cannot write", lambda: prepare(plan, tmp_path / "taken" / "out", 8, quiet), StorageError)


MEASURE = textwrap.dedent("""
    import resource, sys
    from pathlib import Path
    import numpy as np
    sys.path.insert(0, {tests!r})
    from ltgen_bench.datasets.prepared import Plan, prepare
    import PIL.Image
    root, count = Path(sys.argv[1]), int(sys.argv[2])
    file = root / "one.png"
    labels = np.zeros(count, np.int64)
    plan = Plan([f"{{i}}" for i in range(count)], [file] * count, labels, labels, (0, count), (0, count))
    prepare(plan, root / f"out{{count}}", 64, lambda line: None)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
""")


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """12 KB an image: 7,000 more of them are 86 MB on disk, and must not be in memory."""
    picture(0, (64, 64)).save(tmp_path / "one.png")
    script = MEASURE.format(tests=str(Path(__file__).parent))
    peak = {}
    for count in (1024, 8192):
        answer = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), str(count)], capture_output=True, text=True, check=True
        )
        peak[count] = int(answer.stdout) * (1 if sys.platform == "darwin" else 1024)
    assert (tmp_path / "out8192" / "images.npy").stat().st_size > 100e6
    assert peak[8192] - peak[1024] < 30e6  # two blocks of 12.6 MB and the allocator's slack
