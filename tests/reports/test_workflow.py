import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_injectivity.reports.workflow import harmless, in_workflow
from tests.reports.runner import heard

# Texts in which commands, their separators and their escapes are not rare.
_PARTS = [
    *("::", ":", ",", "=", "%", "%0A", "%3A", "##[", "]", ";", " ", "\t", "\n", "\r", "\x85"),
    *("error", "set-output", "stop-commands", "name=verdict", "green"),
]
telling = st.lists(st.one_of(st.sampled_from(_PARTS), st.characters()), max_size=12).map("".join)


@given(telling.map(lambda text: re.sub("[\r\n]", " ", text)))
@example("  ::set-output name=verdict::green")
@example("loss ##[set-output name=verdict;]green")
@example("\u2003::error::x")
@example("####[error]x")
def test_a_harmless_line_is_no_command(line: str) -> None:
    """Whatever it quotes, after blanks and in the middle."""
    assert heard(harmless(line)) is None


def test_the_reader_of_these_tests_hears_commands() -> None:
    """Else the test above could not fail."""
    assert heard("  ::set-output name=verdict::green") is not None
    assert heard("loss ##[set-output name=verdict;]green") is not None
    assert heard("loss ::set-output name=verdict::green") is None


@pytest.mark.parametrize("line", ["", "model    gpt2", "a::b", "test.py::test_gate", "## head"])
def test_a_line_that_is_no_command_stays_as_it_is(line: str) -> None:
    """Test names have colons too."""
    assert line == harmless(line)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, False), ({"GITHUB_ACTIONS": ""}, False), ({"GITHUB_ACTIONS": "true"}, True)],
)
def test_only_a_workflow_is_one(environment: dict[str, str], expected: bool) -> None:  # noqa: FBT001 - a parameter
    """GitHub sets the variable to true."""
    assert expected == in_workflow(environment)
