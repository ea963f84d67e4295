"""What stopped a run: a failure, a person, or broken test files."""

from typing import Any, NamedTuple

import pytest

from pytest_injectivity.plugin.properties import INTERRUPTED
from pytest_injectivity.plugin.stops import Cause, Stop, Stops


class XdistInterrupted(KeyboardInterrupt):
    """As pytest-xdist's, which stands for any end before the last test."""


class Session(NamedTuple):
    """What is read of pytest's session."""

    shouldfail: str | bool = False


class Gateway(NamedTuple):
    """A worker's connection."""

    id: str


class Node(NamedTuple):
    """A worker."""

    gateway: Gateway = Gateway("gw1")
    output: dict[str, object] = {}  # noqa: RUF012 - read only

    @property
    def workeroutput(self) -> dict[str, object]:
        """What the worker leaves."""
        return self.output


def _report(*, failed: bool) -> pytest.TestReport:
    outcome: Any = "failed" if failed else "passed"
    return pytest.TestReport("t.py::t", ("t.py", 1, "t"), {}, outcome, None, "call")


def _collected(*, failed: bool) -> pytest.CollectReport:
    return pytest.CollectReport("t.py", "failed" if failed else "passed", None, [])


def _ended(error: BaseException, stops: Stops) -> Stop:
    """Why a run stops that ends with an exception."""
    with pytest.raises(type(error)) as raised:
        raise error
    stops.pytest_keyboard_interrupt(raised)
    stop = stops.of(Session())  # type: ignore[arg-type] # as pytest's
    assert stop is not None
    return stop


def test_a_run_that_ends_is_not_stopped() -> None:
    """Whether its tests passed or failed."""
    stops = Stops()
    stops.pytest_collectreport(_collected(failed=False))
    stops.pytest_runtest_logreport(_report(failed=True))
    assert stops.of(Session()) is None  # type: ignore[arg-type] # as pytest's


@pytest.mark.parametrize("error", [KeyboardInterrupt(), pytest.exit.Exception("enough", 0)])
def test_a_person_or_a_test_interrupts(error: BaseException) -> None:
    """Ctrl-C and ``pytest.exit``, also where a test has failed before."""
    stops = Stops()
    stops.pytest_runtest_logreport(_report(failed=True))
    stop = _ended(error, stops)
    assert Cause.INTERRUPTION is stop.cause
    told = "" if isinstance(error, KeyboardInterrupt) else " (enough)"
    assert f"the run was interrupted{told}: tests that had not run are not judged" == stop.sentence


def test_a_first_failure_is_no_interruption() -> None:
    """Under pytest-xdist it comes with the exception of one; alone pytest keeps its message."""
    sentence = "stopping after 1 failures: tests that had not run are not judged"
    stops = Stops()
    stops.pytest_runtest_logreport(_report(failed=True))
    assert (Cause.FAILURE, sentence) == _ended(XdistInterrupted("stopping after 1 failures"), stops)
    alone = Stops().of(Session("stopping after 1 failures"))  # type: ignore[arg-type] # as pytest's
    assert (Cause.FAILURE, sentence) == alone


def test_an_end_without_a_failure_is_an_interruption() -> None:
    """Another plugin ended the run."""
    stop = _ended(XdistInterrupted("time is up"), Stops())
    assert Cause.INTERRUPTION is stop.cause
    assert stop.sentence.startswith("the run was interrupted (time is up): ")


def test_files_that_cannot_be_collected() -> None:
    """With pytest's message, and under pytest-xdist without one."""
    stops = Stops()
    stops.pytest_collectreport(_collected(failed=True))
    assert stops.of(Session()) == (Cause.COLLECTION, "tests could not be collected")  # type: ignore[arg-type] # as pytest's
    stop = _ended(XdistInterrupted("1 error during collection"), stops)
    assert (Cause.COLLECTION, "tests could not be collected (1 error during collection)") == stop


def test_an_interrupted_worker_is_not_lost() -> None:
    """Nor has its test failed: pytest-xdist reports it as crashed."""
    stops, report = Stops(), _report(failed=True)
    stops.pytest_testnodedown(Node(), "keyboard-interrupt")
    stops.pytest_handlecrashitem(report)
    stops.pytest_runtest_logreport(report)
    assert ([], True) == (stops.lost_workers, report.__dict__[INTERRUPTED])
    assert Cause.INTERRUPTION is _ended(XdistInterrupted("gw1 received"), stops).cause


def test_a_worker_that_died_is_lost() -> None:
    """By its name; one that was shut down is not."""
    stops, report = Stops(), _report(failed=True)
    stops.pytest_testnodedown(Node(), None)
    stops.pytest_testnodedown(Node(Gateway("gw2")), "not properly terminated")
    stops.pytest_handlecrashitem(report)
    assert ["gw2"] == stops.lost_workers
    assert INTERRUPTED not in report.__dict__


def test_deselection_in_a_worker_is_known() -> None:
    """By what the worker leaves at its end; of this process at once."""
    stops = Stops()
    stops.pytest_testnodedown(Node(output={}), None)
    assert not stops.deselected
    stops.pytest_testnodedown(Node(output={"injx_deselected": True}), None)
    assert stops.deselected
    here = Stops()
    here.pytest_deselected([])
    assert here.deselected
