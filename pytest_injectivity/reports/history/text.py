"""A history as text: for each track the change of the last run, what is red, what was left out."""

from collections.abc import Iterator

from rich.text import Text

from pytest_injectivity.core.numbers import show
from pytest_injectivity.reports.drawing import WIDEST, draw, printed, table_lines
from pytest_injectivity.reports.history.words import (
    RULE,
    changed,
    conclusion,
    headline,
    span,
    subject,
)
from pytest_injectivity.reports.table import MISSING, WORST, Cell, Column, Table, facts
from pytest_injectivity.reports.workflow import harmless, in_workflow
from pytest_injectivity.results.history.course import Course, CourseFate
from pytest_injectivity.results.history.history import Findings, History
from pytest_injectivity.results.metrics import by_metric, legend, metric_of, title_of

_LEGEND = (
    "last run against the usual in %, counts as usual>last; {meanings}; ◄ drifted or gone, + better by"
    " as much, – not judged"
)


def history_text(history: History, *, width: int, color: bool) -> str:
    """The whole answer as text."""
    lines: list[str] = []
    for findings in history.findings:
        lines += [*_track(findings, width, color=color), ""]
    for one in history.left_out:
        style = "bold red" if one.damaged else ""
        lines += printed(Text(f"left out: {one.file}: {one.why}", style=style), WIDEST, color=color)
    for one in history.unjudged:
        line = Text(f"{one.file}: the newest report is not judged", style="bold red")
        lines += printed(line, WIDEST, color=color)
    if any(findings.track.judged for findings in history.findings):
        lines += printed(Text(RULE, style="dim"), width, color=color)
    lines += printed(Text(headline(history)), WIDEST, color=color)
    return "\n".join(map(harmless, lines) if in_workflow() else lines)


def change_table(findings: Findings) -> Table:
    """How far the last run's numbers are from the usual ones, a row a layer."""
    judged = [
        one for one in findings.courses if one.usual is not None or one.fate is CourseFate.GONE
    ]
    shown = {
        one.number
        for one in judged
        if one.last or (one.usual and one.usual.value) or one.number in ("collisions", "margin_q")
    }
    names = sorted(shown, key=by_metric)
    by_label: dict[str, dict[str, Course]] = {}
    for one in judged:
        by_label.setdefault(one.label, {})[one.number] = one
    rows = tuple(
        (Cell(label), *(_cell(every.get(name)) for name in names))
        for label, every in by_label.items()
    )
    columns = (Column("layer", number=False), *(Column(title_of(name)) for name in names))
    metrics = dict.fromkeys(metric_of(name) for name in names)
    return Table(columns, rows, notes=(_LEGEND.format(meanings=legend(metrics)),), marks=True)


def _track(findings: Findings, width: int, *, color: bool) -> Iterator[str]:
    yield from printed(Text(subject(findings.track), style="bold"), width, color=color)
    yield from printed(Text(span(findings.track)), width, color=color)
    if changes := changed(findings.track):
        yield from printed(draw(facts(changes)), width, color=color)
    if findings.track.judged:
        yield from table_lines(change_table(findings), width, color=color)
    for flag in findings.flags:
        yield from printed(Text(flag, style="bold red"), WIDEST, color=color)
    yield from printed(Text(conclusion(findings)), WIDEST, color=color)


def _cell(course: Course | None) -> Cell:
    if course is None:
        return Cell(MISSING)
    if course.fate is CourseFate.GONE or course.last is None or course.usual is None:
        return Cell(MISSING, WORST, "bad") if course.fate is CourseFate.GONE else Cell(MISSING)
    usual, last = course.usual.value, course.last
    if course.metric.counted or course.share is None:
        text = show(last) if last == usual else f"{show(usual)}>{show(last)}"
    else:
        text = f"{100 * course.share:+.1f}"
    if course.fate is CourseFate.DRIFTED:
        return Cell(text, WORST, "bad")
    return Cell(text, "+", "good") if course.fate is CourseFate.BETTER else Cell(text)
