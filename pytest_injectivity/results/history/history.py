"""What a history says: the course of numbers, what is red, what was left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_injectivity.results.history.course import Course, CourseFate, courses
from pytest_injectivity.results.history.past_run import PastRun
from pytest_injectivity.results.history.reading import LeftOut, read_reports
from pytest_injectivity.results.history.track import Track, tracks
from pytest_injectivity.results.history.turn import Turn, turns


@dataclass(frozen=True)
class Findings:
    """What the runs of a track tell.

    Attributes:
        track: the runs.
        courses: the course of every number.
        turns: verdicts that turned red; empty where the track is not judged.
    """

    track: Track
    courses: tuple[Course, ...]
    turns: tuple[Turn, ...]

    @property
    def flags(self) -> tuple[str, ...]:
        """A line for each number that drifted, number or layer that is gone, verdict that turned."""
        if not self.track.judged:
            return ()
        return (*self._numbers(), *self._verdicts())

    @property
    def better(self) -> tuple[Course, ...]:
        """The numbers that moved as far to the better."""
        return tuple(one for one in self.courses if one.fate is CourseFate.BETTER)

    def _numbers(self) -> Iterator[str]:
        by_label: dict[str, list[Course]] = {}
        for one in self.courses:
            by_label.setdefault(one.label, []).append(one)
        for label, every in by_label.items():
            gone = [one for one in every if one.fate is CourseFate.GONE]
            if gone and all(one.last is None for one in every):
                yield f"{label}: gone: the last run did not measure it"
                continue
            for one in every:
                if one.fate in (CourseFate.DRIFTED, CourseFate.GONE):
                    yield f"{label}: {one.words}"

    def _verdicts(self) -> Iterator[str]:
        for turn in self.turns:
            run = self.track.runs[turn.last_passed].origin.short
            said = f"is {turn.status}" if turn.status else "is gone: the last run did not judge it"
            yield f"{turn.where}: {turn.check} {said}, and was PASS on {run}"


@dataclass(frozen=True)
class History:
    """What was read, and what it tells.

    Attributes:
        runs: all of them, in the order of time.
        findings: of each track, those of one model side by side.
        left_out: files that are no part of it.
    """

    runs: tuple[PastRun, ...]
    findings: tuple[Findings, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def unjudged(self) -> tuple[LeftOut, ...]:
        """Reports later than every run that is judged, which say nothing of their numbers."""
        last = max((run.origin.at for run in self.runs), default=None)
        return tuple(
            one
            for one in self.left_out
            if one.origin is not None and (last is None or one.origin.at >= last)
        )

    @property
    def flags(self) -> tuple[str, ...]:
        """Everything that makes it red."""
        newest = (
            f"{one.file}: the newest report is not judged: {one.why}" for one in self.unjudged
        )
        return (*newest, *(flag for findings in self.findings for flag in findings.flags))

    @property
    def damaged(self) -> tuple[LeftOut, ...]:
        """Files that could not be read."""
        return tuple(one for one in self.left_out if one.damaged)


def read_history(places: Sequence[Path], *, since: str | None = None) -> History:
    """Read the reports in places, and judge the last run of each track.

    Args:
        places: files and folders.
        since: a day or a commit that the history begins with.

    Raises:
        OptionError: a place is not there, or there is no report.
    """
    reports = read_reports(places, since=since)
    found, copies = tracks(reports.runs)
    findings = tuple(Findings(one, courses(one), turns(one) if one.judged else ()) for one in found)
    left_out = sorted((*reports.left_out, *copies), key=lambda one: one.file)
    return History(reports.runs, findings, tuple(left_out))
