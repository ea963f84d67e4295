import pytest

from pytest_injectivity.core.strict_json import plain
from pytest_injectivity.results.outcome import FailedTest, Outcome
from pytest_injectivity.results.verdict import Verdict

RED = Verdict("margin_above", (), "a model", "pytest")


def _test(**given: object) -> FailedTest:
    return FailedTest("a", "a.py", 1, **given)


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (Outcome(0), ()),
        (Outcome(0, failed=(_test(),)), ()),
        (Outcome(1, failed=(_test(verdicts=(RED,)),)), ("1 gate failed",)),
        (
            Outcome(1, failed=(*[_test(verdicts=(RED,))] * 2, _test())),
            ("2 gates failed, 1 other test failed",),
        ),
        (Outcome(1, incomplete=("a: b",)), ("a: b",)),
        (
            Outcome(
                4, wrong_use=("OptionError: no",), failed=(_test(wrong_use="OptionError: no"),)
            ),
            ("OptionError: no",),
        ),
        (Outcome(1), ("a test failed",)),
        (Outcome(5), ("no test was collected",)),
        (Outcome(2, incomplete=("a: b",), interrupted=True), ("a: b",)),
        (Outcome(2), ("the run was interrupted, or its tests could not be collected",)),
    ],
)
def test_a_red_run_says_why(outcome: Outcome, why: tuple[str, ...]) -> None:
    """Each thing once; a green one has nothing to say."""
    assert why == outcome.why
    assert outcome.red == bool(why)
    assert ("red" if why else "green") == outcome.colour


def test_plain_data_says_all_but_the_verdicts() -> None:
    """A report has those already."""
    outcome = Outcome(1, incomplete=("a: b",), failed=(_test(verdicts=(RED,)),), command="pytest x")
    assert {
        "colour": "red",
        "exit_status": 1,
        "why": ["a: b", "1 gate failed"],
        "incomplete": ["a: b"],
        "failed": [{"nodeid": "a", "line": 1}],
        "command": "pytest x",
        "interrupted": False,
    } == plain(outcome)
