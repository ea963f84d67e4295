"""Records why a run stopped before all of its tests had run: a failure, a person, or broken test files.

Under pytest-xdist a run that ends at its first failure (``-x``) has the exception and the exit status
of a keyboard interrupt, and a worker that was interrupted looks like one that was lost.

Standard library and pytest only: it is imported whenever tests run.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

import pytest

from pytest_injectivity.plugin.properties import INTERRUPTED

_KEYBOARD = "keyboard-interrupt"  # pytest-xdist's word, also for ``pytest.exit`` in a worker
_DESELECTED = "injx_deselected"
_LEFT = "tests that had not run are not judged"


class Cause(Enum):
    """What stopped a run."""

    FAILURE = "a test failed, and the run was to stop then (-x, --maxfail, --stepwise)"
    INTERRUPTION = "a person, a test or another plugin ended the run"
    COLLECTION = "test files could not be collected"


class Stop(NamedTuple):
    """Why a run stopped: the cause, and a sentence for people."""

    cause: Cause
    sentence: str


class Stops:
    """Hooks that record what stopped a run and which workers were lost.

    Attributes:
        lost_workers: the workers that pytest-xdist lost.
        deselected: whether tests were deselected, here or in a worker.
    """

    def __init__(self) -> None:
        self.lost_workers: list[str] = []
        self.deselected = False
        self._collected = True
        self._failed = False
        self._worker_interrupted = False
        self._stop: Stop | None = None

    def of(self, session: pytest.Session) -> Stop | None:
        """Why the run stopped; None where all tests have run."""
        if self._stop is not None:
            return self._stop
        if not self._collected:  # under pytest-xdist such a run just ends
            return _uncollected("")
        return _at_failure(str(session.shouldfail)) if session.shouldfail else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Record a lost worker, which makes the run incomplete (a hook of pytest-xdist)."""
        self.deselected |= getattr(node, "workeroutput", {}).get(_DESELECTED, False)
        if error == _KEYBOARD:
            self._worker_interrupted = True
        elif error:
            self.lost_workers.append(str(node.gateway.id))

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, report: pytest.TestReport) -> None:
        """Mark the report of a test that was interrupted in a worker (a hook of pytest-xdist)."""
        if self._worker_interrupted:
            report.__dict__[INTERRUPTED] = True
            report.longrepr = "interrupted"

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Record that tests were deselected; a worker tells the main process at its end.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_deselected
        """
        self.deselected = True
        output: dict[str, object] = getattr(items[0].config, "workeroutput", {}) if items else {}
        output[_DESELECTED] = True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record whether all test files could be collected.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_collectreport
        """
        self._collected &= not report.failed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record whether a test failed.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtest_logreport
        """
        self._failed |= report.failed and not report.__dict__.get(INTERRUPTED, False)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Record why the run stops.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_keyboard_interrupt
        """
        error = excinfo.value
        # That of ``pytest.exit``, of pytest, pytest-xdist and plugins; Ctrl-C has none.
        message = str(getattr(error, "msg", None) or error)
        if self._worker_interrupted:
            self._stop = _interrupted("")
        elif isinstance(error, pytest.exit.Exception) or type(error) is KeyboardInterrupt:
            self._stop = _interrupted(message)
        elif not self._collected:
            self._stop = _uncollected(message)
        else:
            self._stop = _at_failure(message) if self._failed else _interrupted(message)


def _interrupted(message: str) -> Stop:
    told = f" ({message})" if message else ""
    return Stop(Cause.INTERRUPTION, f"the run was interrupted{told}: {_LEFT}")


def _uncollected(message: str) -> Stop:
    told = f" ({message})" if message else ""
    return Stop(Cause.COLLECTION, f"tests could not be collected{told}")


def _at_failure(message: str) -> Stop:
    return Stop(Cause.FAILURE, f"{message.rstrip('.')}: {_LEFT}")
