"""``pytest-injectivity explain``."""

import json
from pathlib import Path

import pytest

from pytest_injectivity.__main__ import main
from pytest_injectivity.core.strict_json import plain
from pytest_injectivity.results.verdict import Reason, Status, Verdict
from tests.light import LIGHT, without_torch
from tests.recordings import report

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A report of a red run."""
    reason = Reason("norm", Status.FAIL, "separation margin", 0.05, 0.06, ">=")
    verdict = Verdict("margin_above", (reason,), "mine", "pytest -k margin")
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report() | {"verdicts": [plain(verdict)]}))
    return path


def test_a_report_is_explained(saved: Path, capsys: Printed) -> None:
    """Exit status 0, although the run was red: reading it went well."""
    assert 0 == main(["explain", str(saved)])
    printed = capsys.readouterr().out
    assert printed.startswith("The run was red: 1 of 1 verdict is not PASS.\n")
    assert "Found: no. At norm: separation margin 0.05, where at least 0.06 is wanted." in " ".join(
        printed.split()
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("", "cut short or no JSON"),
        ('{"schema": 1, "tool": "pytest-inj', "cut short or no JSON"),
        ("[]", "which is no JSON object"),
        ("{}", "it was not written by pytest-injectivity"),
        ('{"tool": "pytest-injectivity", "schema": 2}', "it has schema 2"),
        ('{"tool": "pytest-injectivity", "schema": 1, "x\\u001b[2J": 1}', r"x\x1b[2J"),
        ('{"tool": "pytest-injectivity", "kind": "baseline"}', "not the report of a run"),
    ],
)
def test_what_is_no_report_is_wrong_use(
    tmp_path: Path, capsys: Printed, content: str | None, message: str
) -> None:
    """One line that says what was given and what is accepted."""
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    assert 4 == main(["explain", str(path)])
    printed = capsys.readouterr()
    assert "" == printed.out
    assert message in printed.err
    assert printed.err.endswith("give a report of --injx-report=json:PATH\n")
    assert 1 == printed.err.count("\n")


def test_explaining_needs_no_torch(saved: Path) -> None:
    """A report is read where no model could be."""
    assert without_torch("explain", str(saved)).endswith(LIGHT)
