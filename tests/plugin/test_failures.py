from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_injectivity.plugin.failures import Failures
from pytest_injectivity.results.outcome import FailedTest
from pytest_injectivity.results.verdict import Verdict

RED = Verdict("margin_above", (), "a model", "pytest")


def _none(_: str) -> tuple[Verdict, ...]:
    return ()


def _report(nodeid: str, *, crash: tuple[str, int] | None = None, failed: bool = True) -> object:
    place = None if crash is None else SimpleNamespace(path=crash[0], lineno=crash[1])
    return SimpleNamespace(
        nodeid=nodeid,
        failed=failed,
        location=("sub/test_a.py", 4, "test"),
        longrepr=SimpleNamespace(reprcrash=place),
    )


def test_a_failure_is_at_the_line_that_failed() -> None:
    """Where that stands in the test's own file; counted from 1 as editors do."""
    failures = Failures(Path("/root"))
    failures.take(_report("a", crash=("/root/sub/test_a.py", 9)), 0)
    assert (FailedTest("a", "/root/sub/test_a.py", 9),) == failures.tests(_none)


@pytest.mark.parametrize("crash", [None, ("/elsewhere/helper.py", 9)])
def test_a_failure_elsewhere_is_at_its_test(crash: tuple[str, int] | None) -> None:
    """A reviewer looks at the gate, not at the library."""
    failures = Failures(Path("/root"))
    failures.take(_report("a", crash=crash), 0)
    assert (FailedTest("a", "/root/sub/test_a.py", 5),) == failures.tests(_none)


def test_only_failures_are_remembered_and_once() -> None:
    """A test whose teardown fails as well is one test, at its first failure."""
    failures = Failures(Path("/root"))
    failures.take(_report("good", failed=False), 0)
    failures.take(_report("a", crash=("/root/sub/test_a.py", 9)), 0)
    failures.take(_report("a", crash=("/root/sub/test_a.py", 2)), 0)
    assert ["a"] == [test.nodeid for test in failures.tests(_none)]
    assert 9 == failures.tests(_none)[0].line


def test_red_verdicts_go_with_their_tests() -> None:
    """By the test's name."""
    failures = Failures(Path("/root"))
    for nodeid in ("a", "b"):
        failures.take(_report(nodeid), 0)
    tests = failures.tests(lambda nodeid: (RED,) if nodeid == "a" else ())
    assert [(RED,), ()] == [test.verdicts for test in tests]


def test_failures_are_in_the_order_of_collection() -> None:
    """Whichever worker was first."""
    failures = Failures(Path("/root"))
    for at, nodeid in ((7, "c"), (1, "a"), (3, "b")):
        failures.take(_report(nodeid), at)
    assert ["a", "b", "c"] == [test.nodeid for test in failures.tests(_none)]


def test_wrong_use_goes_with_its_test() -> None:
    """With its message."""
    failures = Failures(Path("/root"))
    failures.take(_report("a"), 0)
    failures.misused("a", "OptionError: no")
    assert "OptionError: no" == failures.tests(_none)[0].wrong_use
