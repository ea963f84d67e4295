"""Reads the reports that lie in folders; what is no report, or is damaged, is named with the reason."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pytest_injectivity.core import strict_json as strict
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.history.past_run import PastRun, past_run
from pytest_injectivity.results.run_origin import RunOrigin
from pytest_injectivity.results.saved_runs import is_report, report_of

_DAY = timedelta(days=1)
_LEAST_DIGITS = 7


@dataclass(frozen=True)
class LeftOut:
    """A file that is no part of a history.

    Attributes:
        file: as a person named it.
        why: the reason.
        damaged: whether it may be a report that cannot be read: then it is not known what it said.
        origin: when it was made, where it is a report that says so.
    """

    file: str
    why: str
    damaged: bool = False
    origin: RunOrigin | None = None


@dataclass(frozen=True)
class Reports:
    """What was read.

    Attributes:
        runs: in the order of time.
        left_out: in the order of their names.
    """

    runs: tuple[PastRun, ...]
    left_out: tuple[LeftOut, ...]


def read_reports(places: Sequence[Path], *, since: str | None = None) -> Reports:
    """Read every report in the places.

    Args:
        places: files, and folders whose ``.json`` files are read, also those in folders below.
        since: a day or a commit: runs before its first one are left out. None: none are.

    Raises:
        OptionError: a place is not there or cannot be listed, has no file, or ``since`` names no run.
    """
    runs, left_out = list[PastRun](), list[LeftOut]()
    for path in _files(places):
        found = _read(path)
        if isinstance(found, PastRun):
            runs.append(found)
        else:
            left_out.append(found)
    if not runs and not left_out:
        named = ", ".join(one_line(str(place)) for place in places)
        raise OptionError(
            f"there is no .json file in {named}: give reports of --injx-report=json:PATH"
        )
    runs.sort(key=lambda run: run.order)
    if since is not None:
        kept = _since(runs, since)
        before = runs[: len(runs) - len(kept)]
        left_out += [LeftOut(run.file, f"it was made before {since}") for run in before]
        runs = kept
    return Reports(tuple(runs), tuple(left_out))


def _files(places: Iterable[Path]) -> Iterator[Path]:
    """The files, each once; no link to a folder is followed."""
    seen = set[str]()
    for place in places:
        # Neither function of `os.path` raises: a name may be too long, and a link may lead to itself.
        if not os.path.exists(place):  # noqa: PTH110 - as said
            raise OptionError(f"{one_line(str(place))}: there is no such file or folder")
        found = _below(place) if place.is_dir() else [place]
        for path in found:
            real = os.path.realpath(path)
            if real not in seen:
                seen.add(real)
                yield path


def _below(folder: Path) -> list[Path]:
    return sorted(
        Path(parent) / name
        for parent, _, names in os.walk(folder, onerror=_refuse)
        for name in names
        if name.endswith(".json")
    )


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed may hold the newest report: it is not passed over."""
    reason = error.strerror or type(error).__name__
    raise OptionError(f"{one_line(str(error.filename))}: it cannot be read ({reason})")


def _read(path: Path) -> PastRun | LeftOut:
    file = one_line(str(path))
    try:
        plain = strict.read_any(path)
        if not isinstance(plain, dict) or not is_report(plain):
            return LeftOut(file, "it is no report of a run")
        results = report_of(plain)
    except OptionError as error:
        return LeftOut(file, str(error), damaged=True)
    origin = results.origin
    if origin is None:
        return LeftOut(file, "it does not say when it was made: an older version wrote it")
    if origin.at > datetime.now(UTC) + _DAY:
        return LeftOut(file, f"it was made in the future, at {origin.date}", damaged=True)
    try:
        return past_run(file, results, origin)
    except OptionError as error:
        measured = any(part.run is not None for _, part in results.parts)
        return LeftOut(file, str(error), damaged=results.complete and measured, origin=origin)


def _since(runs: Sequence[PastRun], since: str) -> list[PastRun]:
    """The runs of a day and later ones, or those from the first run of a commit on."""
    try:
        day = date.fromisoformat(since)
    except ValueError:
        day = None
    if day is not None and "-" in since:
        return [run for run in runs if run.origin.at.date() >= day]
    for at, run in enumerate(runs):
        if len(since) >= _LEAST_DIGITS and (run.origin.commit or "").startswith(since.lower()):
            return list(runs[at:])
    raise OptionError(
        f"--since {one_line(since)!r} is no day, such as 2026-11-30, and no run was made at such a"
        f" commit: give at least {_LEAST_DIGITS} digits of one that has a report"
    )
