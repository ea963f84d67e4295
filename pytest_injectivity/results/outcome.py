"""How a run ended: green or red, and why. The same plain data for every report.

Standard library only.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from pytest_injectivity.results.verdict import Verdict

NOT_ASSERTED = "What is not PASS was not asserted, or was expected to fail."
"""What every report says of a green run with verdicts that are not PASS."""

_BROKEN_OFF = {
    2: "the run was interrupted, or its tests could not be collected",
    3: "pytest ended with an internal error",
}
# A report has verdicts and wrong use already, and no path of this machine.
_NOT_IN_JSON = {"json": False}
_WITHOUT_A_FAILURE = {4: "pytest was used wrongly", 5: "no test was collected"}


@dataclass(frozen=True)
class FailedTest:
    """A test that failed.

    Attributes:
        nodeid: its name.
        path: of its file.
        line: in that file, from 1: where it failed, or where the test begins; None: not known.
        verdicts: those of its verdicts that are not PASS; empty where it failed for a reason of its
            own.
        wrong_use: the message, where what it asked for cannot be done.
    """

    nodeid: str
    path: str = field(default="", metadata=_NOT_IN_JSON)
    line: int | None = None
    verdicts: tuple[Verdict, ...] = field(default=(), metadata=_NOT_IN_JSON)
    wrong_use: str = field(default="", metadata=_NOT_IN_JSON)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        exit_status: pytest's.
        incomplete: what only the end of a run can tell, a sentence each: a worker was lost, nothing
            was compared, the run was interrupted.
        interrupted: whether a person, a test or another plugin ended it before all tests had run.
        wrong_use: messages about what could not be done.
        failed: the tests that failed.
        command: a command line that repeats the run.
    """

    derived: ClassVar = ("colour", "why")

    exit_status: int
    incomplete: tuple[str, ...] = ()
    wrong_use: tuple[str, ...] = field(default=(), metadata=_NOT_IN_JSON)
    failed: tuple[FailedTest, ...] = ()
    command: str = "pytest"
    interrupted: bool = False

    @property
    def red(self) -> bool:
        """Whether the run is anything but green."""
        return self.exit_status != 0

    @property
    def colour(self) -> str:
        """``red`` or ``green``."""
        return "red" if self.red else "green"

    @property
    def ended(self) -> str:
        """``red``, ``green`` or ``interrupted``."""
        return "interrupted" if self.interrupted else self.colour

    @property
    def why(self) -> tuple[str, ...]:
        """Why the run is red, a sentence each; empty where it is green."""
        if not self.red:
            return ()
        judged = [bool(test.verdicts) for test in self.failed if not test.wrong_use]
        gates, others = judged.count(True), judged.count(False)
        counted = [_count(gates, "gate failed", "gates failed")] if gates else []
        counted += [_count(others, "other test failed", "other tests failed")] if others else []
        said = [*self.incomplete, *self.wrong_use]
        said += [", ".join(counted)] if counted else []
        if self.exit_status in _BROKEN_OFF and not self.incomplete:
            said.append(_BROKEN_OFF[self.exit_status])
        return tuple(said) or (_WITHOUT_A_FAILURE.get(self.exit_status, "a test failed"),)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
