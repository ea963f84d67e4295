"""What a person sees at the end of a run: red or green, what failed, what to do; then the tables.

The first lines are read by whoever decides whether a model ships, and often nothing else is.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.text import one_line
from pytest_injectivity.reports.drawing import draw, printed, table_lines, width_of
from pytest_injectivity.reports.layer_table import run_table, tables
from pytest_injectivity.reports.reference_table import fitting_table
from pytest_injectivity.reports.workflow import harmless, in_workflow
from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.outcome import NOT_ASSERTED, Outcome
from pytest_injectivity.results.verdict import Verdict, counted

if TYPE_CHECKING:
    import pytest

    from pytest_injectivity.results.run_results import RunResults
    from pytest_injectivity.results.verdict import Reason

_WIDTH = 100
_LONGEST = 1000
_COMMAND = 2000
_MOST = 12
_BLAME = "blame: "


def write_report(path: Path, results: "RunResults") -> None:
    """Write what the terminal shows as a text file.

    Raises:
        OSError: the file cannot be written.
    """
    write_whole(path, "\n".join([*summary_lines(results, _WIDTH, color=False), ""]))


def write_summary(results: "RunResults", terminal: "pytest.TerminalReporter") -> None:
    """Write what was decided, what was audited and its tables to pytest's terminal.

    Args:
        results: what the tests found, with the outcome.
        terminal: pytest's reporter; its width and color are kept to.
    """
    for line in summary_lines(results, terminal._tw.fullwidth, color=terminal._tw.hasmarkup):  # noqa: SLF001 - pytest names no public way to its width
        terminal.write_line(line)


def summary_lines(results: "RunResults", width: int, *, color: bool) -> list[str]:
    """The summary as lines of at most ``width`` columns; a table is as wide as its numbers are.

    Half a number is another number, so a table that does not fit is left to the terminal to wrap; and so
    is a command, which is copied.
    """
    outcome = results.outcome or Outcome(int(any(not one.passed for one in results.verdicts)))
    decided = (
        [] if results.decision is None else printed(Text(results.decision.line), width, color=color)
    )
    lines = [*decided, *head_lines(results.verdicts, outcome, width, color=color)]
    failed = {verdict.check for verdict in results.verdicts if not verdict.passed}
    compared = partial(fitting_table, failed=failed, fits=lambda table: width_of(table) <= width)
    for name, part in results.parts:
        if part.run is not None:
            lines += printed(draw(run_table(part.run, name)), width, color=color)
        for table in tables(part, compared):
            lines += table_lines(table, width, color=color)
    for said in results.said:
        lines += printed(Text(said), width, color=color)
    return [harmless(line) for line in lines] if in_workflow() else lines


def head_lines(
    verdicts: Sequence[Verdict], outcome: Outcome, width: int, *, color: bool
) -> list[str]:
    """Red or green; what failed and why; where it began; how to see it again. Empty without verdicts."""
    if not verdicts:
        return []
    red = [verdict for verdict in verdicts if not verdict.passed]
    style = "bold red" if outcome.red else "bold green"
    title = f"{outcome.ended.upper()}: {counted(verdicts)}"
    texts = [
        Text(title, style=style),
        *map(Text, (*_why(red, outcome), *_failed(red), *_where(red))),
    ]
    lines = [line for text in texts for line in printed(text, width, color=color)]
    return [*lines, *_again(red), ""]


def _why(red: Sequence[Verdict], outcome: Outcome) -> Iterator[str]:
    """What explains the color where the verdicts alone do not, and the numbers where something does."""
    if outcome.red and not red:
        # What was wrong has stood above, and is told once.
        wrong = (
            ("something that was asked for cannot be done: see above",) if outcome.wrong_use else ()
        )
        yield from outcome.incomplete or wrong or outcome.why
    if red and not outcome.red:
        yield NOT_ASSERTED
    # What makes the model another function stands before the numbers that follow from it.
    yield from dict.fromkeys(one_line(one, _LONGEST) for verdict in red for one in verdict.ahead)


def _failed(red: Sequence[Verdict]) -> Iterator[str]:
    """First lines of the verdicts that are not PASS, and of how many checks the others are.

    Where a gate holds a model in several precisions, a line before them says which.
    """
    subjects: dict[str, list[Verdict]] = {}
    for verdict in red[:_MOST]:
        subjects.setdefault(verdict.subject, []).append(verdict)
    for subject, verdicts in subjects.items():
        if len(subjects) > 1:
            yield f"{one_line(subject, _LONGEST)}:"
        yield from (one_line(verdict.first_line) for verdict in verdicts)
    if left := Counter(verdict.of_model(verdict.check) for verdict in red[_MOST:]):
        counted = ", ".join(f"{check} ({number})" for check, number in left.items())
        yield f"… and {left.total()} more: {counted}"


def _where(red: Sequence[Verdict]) -> Iterator[str]:
    """The first bad layer, where several are, and who is to blame."""
    layers: dict[str, list[str]] = {}
    evidence: list[str] = []
    for verdict in red:
        for reason in verdict.failing:
            evidence += reason.evidence
            if reason.unit == "layer":
                layers.setdefault(reason.where, []).append(verdict.of_model(verdict.check))
    if len(layers) > 1:
        first = min(layers, key=label_depth)
        yield f"first bad layer: {first} ({', '.join(dict.fromkeys(layers[first]))})"
    yield from dict.fromkeys(
        one_line(line, _LONGEST) for line in evidence if line.startswith(_BLAME)
    )


def _again(red: Sequence[Verdict]) -> Iterator[str]:
    """What would have passed, and a command that repeats the first of the verdicts."""
    if not red:
        return
    reasons: tuple[Reason, ...] = red[0].failing
    if reasons and reasons[0].would_pass:
        yield f"would have passed: {one_line(reasons[0].would_pass)}"
    yield f"again: {one_line(red[0].reproduce, _COMMAND)}"
