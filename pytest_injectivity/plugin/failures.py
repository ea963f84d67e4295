"""Gathers which tests failed, where, and by which verdicts.

Imported on every start of pytest: the standard library, pytest and nothing that takes time.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_injectivity.results.outcome import FailedTest

_GREEN = "PASS"


class Failures:
    """Gathers the tests that fail from pytest's reports.

    Args:
        root: the folder that the names of tests are counted from.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._places: dict[str, tuple[str, int | None]] = {}
        self._wrong_use: dict[str, str] = {}
        self._verdicts: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)

    def take(self, report: pytest.TestReport) -> None:
        """Remember where a test failed."""
        if report.failed:
            self._places.setdefault(report.nodeid, self._place(report))

    def misused(self, nodeid: str, message: str) -> None:
        """Remember that what a test asked for cannot be done."""
        self._wrong_use.setdefault(nodeid, message)

    def judged(self, nodeid: str, verdict: Mapping[str, Any]) -> None:
        """Remember a verdict that a test was given."""
        if verdict["status"] != _GREEN:
            self._verdicts[nodeid].append(verdict)

    @property
    def tests(self) -> "tuple[FailedTest, ...]":
        """The tests that failed, in the order they did."""
        from pytest_injectivity.results.outcome import FailedTest

        return tuple(
            FailedTest(
                nodeid,
                path,
                line,
                tuple(self._verdicts.get(nodeid, ())),
                self._wrong_use.get(nodeid, ""),
            )
            for nodeid, (path, line) in self._places.items()
        )

    def _place(self, report: pytest.TestReport) -> tuple[str, int | None]:
        """The line that failed if it stands in the test's own file, else the test's first."""
        name, line, _ = report.location
        path = self._root / name
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None and Path(crash.path) == path:
            return str(path), int(crash.lineno)
        return str(path), None if line is None else line + 1
