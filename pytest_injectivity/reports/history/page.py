"""A history as one HTML page, made as the page of a run is: no script, nothing fetched."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_injectivity.reports.history.figures import lines, maps
from pytest_injectivity.reports.history.text import change_table
from pytest_injectivity.reports.history.words import (
    RULE,
    changed,
    conclusion,
    headline,
    span,
    subject,
    verdicts,
)
from pytest_injectivity.reports.page.charts import Figure
from pytest_injectivity.reports.page.environment import check_jinja, environment
from pytest_injectivity.reports.table import Cell, Column, Table
from pytest_injectivity.results.history.history import Findings, History
from pytest_injectivity.results.history.track import Track

MOST_RUNS = 60
"""Runs that are drawn of a track at most."""


@dataclass(frozen=True)
class TrackSection:
    """A track on the page.

    Attributes:
        id: of its place.
        title: the model, precision and prompts.
        said: runs, and what they tell.
        flags: what is red.
        changes: of versions and devices.
        maps: of all layers.
        lines: of single numbers.
        note: what the lines leave out.
        table: the change of the last run.
        runs: of the track.
    """

    id: str
    title: str
    said: tuple[str, ...]
    flags: tuple[str, ...]
    changes: Table
    maps: tuple[Figure, ...]
    lines: tuple[Figure, ...]
    note: str
    table: Table
    runs: Table


@dataclass(frozen=True)
class HistoryPage:
    """The content of the page.

    Attributes:
        red: whether the history is.
        headline: how many runs, and what they tell.
        newest: reports that could not be judged.
        rule: that says what a drift is.
        tracks: in the order of their names.
        left_out: the files that are no part of it.
    """

    red: bool
    headline: str
    newest: tuple[str, ...]
    rule: str
    tracks: tuple[TrackSection, ...]
    left_out: Table


def history_html(history: History) -> str:
    """The page as text.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    check_jinja("--html")
    page = HistoryPage(
        red=bool(history.flags or history.damaged),
        headline=headline(history),
        newest=tuple(f"{one.file}: the newest report is not judged" for one in history.unjudged),
        rule=RULE,
        tracks=tuple(_section(findings, at) for at, findings in enumerate(history.findings, 1)),
        left_out=_words(("file", "why"), [(one.file, one.why) for one in history.left_out]),
    )
    return environment().get_template("history.html.jinja").render(page=page)


def _section(findings: Findings, at: int) -> TrackSection:
    recent = _recent(findings)
    charts, left = lines(recent)
    drawn = len(recent.track.runs)
    older = f"the last {drawn} are drawn" if drawn < len(findings.track.runs) else ""
    return TrackSection(
        id=f"track{at}",
        title=subject(findings.track),
        said=tuple(filter(None, (span(findings.track), older, conclusion(findings)))),
        flags=findings.flags,
        changes=_words(("run", "changed"), changed(findings.track)),
        maps=maps(recent),
        lines=charts,
        note=f"{left} more numbers have a bound or moved; the maps have all." if left else "",
        table=change_table(findings),
        runs=_runs(findings.track),
    )


def _recent(findings: Findings) -> Findings:
    """The last runs alone, judged as they are among all."""
    track = Track(findings.track.name, findings.track.runs[-MOST_RUNS:], findings.track.ended)
    courses = tuple(replace(one, values=one.values[-MOST_RUNS:]) for one in findings.courses)
    return Findings(track, courses, findings.turns)


def _runs(track: Track) -> Table:
    rows = [
        (run.origin.date, run.origin.commit or "–", verdicts(run, track.name), run.file)
        for run in track.runs
    ]
    return _words(("date", "commit", "verdicts PASS", "file"), rows)


def _words(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    columns = tuple(Column(title, number=False) for title in titles)
    return Table(columns, tuple(tuple(map(Cell, row)) for row in rows))
