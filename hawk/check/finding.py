"""Finding: what one check found, and the record of all of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

PASSED, FAILED, ABSENT = "passed", "failed", "not applicable"
Status = Literal["passed", "failed", "not applicable"]
Numbers = dict[str, Any]
MARKS = {PASSED: "ok ", FAILED: "BAD", ABSENT: "-- "}
T = TypeVar("T")


class BadUsage(ValueError):  # as typer calls it
    """What was asked for is not there, so that nothing can be examined."""


class NotApplicable(Exception):  # it is no error
    """There is nothing to compare with; the message says why."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What a check says.

    Attributes:
        passed: whether all is as it should be.
        line: one line for people.
        numbers: what was measured, ready for JSON.
        value: what was made, for the checks that follow.
    """

    passed: bool = True
    line: str
    numbers: Numbers = field(default_factory=dict)
    value: Any = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An answer with its name.

    Attributes:
        name: of the check.
        outcome: `not applicable` where there is nothing to compare with; `line` says why.
        line, numbers: as in `CheckResult`.
        seconds: that the check took.
    """

    name: str
    outcome: Status
    line: str
    numbers: Numbers
    seconds: float

    def __str__(self) -> str:
        return f"{MARKS[self.outcome]} {self.name}: {self.line}"


class Record:
    """Findings in the order in which they were made.

    Args:
        tell: called with each.
    """

    def __init__(self, tell: Callable[[Finding], object]) -> None:
        self._tell = tell
        self.findings: list[Finding] = []

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(finding.outcome != FAILED for finding in self.findings)

    def note(self, name: str, check: Callable[..., CheckResult], *arguments: Any) -> Any:
        """Run a check, and return what it made; None where it could not. A check that raises has
        failed, and leaves the others to be run; but for BadUsage."""
        started = time.perf_counter()
        try:
            answer = check(*arguments)
            outcome: Status = PASSED if answer.passed else FAILED
        except BadUsage:
            raise
        except NotApplicable as reason:
            answer, outcome = CheckResult(line=str(reason)), ABSENT
        except Exception as error:  # noqa: BLE001  # whatever it is, it belongs into the report
            answer, outcome = CheckResult(line=_sentence(error)), FAILED
        finding = Finding(
            name=name,
            outcome=outcome,
            line=private(answer.line),
            numbers=answer.numbers,
            seconds=round(time.perf_counter() - started, 2),
        )
        self.findings.append(finding)
        self._tell(finding)
        return answer.value


def required(value: T | None, why: str) -> T:
    """The value. NotApplicable where there is none."""
    if value is None:
        raise NotApplicable(why)
    return value


def private(text: str) -> str:
    """A text without the name of the user's home."""
    return text.replace(str(Path.home()), "~")


def _sentence(error: Exception) -> str:
    """The first line of an error; where it is not meant for users, with its type."""
    first = str(error).strip().partition("\n")[0]
    return first if isinstance(error, ValueError) and first else f"{type(error).__name__}: {first}"
