"""Finding: result of one check, and the record of all of them."""

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
    """A model or setting that does not exist, so that nothing can be examined."""


class NotApplicable(Exception):  # it is no error
    """A check without anything to compare with; the message says why."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """Result of a check.

    Attributes:
        passed: True where all is as it should be.
        line: One line for people.
        numbers: Measurements, ready for JSON.
        value: Object that the check made, for the checks that follow.
    """

    passed: bool = True
    line: str
    numbers: Numbers = field(default_factory=dict)
    value: Any = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of a check with the check's name.

    Attributes:
        name: Name of the check.
        outcome: Status of the check, `not applicable` where there is nothing to compare with.
        line: One line for people.
        numbers: Measurements, ready for JSON.
        seconds: Duration of the check.
    """

    name: str
    outcome: Status
    line: str
    numbers: Numbers
    seconds: float

    def __str__(self) -> str:
        return f"{MARKS[self.outcome]} {self.name}: {self.line}"


class Record:
    """Findings in the order of their checks.

    Args:
        tell: Called with each finding.
    """

    def __init__(self, tell: Callable[[Finding], object]) -> None:
        self._tell = tell
        self.findings: list[Finding] = []

    @property
    def passed(self) -> bool:
        """True where no check failed."""
        return all(finding.outcome != FAILED for finding in self.findings)

    def note(self, name: str, check: Callable[..., CheckResult], *arguments: Any) -> Any:
        """Run a check and return its value; None where it has none. A check that raises has failed,
        and the others still run, except after BadUsage."""
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
    """The value. NotApplicable where it is None."""
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
