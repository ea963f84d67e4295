from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_injectivity.plugin.failures import Failures
from pytest_injectivity.results.outcome import FailedTest

RED = {"status": "FAIL", "check": "margin_above"}


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
    failures.take(_report("a", crash=("/root/sub/test_a.py", 9)))
    assert (FailedTest("a", "/root/sub/test_a.py", 9),) == failures.tests


@pytest.mark.parametrize("crash", [None, ("/elsewhere/helper.py", 9)])
def test_a_failure_elsewhere_is_at_its_test(crash: tuple[str, int] | None) -> None:
    """A reviewer looks at the gate, not at the library."""
    failures = Failures(Path("/root"))
    failures.take(_report("a", crash=crash))
    assert (FailedTest("a", "/root/sub/test_a.py", 5),) == failures.tests


def test_only_failures_are_remembered_and_once() -> None:
    """A test whose teardown fails as well is one test, at its first failure."""
    failures = Failures(Path("/root"))
    failures.take(_report("good", failed=False))
    failures.take(_report("a", crash=("/root/sub/test_a.py", 9)))
    failures.take(_report("a", crash=("/root/sub/test_a.py", 2)))
    assert ["a"] == [test.nodeid for test in failures.tests]
    assert 9 == failures.tests[0].line


def test_red_verdicts_go_with_their_tests() -> None:
    """Those that are PASS are no reason to fail."""
    failures = Failures(Path("/root"))
    for nodeid in ("a", "b"):
        failures.take(_report(nodeid))
    failures.judged("a", RED)
    failures.judged("a", RED | {"status": "PASS"})
    failures.judged("good", RED)
    assert [(RED,), ()] == [test.verdicts for test in failures.tests]


def test_wrong_use_goes_with_its_test() -> None:
    """With its message."""
    failures = Failures(Path("/root"))
    failures.take(_report("a"))
    failures.misused("a", "OptionError: no")
    assert "OptionError: no" == failures.tests[0].wrong_use
