"""A file by its address, size and sha256, whatever the server says.

Size and hash are known beforehand, from the submission. Not a byte more than the size is taken, the hash is computed
while the bytes come, and the file gets its name only when both are right. What came before a connection broke is kept
and continued. https is read here, with redirects to https only; s3 and hf go through fsspec.
"""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ltgen_bench.core.errors import DataError, MissingExtraError, MissingFileError
from ltgen_bench.core.storage import sha256_file, storage_errors

SCHEMES = ("https", "s3", "hf")
MOST_BYTES = 64 << 30
_BLOCK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte
_ATTEMPTS = 4  # each goes on where the last one broke
_MOST_REDIRECTS = 5


@dataclass(frozen=True)
class RemoteFile:
    """Where a file is, and what it has to be."""

    url: str
    size: int  # bytes
    sha256: str


def fetch_remote(
    remote: RemoteFile,
    folder: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    schemes: tuple[str, ...] = SCHEMES,
    timeout: float = _TIMEOUT,
) -> Path:
    """The file in `folder`, under its sha256; one that is there and right is not fetched again.

    Raises MissingFileError for a server that does not answer or breaks off, DataError for another scheme, for a size
    beyond `MOST_BYTES`, and for a file that is larger, smaller or another one than was said (which is deleted).
    """
    scheme = urllib.parse.urlsplit(remote.url).scheme
    if scheme not in schemes:
        raise DataError(f"{remote.url}: addresses begin with {', '.join(f'{name}://' for name in schemes)}")
    if not 0 < remote.size <= MOST_BYTES:
        raise DataError(f"{remote.url}: {remote.size:,} bytes; at most {MOST_BYTES:,} are fetched")
    target, partial = folder / remote.sha256, folder / f"{remote.sha256}.partial"
    if target.is_file() and target.stat().st_size == remote.size and sha256_file(target) == remote.sha256:
        return target
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    problem = ""
    for _ in range(_ATTEMPTS):
        try:
            _continue(remote, partial, progress, schemes, timeout)
        except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
            problem = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, urllib.error.HTTPError):
                error.close()
                if error.code < 500:
                    break
        else:
            with storage_errors(target):
                partial.replace(target)
            return target
    raise MissingFileError(f"{remote.url} cannot be fetched ({problem[:200]}); the same command goes on")


def _continue(
    remote: RemoteFile,
    partial: Path,
    progress: Callable[[int, int], None] | None,
    schemes: tuple[str, ...],
    timeout: float,
) -> None:
    digest, done = hashlib.sha256(), 0
    if partial.is_file():
        with partial.open("rb") as known:
            while block := known.read(_BLOCK):
                digest.update(block)
                done += len(block)
    if done > remote.size:
        partial.unlink()
        digest, done = hashlib.sha256(), 0
    if done < remote.size:
        with _opened(remote, done, schemes, timeout) as (stream, start), partial.open("ab" if start else "wb") as file:
            if not start:
                digest, done = hashlib.sha256(), 0
            while done <= remote.size and (block := stream.read(min(_BLOCK, remote.size - done + 1))):
                digest.update(block)
                done += len(block)
                file.write(block)
                if progress is not None:
                    progress(min(done, remote.size), remote.size)
    if done > remote.size:
        partial.unlink()
        raise DataError(f"{remote.url} is larger than the {remote.size:,} bytes that were said")
    if done < remote.size:
        raise ConnectionError(f"it ended after {done:,} of {remote.size:,} bytes")
    if digest.hexdigest() != remote.sha256:
        partial.unlink()
        raise DataError(
            f"{remote.url} is another file: sha256 {digest.hexdigest()[:12]}..., not {remote.sha256[:12]}..."
        )


@contextmanager
def _opened(
    remote: RemoteFile, start: int, schemes: tuple[str, ...], timeout: float
) -> Iterator[tuple[IO[bytes], int]]:
    """A stream of the file from `start` on, or from 0 where the server does not know parts, and which of them."""
    if urllib.parse.urlsplit(remote.url).scheme in ("s3", "hf"):
        with _filesystem_file(remote.url) as stream:
            stream.seek(start)
            yield stream, start
        return
    request = urllib.request.Request(remote.url, headers={"User-Agent": "ltgen-bench", "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.build_opener(_Redirects(schemes)).open(request, timeout=timeout) as answer:
        if answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            yield answer, start
            return
        length = answer.headers.get("Content-Length")
        if length is not None and length.isdigit() and int(length) > remote.size:
            raise DataError(f"{remote.url} is {int(length):,} bytes, and {remote.size:,} were said")
        yield answer, 0


def _filesystem_file(url: str) -> Any:
    try:
        import fsspec

        return fsspec.open(url, "rb", block_size=_BLOCK)
    except ImportError as error:
        raise MissingExtraError(f"{url} needs {error.name}: pip install {error.name}") from None
    except ValueError as error:  # fsspec's word for a filesystem whose package is not installed
        raise MissingExtraError(f"{url}: {' '.join(str(error).split())[:200]}") from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, and none to another scheme."""

    max_redirections = _MOST_REDIRECTS

    def __init__(self, schemes: tuple[str, ...]):
        self._schemes = schemes

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The next request; raises DataError for another scheme."""
        if urllib.parse.urlsplit(newurl).scheme not in self._schemes:
            fp.close()
            raise DataError(f"{req.full_url} sends on to {newurl[:200]!r}, which is no https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
