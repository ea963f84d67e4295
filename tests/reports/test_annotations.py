import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.core.text import one_line
from pytest_injectivity.reports.annotations import (
    MOST,
    annotations,
    command,
)
from pytest_injectivity.results.outcome import FailedTest, Outcome
from pytest_injectivity.results.verdict import Reason, Status, Verdict
from tests.reports.runner import Command, heard

# Texts in which commands, their separators and their escapes are not rare.
_PARTS = [
    *("::", ":", ",", "=", "%", "%0A", "%3A", "##[", "]", ";", " ", "\t", "\n", "\r", "\x85"),
    *("error", "set-output", "stop-commands", "name=verdict", "green"),
]
telling = st.lists(st.one_of(st.sampled_from(_PARTS), st.characters()), max_size=12).map("".join)


def _verdict(check: str, layer: str, words: str = "few", reproduce: str = "pytest") -> Verdict:
    reasons = (
        Reason("layer01", Status.PASS, "margin", 2.0, 1.0, ">="),
        Reason(layer, Status.FAIL, "margin", 0.5, 1.0, ">=", words),
    )
    return Verdict(check, reasons, "a model", reproduce)


def _red(*failed: FailedTest, **given: object) -> Outcome:
    return Outcome(exit_status=1, failed=failed, **given)


def _failed(path: Path, *verdicts: Verdict, line: int | None = 7) -> FailedTest:
    return FailedTest("test_gate.py::test_gate", str(path), line, verdicts)


@given(message=telling, title=telling, file=telling, line=st.integers(1, 10**6))
def test_a_command_is_read_as_it_was_meant(message: str, title: str, file: str, line: int) -> None:
    """One line, one command, and the very texts that were given, by the runner's own rules."""
    printed = command(message, file=file, line=line, title=title)
    assert [printed] == re.split("[\r\n]", printed)
    title = re.sub(r"[^\S\r\n]+$", "", title)  # the runner trims what stands before the message
    given = {"file": file, "line": str(line), "title": title}
    expected = {name: text for name, text in given.items() if text}
    assert Command("error", expected, message) == heard(printed)


@given(telling)
def test_a_quoted_name_holds_no_command_of_the_old_kind(text: str) -> None:
    """Which the runner finds anywhere in a line, so in the middle of a name."""
    assert "##[" not in one_line(text)


def test_a_red_verdict_is_annotated_where_it_failed(tmp_path: Path) -> None:
    """File and line of the workspace; the first bad layer in the title; the verdict, how to repeat."""
    verdict = _verdict("margin_above", "layer02", "1", "pytest t.py")
    (line,) = annotations(_red(_failed(tmp_path / "tests" / "t.py", verdict)), tmp_path)
    assert (
        "::error file=tests/t.py,line=7,title=margin_above layer02"
        "::FAIL margin_above layer02: 1%0Areproduce: pytest t.py" == line
    )


def test_a_file_elsewhere_is_not_named(tmp_path: Path) -> None:
    """GitHub could not show it."""
    outcome = _red(_failed(tmp_path / "t.py", _verdict("c", "norm")))
    (line,) = annotations(outcome, tmp_path / "workspace")
    assert line.startswith("::error title=c norm::")


def test_a_line_that_is_not_known_is_left_out(tmp_path: Path) -> None:
    """A test that was lost with its worker has none."""
    outcome = _red(_failed(tmp_path / "t.py", _verdict("c", "norm"), line=None))
    assert annotations(outcome, tmp_path)[0].startswith("::error file=t.py,title=c norm::")


def test_a_link_to_the_workspace_is_the_workspace(tmp_path: Path) -> None:
    """A runner's folder may be reached by two names."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    outcome = _red(_failed(tmp_path / "link" / "t.py", _verdict("c", "norm")))
    assert "file=t.py," in annotations(outcome, tmp_path / "real")[0]


@pytest.mark.parametrize("number", [1, MOST - 1, MOST, MOST + 1, 50])
def test_github_shows_ten(tmp_path: Path, number: int) -> None:
    """No error is dropped without a word: the tenth says how many there are beside the nine."""
    failed = [_failed(tmp_path / "t.py", _verdict("c", f"layer{i:02d}")) for i in range(number)]
    lines = annotations(_red(*failed), tmp_path)
    assert min(number, MOST) == len(lines)
    told = [int(n) for n in re.findall(r"::(\d+) more errors", "\n".join(lines))]
    assert ([number - MOST + 1] if number > MOST else []) == told


def test_what_made_the_whole_run_red_comes_first(tmp_path: Path) -> None:
    """It is not crowded out by ten failing layers."""
    failed = [_failed(tmp_path / "t.py", _verdict("c", f"layer{i:02d}")) for i in range(20)]
    outcome = _red(
        *failed, incomplete=("the run was incomplete: lost gw0",), wrong_use=("OptionError: 9",)
    )
    lines = annotations(outcome, tmp_path)
    assert "::error title=pytest-injectivity::the run was incomplete: lost gw0" == lines[0]
    assert "::error title=pytest-injectivity%3A wrong use::OptionError: 9" == lines[1]


def test_wrong_use_is_annotated_at_its_test(tmp_path: Path) -> None:
    """Where a test asked for it; once."""
    test = FailedTest("t.py::t", str(tmp_path / "t.py"), 3, (), "OptionError: no")
    outcome = Outcome(exit_status=4, wrong_use=("OptionError: no",), failed=(test,))
    (line,) = annotations(outcome, tmp_path)
    assert line.startswith("::error file=t.py,line=3,title=")


def test_a_green_run_has_none(tmp_path: Path) -> None:
    """Nor has a red one whose failures are of other tests."""
    gate = _failed(tmp_path / "t.py", _verdict("c", "norm"))
    assert [] == annotations(Outcome(exit_status=0, failed=(gate,)), tmp_path)
    assert [] == annotations(_red(_failed(tmp_path / "t.py")), tmp_path)
