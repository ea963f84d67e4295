"""What is printed after the tests: red or green and why, the tables, and annotations of a workflow."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_injectivity.reports.terminal import write_summary
from pytest_injectivity.results.outcome import Outcome

if TYPE_CHECKING:
    import pytest

    from pytest_injectivity.config.report_target import ReportTarget
    from pytest_injectivity.plugin.gathering import Gathering
    from pytest_injectivity.results.run_results import RunResults


def print_summary(
    terminalreporter: "pytest.TerminalReporter",
    gathering: "Gathering",
    ended: "RunResults | None",
    exitstatus: int,
    reports: "Sequence[ReportTarget]",
) -> None:
    """Print what the tests found, where they found anything.

    Args:
        terminalreporter: pytest's.
        gathering: what the tests found.
        ended: the results with the outcome of the run; None: nothing ran, or it was not reported.
        exitstatus: pytest's.
        reports: those that the run was asked for.
    """
    if gathering.anything:
        outcome = None if ended is None else ended.outcome
        results = replace(
            gathering.results(),
            outcome=outcome or Outcome(int(exitstatus), wrong_use=gathering.wrong_use),
            decision=None if ended is None else ended.decision,
        )
        terminalreporter.section("injectivity")
        write_summary(results, terminalreporter)
    if ended is not None and ended.outcome is not None:
        _annotate(terminalreporter, ended.outcome, reports)


def _annotate(
    terminalreporter: "pytest.TerminalReporter",
    outcome: Outcome,
    reports: "Sequence[ReportTarget]",
) -> None:
    """In a GitHub workflow, print a line for each red verdict, unless they go to a file."""
    from pytest_injectivity.reports.annotations import annotations, workspace
    from pytest_injectivity.reports.workflow import in_workflow

    if any(one.kind == "annotations" for one in reports) or not in_workflow():
        return
    for line in annotations(outcome, workspace()):
        terminalreporter.write_line(line)
