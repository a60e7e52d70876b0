"""A list of checks that are run one after the other, and what each of them found."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from ltgen_bench.core.errors import UserError
from ltgen_bench.core.plugins import author_code, in_one_line

_T = TypeVar("_T")


class Outcome(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class CheckResult:
    """One check of one plug-in."""

    subject: str  # what was checked, such as "method min-snr"
    check: str  # what should hold
    outcome: Outcome
    why: str = ""  # one line where it failed or was skipped
    traceback: str = ""  # of the exception behind a failure


class CheckFailedError(UserError):
    """What should hold does not."""


class Skipped(UserError):  # noqa: N818  # nothing went wrong
    """The check says nothing about this plug-in; the text says why."""


@dataclass(frozen=True)
class PluginCheck(Generic[_T]):
    """A statement and the function that raises CheckFailedError, or anything else, where it does not hold."""

    statement: str
    function: Callable[[_T], None]
    essential: bool = False  # nothing after it can be checked where it fails


def expect(condition: bool, message: str) -> None:
    """Raise CheckFailedError with this line unless the condition holds."""
    if not condition:
        raise CheckFailedError(message)


class Checklist(Generic[_T]):
    """Runs checks on one plug-in and keeps their results.

    `owner` is the class or function whose author's code runs in them. Once an essential check has not passed, `blocked`
    names it, and all others are skipped.
    """

    def __init__(self, subject: str, owner: Any, thing: _T):
        self.subject, self.owner, self.thing = subject, owner, thing
        self.results: list[CheckResult] = []
        self.blocked = ""

    def run(self, checks: Sequence[PluginCheck[_T]]) -> list[CheckResult]:
        """Run more checks; returns all results."""
        for check in checks:
            if self.blocked:
                self._add(check, Outcome.SKIPPED, f"needs {self.blocked!r}")
                continue
            self._run(check)
            if check.essential and self.results[-1].outcome is not Outcome.PASSED:
                self.blocked = check.statement
        return self.results

    def _run(self, check: PluginCheck[_T]) -> None:
        try:
            with author_code(self.owner, "its code"):
                check.function(self.thing)
        except Skipped as skipped:
            self._add(check, Outcome.SKIPPED, str(skipped))
        except UserError as error:
            self._add(check, Outcome.FAILED, " ".join(str(error).split()), error)
        except Exception as error:  # an error of ours, or out of memory: say so and continue
            self._add(check, Outcome.FAILED, in_one_line(error), error)
        else:
            self._add(check, Outcome.PASSED)

    def _add(self, check: PluginCheck[_T], outcome: Outcome, why: str = "", error: BaseException | None = None) -> None:
        trace = "" if error is None else "".join(traceback.format_exception(error))
        self.results.append(CheckResult(self.subject, check.statement, outcome, why, trace))
