"""What a person sees at the end of a run: what was audited, the tables, the verdicts."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.reports.drawing import draw, printed, table_lines
from pytest_injectivity.reports.layer_table import run_table, tables
from pytest_injectivity.reports.workflow import harmless, in_workflow
from pytest_injectivity.results.verdict import Verdict

if TYPE_CHECKING:
    import pytest

    from pytest_injectivity.results.run_results import RunResults

_WIDTH = 100
_LONGEST = 1000


def write_report(path: Path, results: "RunResults") -> None:
    """Write what the terminal shows as a text file.

    Raises:
        OSError: the file cannot be written.
    """
    write_whole(path, "\n".join([*summary_lines(results, _WIDTH, color=False), ""]))


def write_summary(results: "RunResults", terminal: "pytest.TerminalReporter") -> None:
    """Write the run's description, its layers and its verdicts to pytest's terminal.

    Args:
        results: what the tests found.
        terminal: pytest's reporter; its width and color are kept to.
    """
    for line in summary_lines(results, terminal._tw.fullwidth, color=terminal._tw.hasmarkup):  # noqa: SLF001 - pytest names no public way to its width
        terminal.write_line(line)


def summary_lines(results: "RunResults", width: int, *, color: bool) -> list[str]:
    """The summary as lines of at most ``width`` columns; a table is as wide as its numbers are.

    Half a number is another number, so a table that does not fit is left to the terminal to wrap.
    """
    lines: list[str] = []
    for name, part in results.parts:
        if part.run is not None:
            lines += printed(draw(run_table(part.run, name)), width, color=color)
        for table in tables(part):
            lines += table_lines(table, width, color=color)
    for said in (*verdict_lines(results.verdicts), *results.said):
        lines += printed(Text(said), width, color=color)
    return [harmless(line) for line in lines] if in_workflow() else lines


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """Lines on the verdicts that are not PASS: what explains them, first lines, how many pass."""
    passed = sum(verdict.passed for verdict in verdicts)
    red = [verdict for verdict in verdicts if not verdict.passed]
    # What makes the model another function stands before the numbers that follow from it.
    causes = dict.fromkeys(one_line(one, _LONGEST) for verdict in red for one in verdict.ahead)
    lines = [*causes, *(one_line(verdict.first_line) for verdict in red)]
    return [*lines, f"{passed} of {number_of(len(verdicts), 'verdict')} PASS"] if verdicts else []
