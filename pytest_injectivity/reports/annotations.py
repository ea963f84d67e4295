"""GitHub annotations: what made a run red, at the lines of the tests that say so.

GitHub's runner reads commands out of what a step prints (see `workflow`). `command` writes one as
GitHub's own toolkit does.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.text import number_of, one_line

if TYPE_CHECKING:
    from pytest_injectivity.results.outcome import FailedTest, Outcome
    from pytest_injectivity.results.run_results import RunResults

MOST = 10
"""Errors that GitHub shows of one step; it drops the others without a word."""

_LONGEST = 1000
_NAME = 120
_TITLE = "pytest-injectivity"


def write_report(path: Path, results: "RunResults") -> None:
    """Write the annotations of a run, a command a line.

    Raises:
        OSError: the file cannot be written.
    """
    lines = [] if results.outcome is None else annotations(results.outcome, workspace())
    write_whole(path, "".join(f"{line}\n" for line in lines))


def workspace() -> Path:
    """The folder that holds the files GitHub knows: the checked-out repository, else this one."""
    return Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd())


def annotations(outcome: "Outcome", workspace: Path) -> list[str]:
    """The commands that annotate a red run, at most `MOST`; none for a green one.

    What made the whole run red comes first, then each red verdict of a test that failed. Red verdicts
    of tests that passed (a ``check_`` nobody asserts, an expected failure) made nothing red.

    Args:
        outcome: how the run ended.
        workspace: the folder whose files GitHub knows; a file elsewhere is not named.
    """
    if not outcome.red:
        return []
    commands = [*_of_the_run(outcome, workspace), *_of_tests(outcome, workspace)]
    if (left := len(commands) - (MOST - 1)) > 1:
        more = f"{number_of(left, 'more error')}: see the summary of the run"
        commands[MOST - 1 :] = [command(more, title=_TITLE)]
    return commands


def command(message: str, **properties: str | int | None) -> str:
    """One ``::error`` command on one line.

    Args:
        message: what is shown; may have several lines.
        properties: ``file``, ``line`` and ``title``; one that is empty or None is left out.
    """
    given = ",".join(
        f"{name}={_property(str(value))}" for name, value in properties.items() if value
    )
    return f"::error {given}::{_data(message)}" if given else f"::error::{_data(message)}"


def _of_the_run(outcome: "Outcome", workspace: Path) -> Iterator[str]:
    for sentence in outcome.incomplete:
        yield command(one_line(sentence, _LONGEST), title=_TITLE)
    places = {test.wrong_use: _place(test, workspace) for test in outcome.failed if test.wrong_use}
    for message in outcome.wrong_use:
        where = places.get(message, {})
        yield command(one_line(message, _LONGEST), **where, title=f"{_TITLE}: wrong use")


def _of_tests(outcome: "Outcome", workspace: Path) -> Iterator[str]:
    for test in outcome.failed:
        for verdict in test.verdicts:
            title = " ".join([verdict.check, *(one.where for one in verdict.failing[:1])])
            title = verdict.of_model(title)
            said = (verdict.first_line, *verdict.ahead, f"reproduce: {verdict.reproduce}")
            message = "\n".join(one_line(line, _LONGEST) for line in said)
            yield command(message, **_place(test, workspace), title=one_line(title, _NAME))


def _place(test: "FailedTest", workspace: Path) -> dict[str, str | int | None]:
    """Where a test stands, as GitHub names it; nowhere if not in the workspace."""
    path = Path(os.path.realpath(test.path))
    folder = Path(os.path.realpath(workspace))
    if not path.is_relative_to(folder):
        return {}
    return {"file": path.relative_to(folder).as_posix(), "line": test.line}


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
