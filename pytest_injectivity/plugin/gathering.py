"""Gathers the tests' findings of a run, in the one process that reports.

Findings are kept as text and parsed at the end of the run, so that a run without an audit imports no
code to parse them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_injectivity.plugin.failures import Failures
from pytest_injectivity.plugin.properties import AT, OF_MODEL, PREFIX, VERDICT, WRONG_USE
from pytest_injectivity.results.told import Told

if TYPE_CHECKING:
    from pytest_injectivity.results.outcome import FailedTest
    from pytest_injectivity.results.run_results import RunResults

_LAST = 10**9


class Gathering:
    """The findings in the reports of tests, in the order of the collected tests.

    Args:
        root: the folder that the names of tests are counted from.

    Attributes:
        said: sentences a person should see, beside those of tests.
        used: the options whose values tests have used.
        skipped: whether a test was skipped.
    """

    def __init__(self, root: Path) -> None:
        self.said: list[str] = []
        self.used: set[str] = set()
        self.skipped = False
        self._told: list[Told] = []
        # Of a test that ran several times the verdicts of the last attempt count.
        self._verdicts: dict[str, list[Told]] = {}
        self._wrong_use: list[tuple[int, str]] = []
        self._told_in: dict[str, str] = {}
        self._failures = Failures(root)

    @property
    def compared(self) -> bool:
        """Whether anything was measured or judged."""
        measured = any(one.kind not in ("run", "said") for one in self._told)
        return measured or any(self._verdicts.values())

    @property
    def anything(self) -> bool:
        """Whether there is something that a person should see."""
        return self.compared or bool(self.said) or any(one.kind == "said" for one in self._told)

    @property
    def wrong_use(self) -> tuple[str, ...]:
        """Messages about what could not be done, each once, in the order of the tests."""
        return tuple(dict.fromkeys(message for _, message in sorted(self._wrong_use)))

    def misused(self, message: str, at: int = -1) -> None:
        """Add a message about something that was asked for and cannot be done."""
        self._wrong_use.append((at, message))

    def take(self, report: pytest.TestReport) -> None:
        """Gather what the report of a phase of a test says."""
        at = int(report.__dict__.get(AT, _LAST))
        for name, text in report.user_properties:
            if name == WRONG_USE:
                self.misused(str(text), at)
                self._failures.misused(report.nodeid, str(text))
                self._tell_once(report, str(text))
        if report.when == "teardown":  # it carries the properties of the phases before
            found = [
                _told(at, str(name).removeprefix(PREFIX), str(text))
                for name, text in report.user_properties
                if str(name).startswith(PREFIX)
            ]
            verdict = VERDICT.removeprefix(PREFIX)
            self.used.update(one.text for one in found if one.kind == "used")
            self._told += [one for one in found if one.kind not in (verdict, "wrong_use", "used")]
            self._verdicts[report.nodeid] = [one for one in found if one.kind == verdict]
        self.skipped |= report.skipped and not hasattr(report, "wasxfail")
        self._failures.take(report, at)

    def _tell_once(self, report: pytest.TestReport, message: str) -> None:
        """Shorten what a test says, if another one has said the same of the same wrong use.

        A layer is an argument of the test itself, whose line is of interest.
        """
        if message.startswith("LayerError"):
            return
        first = self._told_in.setdefault(message, report.nodeid)
        if first != report.nodeid:
            report.longrepr = f"{message.partition(':')[0]}: the same as in {first}"

    def failed_tests(self) -> "tuple[FailedTest, ...]":
        """The tests that failed so far, each with its verdicts that are not PASS."""
        from pytest_injectivity.core.strict_json import loads
        from pytest_injectivity.results.verdict import Verdict

        def red(nodeid: str) -> "Iterator[Verdict]":
            for one in self._verdicts.get(nodeid, ()):
                if not (verdict := loads(Verdict, one.text, "verdict")).passed:
                    yield verdict

        return self._failures.tests(lambda nodeid: tuple(red(nodeid)))

    def results(self) -> "RunResults":
        """Everything that was gathered."""
        from dataclasses import replace

        from pytest_injectivity.results.run_results import gather

        verdicts = [one for told in self._verdicts.values() for one in told]
        found = gather([*self._told, *verdicts])
        said = tuple(dict.fromkeys([*found.said, *self.said]))
        return replace(found, said=said, wrong_use=self.wrong_use)


def _told(at: int, name: str, text: str) -> Told:
    kind, _, model = name.partition(OF_MODEL)
    return Told(at, kind, text, model)
