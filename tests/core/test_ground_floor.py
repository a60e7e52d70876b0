from __future__ import annotations

import errno
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltgen_bench.core.errors import ConfigError, PluginError, StorageError, UnknownNameError, did_you_mean
from ltgen_bench.core.plugins import load_plugin_file
from ltgen_bench.core.registry import Registry
from ltgen_bench.core.seeding import derive_seed, sample_seeds, uniform_labels
from ltgen_bench.core.storage import atomic_path, sha256_arrays, sha256_file, sha256_json, write_json, write_text


def test_an_error_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")

    def fail_midway() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_refusing_file_system_is_one_line(tmp_path: Path, number: int) -> None:
    path = tmp_path / "file.txt"
    with pytest.raises(StorageError) as error, atomic_path(path):
        raise OSError(number, "no")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not path.exists()


def test_a_folder_in_place_of_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="taken: a folder is in the way of a file"):
        write_text(tmp_path / "taken", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_hashes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc" * 100)
    assert sha256_file(path) == hashlib.sha256(b"abc" * 100).hexdigest()
    assert sha256_json({"b": 1, "a": [1.5]}) == hashlib.sha256(b'{"a":[1.5],"b":1}').hexdigest()
    rows = np.arange(60, dtype=np.uint8).reshape(5, 3, 4)
    assert sha256_arrays(x=rows) == sha256_arrays(x=np.asfortranarray(rows))
    assert sha256_arrays(x=rows) != sha256_arrays(x=rows.reshape(5, 4, 3))
    assert sha256_arrays(x=rows) != sha256_arrays(y=rows)
    assert sha256_arrays(x=rows) != sha256_arrays(x=rows.astype(np.int16))


def test_did_you_mean() -> None:
    assert did_you_mean("corall", ["coral", "cbdm"]) == "did you mean 'coral'?"
    assert did_you_mean("zzz", ["b", "a"]) == "known: a, b"
    assert did_you_mean("zzz", []) == "none is known"


def test_registry_is_lazy_and_refuses_a_taken_name() -> None:
    registry: Registry[object] = Registry(
        "thing", "ltgen_bench.no_such_group", {"maths": "math:pi", "broken": "no.module:x"}
    )
    assert registry.names() == ["broken", "maths"]
    assert registry.get("maths") == pytest.approx(3.14159, abs=1e-5)
    with pytest.raises(UnknownNameError, match=r"unknown thing 'math'; did you mean 'maths'\?"):
        registry.get("math")
    with pytest.raises(PluginError, match=r"thing 'broken' cannot be loaded from no\.module:x"):
        registry.get("broken")

    @registry.register("mine")
    class Mine:
        pass

    assert registry.get("mine") is Mine
    with pytest.raises(ConfigError, match="thing 'mine' is registered already"):
        registry.register("mine")(object())


def test_a_plugin_file_is_imported_once_by_path(tmp_path: Path) -> None:
    plugin = tmp_path / "my_method.py"
    plugin.write_text("from dataclasses import dataclass\n\n@dataclass\nclass A:\n    x: int = 3\n")
    module = load_plugin_file(plugin)
    assert module.A().x == 3
    assert module.__name__ in sys.modules
    with pytest.raises(ConfigError, match="is not one"):
        load_plugin_file(tmp_path / "absent.py")


@given(
    st.lists(st.integers() | st.text(), min_size=1, max_size=4),
    st.lists(st.integers() | st.text(), min_size=1, max_size=4),
)
def test_seeds_differ_exactly_when_their_parts_do(a: list[int | str], b: list[int | str]) -> None:
    assert 0 <= derive_seed(*a) < 2**63
    if not any("\x1f" in part for part in [*a, *b] if isinstance(part, str)):
        assert (derive_seed(*a) == derive_seed(*b)) == (a == b)


def test_labels_are_uniform_and_do_not_depend_on_their_number() -> None:
    labels = uniform_labels(50_000, 10, seed=0)
    assert np.array_equal(labels[:77], uniform_labels(77, 10, seed=0))
    assert not np.array_equal(labels, uniform_labels(50_000, 10, seed=1))
    counts = np.bincount(labels, minlength=10)
    # chi-squared with 9 degrees of freedom exceeds 33.7 once in 10,000 draws; the seed is fixed
    assert ((counts - 5000) ** 2 / 5000).sum() < 33.7
    assert len(set(sample_seeds(0, range(1000)))) == 1000
    assert sample_seeds(0, range(5, 8)) == sample_seeds(0, range(10))[5:8]


def test_a_written_json_is_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "x.json", {"ü": [1, None]})
    assert json.loads((tmp_path / "a" / "x.json").read_text(encoding="utf-8")) == {"ü": [1, None]}
    assert (tmp_path / "a" / "x.json").stat().st_mode & 0o400


def test_lines_without_a_terminal_keep_the_last_note(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    """Loss and rate are known now and then, and every line has them."""
    from ltgen_bench.core import progress

    monkeypatch.setattr(progress, "_LINE_EVERY", 0.0)
    shown = progress.TerminalProgress()
    shown.start("training", 100, "steps")
    shown.update(10, "diffusion 0.12  900 images/s")
    shown.update(20)
    shown.start("sampling", 10, "images")
    shown.update(5)
    lines = capfd.readouterr().err.splitlines()
    assert "10/100" in lines[1]
    assert lines[2].startswith("training: 20/100 steps, ")
    assert lines[2].endswith("left  diffusion 0.12  900 images/s")
    assert lines[4].endswith("left")
