"""Progress of long work, on stderr: a bar on a terminal, a line now and then in a log file or a batch job."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_LINE_EVERY = 10.0  # seconds between lines when stderr is not a terminal


class Progress:
    """What stages report to; this base class says nothing (the default in Python)."""

    def say(self, text: str) -> None:
        """Report one line of text."""

    def start(self, what: str, total: int, unit: str, done: int = 0) -> None:
        """Begin a task of `total` units of which `done` are done already (a resumed run)."""

    def update(self, done: int, note: str = "") -> None:
        """Report that `done` units of the current task are done; the last `note` is shown behind it."""

    def finish(self) -> None:
        """End the current task."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()


class TerminalProgress(Progress):
    """Bars on a terminal, lines elsewhere; every `say` also goes to `log_file` when one is set."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.log_file: Path | None = None
        self._bar: Any = None
        self._task: Any = None
        self._what, self._unit, self._total, self._note = "", "", 0, ""
        self._first_done, self._began, self._last_line = 0, 0.0, 0.0

    def say(self, text: str) -> None:
        """Print one line (above a running bar) and append it to the log file."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False)
        else:
            self.console.print(text, markup=False)
        self._log(text)

    def start(self, what: str, total: int, unit: str, done: int = 0) -> None:
        """Open a bar, or print the first line."""
        self.finish()
        self._what, self._unit, self._total, self._note = what, unit, total, ""
        self._first_done, self._began = done, time.monotonic()
        self._last_line = self._began
        if self.console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(unit),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=self.console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(what, total=total, completed=done, note="")
        else:
            resumed = f", resuming from {done}" if done else ""
            print(f"{what}: {total} {unit}{resumed}", file=sys.stderr, flush=True)
        self._log(f"{what}: {total} {unit}" + (f", resuming from {done}" if done else ""))

    def update(self, done: int, note: str = "") -> None:
        """Move the bar; without a terminal, print a line every ten seconds."""
        self._note = note or self._note
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=self._note)
        elif time.monotonic() - self._last_line >= _LINE_EVERY:
            self._last_line = time.monotonic()
            rate = (done - self._first_done) / max(1e-9, self._last_line - self._began)
            left = (self._total - done) / rate if rate > 0 else float("inf")
            print(
                f"{self._what}: {done}/{self._total} {self._unit}, {_clock(left)} left  {self._note}".rstrip(),
                file=sys.stderr,
                flush=True,
            )

    def finish(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._what:
            self._log(f"{self._what}: {time.monotonic() - self._began:.1f} s")
            self._what = ""

    def _log(self, text: str) -> None:
        if self.log_file is not None:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
            with self.log_file.open("a", encoding="utf-8") as file:
                file.write(f"{stamp} {text}\n")


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
