"""The processes that run a suite here, so that they can be stopped from elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from ltgen_bench.core.storage import is_locked, locked_folder


@contextlib.contextmanager
def starter(folder: Path) -> Iterator[None]:
    """Say that this process runs the suite in `folder`; several may."""
    own = folder / "starters" / str(os.getpid())
    with locked_folder(own, f"another process is called {os.getpid()}"):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                for file in own.iterdir():
                    file.unlink()
                own.rmdir()


def stop_starters(folder: Path) -> list[int]:
    """Stop every process that runs the suite in `folder` here, as Ctrl-C would; returns their numbers.

    By SIGTERM, which the command treats alike: what a script starts in the background does not hear SIGINT.
    """
    stopped = []
    for own in sorted((folder / "starters").glob("*")):
        if own.name.isdigit() and is_locked(own):  # a number alone may be another process by now
            os.kill(int(own.name), signal.SIGTERM)
            stopped.append(int(own.name))
    return stopped
