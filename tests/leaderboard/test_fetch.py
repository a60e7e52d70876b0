"""Fetching from servers that lie, break off, redirect and stall."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from ltgen_bench.core.errors import DataError, MissingFileError
from ltgen_bench.leaderboard.exchange.fetch import MOST_BYTES, RemoteFile, fetch_remote

CONTENT = bytes(range(256)) * 9000  # 2.3 MB: several blocks
SHA = hashlib.sha256(CONTENT).hexdigest()


class Hostile(BaseHTTPRequestHandler):
    """What it does is said by the path."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        kind = self.path.strip("/").split("?")[0]
        self.asked.append((kind, self.headers.get("Range")))
        if kind in ("to-file", "to-ftp", "round"):
            self.send_response(302)
            target = {"to-file": "file:///etc/passwd", "to-ftp": "ftp://127.0.0.1/x", "round": "/round"}[kind]
            self.send_header("Location", target)
            self.end_headers()
            return
        if kind in ("404", "500"):
            self.send_error(int(kind))
            return
        body, start = CONTENT, 0
        part = self.headers.get("Range")
        if part and kind in ("good", "breaks"):
            start = int(part.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        body = body[start:]
        if kind == "other":
            body = b"x" * len(body)
        if kind in ("says-more", "endless"):
            body = body + b"more"
        if kind == "says-more" or kind not in ("endless", "breaks"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "stalls":
            self.wfile.write(body[:1000])
            self.wfile.flush()
            time.sleep(3)
            return
        if kind == "breaks" or kind == "breaks-without-parts":
            body = body[:1_000_000]
        try:
            while body:
                self.wfile.write(body[:65536])
                body = body[65536:] if kind != "endless" else (body[65536:] or b"y" * 65536)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Hostile.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def get(server: str, kind: str, folder: Path, size: int = len(CONTENT), sha: str = SHA) -> Path:
    return fetch_remote(RemoteFile(f"{server}/{kind}", size, sha), folder, schemes=("http",), timeout=1.0)


def test_a_good_server(server: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch_remote(
        RemoteFile(f"{server}/good", len(CONTENT), SHA), tmp_path, schemes=("http",), progress=lambda *n: seen.append(n)
    )
    assert path == tmp_path / SHA
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    get(server, "good", tmp_path)
    assert len(Hostile.asked) == 1  # what is there and right is not fetched again
    path.write_bytes(CONTENT[:-1] + b"!")
    assert get(server, "good", tmp_path).read_bytes() == CONTENT


def test_a_server_that_breaks_off_is_asked_for_the_rest(server: str, tmp_path: Path) -> None:
    assert get(server, "breaks", tmp_path).read_bytes() == CONTENT
    assert [part for _, part in Hostile.asked] == [None, "bytes=1000000-", "bytes=2000000-"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [SHA]


def test_what_came_is_kept_for_the_next_command(server: str, tmp_path: Path) -> None:
    (tmp_path / f"{SHA}.partial").write_bytes(CONTENT[:500_000])
    get(server, "good", tmp_path)
    assert Hostile.asked == [("good", "bytes=500000-")]
    # a part that is not of this file ends in another hash, and is not kept
    (tmp_path / SHA).unlink()
    (tmp_path / f"{SHA}.partial").write_bytes(b"?" * 500_000)
    with pytest.raises(DataError, match="is another file"):
        get(server, "good", tmp_path)
    assert get(server, "good", tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("other", DataError, "is another file: sha256"),
        ("says-more", DataError, r"is 2,304,004 bytes, and 2,304,000 were said"),
        ("endless", DataError, "is larger than the 2,304,000 bytes that were said"),
        ("to-file", MissingFileError, "Redirection to url 'file:///etc/passwd' is not allowed"),
        ("to-ftp", DataError, "sends on to 'ftp:"),
        ("round", MissingFileError, "cannot be fetched"),
        ("404", MissingFileError, "404"),
        ("500", MissingFileError, "500"),
        ("stalls", MissingFileError, "cannot be fetched"),
        ("breaks-without-parts", MissingFileError, "cannot be fetched"),
    ],
)
def test_hostile_servers(kind: str, error: type[Exception], message: str, server: str, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(error, match=message) as caught:
        get(server, kind, tmp_path)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 30
    assert not (tmp_path / SHA).exists()
    left = tmp_path / f"{SHA}.partial"
    assert not left.exists() or left.stat().st_size <= len(CONTENT)


@pytest.mark.parametrize("url", ["http://x/y", "file:///etc/passwd", "ftp://x", "/etc/passwd", "https"])
def test_other_schemes_are_refused_before_anything(url: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="addresses begin with https://"):
        fetch_remote(RemoteFile(url, 10, SHA), tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("size", [0, -1, MOST_BYTES + 1])
def test_sizes_beyond_reason_are_refused(size: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at most"):
        fetch_remote(RemoteFile("https://x/y", size, SHA), tmp_path)


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="cannot be fetched"):
        fetch_remote(RemoteFile("http://127.0.0.1:9/x", 10, SHA), tmp_path, schemes=("http",), timeout=0.5)
