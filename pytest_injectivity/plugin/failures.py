"""Gathers which tests failed and where.

Imported whenever tests run, with an audit or without: the standard library and pytest only.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_injectivity.plugin.properties import INTERRUPTED

if TYPE_CHECKING:
    from pytest_injectivity.results.outcome import FailedTest
    from pytest_injectivity.results.verdict import Verdict


class Failures:
    """Gathers the tests that fail from pytest's reports.

    Args:
        root: the folder that the names of tests are counted from.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._places: dict[str, tuple[int, str, int | None]] = {}
        self._wrong_use: dict[str, str] = {}

    def take(self, report: pytest.TestReport, at: int) -> None:
        """Remember where a test failed; ``at`` is its place among those collected."""
        if report.failed and not report.__dict__.get(INTERRUPTED, False):
            self._places.setdefault(report.nodeid, (at, *self._place(report)))

    def misused(self, nodeid: str, message: str) -> None:
        """Remember that what a test asked for cannot be done."""
        self._wrong_use.setdefault(nodeid, message)

    def tests(
        self, red_verdicts: "Callable[[str], tuple[Verdict, ...]]"
    ) -> "tuple[FailedTest, ...]":
        """The tests that failed, in the order they were collected in.

        Args:
            red_verdicts: the verdicts of a test, by its name, that are not PASS.
        """
        from pytest_injectivity.results.outcome import FailedTest

        ordered = sorted(self._places.items(), key=lambda item: item[1][0])
        return tuple(
            FailedTest(nodeid, path, line, red_verdicts(nodeid), self._wrong_use.get(nodeid, ""))
            for nodeid, (_, path, line) in ordered
        )

    def _place(self, report: pytest.TestReport) -> tuple[str, int | None]:
        """The line that failed if it is in the test's own file, else the test's first line."""
        name, line, _ = report.location
        path = self._root / name
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None and Path(crash.path) == path:
            return str(path), int(crash.lineno)
        return str(path), None if line is None else line + 1
