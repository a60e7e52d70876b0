"""Files from outside cannot hang, fill or break: each is one line, whatever it is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltgen_bench.core.errors import ConfigError, RecordError
from ltgen_bench.core.mappings import parse_overrides
from ltgen_bench.core.text_files import MAX_DEPTH, parse_json, parse_toml, read_bounded, read_text_bounded


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def nothing(path: Path) -> None:
    pass


def large(path: Path) -> None:
    path.write_bytes(b"x" * 101)


def broken_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (folder, "is not a plain file"),
        (pipe, "is not a plain file"),
        (device, "is not a plain file"),
        (nothing, "No such file"),
        (large, "more than the 100 bytes"),
        (broken_link, "No such file"),
        (loop, "Too many levels"),
    ],
)
def test_what_is_no_plain_file_is_one_line(tmp_path: Path, make, words: str) -> None:
    make(tmp_path / "file")
    with pytest.raises(ConfigError, match=words) as refused:
        read_bounded(tmp_path / "file", error=ConfigError, limit=100)
    assert "\n" not in str(refused.value)


def test_links_are_followed_only_where_the_caller_says_so(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "link").symlink_to(tmp_path / "text")
    assert read_bounded(tmp_path / "link", error=ConfigError) == b"hello"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_bounded(tmp_path / "link", error=ConfigError, follow_links=False)


def test_text_is_utf_8_and_a_mark_at_its_beginning_is_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfseed = 1\n")
    assert read_text_bounded(tmp_path / "text", error=ConfigError) == "seed = 1\n"
    (tmp_path / "text").write_bytes(b"\xff\xfes\x00")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read_text_bounded(tmp_path / "text", error=ConfigError)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_text_bounded(Path("a\0b"), error=ConfigError)


DEEP = 100_000
TOML = {
    "digits": "a = " + "9" * 5000,
    "fewer digits": "a = " + "9" * 400,
    "nested arrays": "a = " + "[" * DEEP + "]" * DEEP,
    "nested tables": "a = " + "{b=" * 2000 + "1" + "}" * 2000,
    "dotted keys": ".".join("a" * 300) + " = 1",
    "no TOML": "a = = 1",
    "twice": "a = 1\na = 2",
}
JSON = {
    "digits": '{"a": ' + "9" * 5000 + "}",
    "fewer digits": '{"a": ' + "9" * 400 + "}",
    "nested arrays": "[" * DEEP + "]" * DEEP,
    "nested objects": '{"a":' * 200 + "1" + "}" * 200,
    "not a number": '{"a": NaN}',
    "infinite": '{"a": -Infinity}',
    "twice": '{"a": 1, "a": 2}',
    "no JSON": "{",
}


FORMATS = [(parse_toml, text) for text in TOML.values()] + [(parse_json, text) for text in JSON.values()]


NAMES = [*(f"toml {name}" for name in TOML), *(f"json {name}" for name in JSON)]


@pytest.mark.parametrize(("parse", "text"), FORMATS, ids=NAMES)
def test_text_beyond_all_use_is_one_line(parse: Callable[..., object], text: str) -> None:
    with pytest.raises(ConfigError, match="the file") as refused:
        parse(text, "the file", error=ConfigError)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("value", ["9" * 5000, "9" * 400, "[" * 5000 + "]" * 5000, "{b=" * 100 + "1" + "}" * 100])
def test_values_on_the_command_line_too(value: str) -> None:
    with pytest.raises(ConfigError, match=r"training\.steps") as refused:
        parse_overrides([f"training.steps={value}"])
    assert len(str(refused.value)) < 200


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(), st.lists, max_leaves=20))
def test_json_of_some_size_is_read_as_it_is(value: object) -> None:
    assert parse_json(json.dumps(value), "x", error=RecordError) == value


def test_the_limit_of_depth_is_exact() -> None:
    good = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_json(good, "x", error=RecordError)
    with pytest.raises(RecordError, match="nested more than"):
        parse_json(f"[{good}]", "x", error=RecordError)
