"""The end of a run: failing reports for an incomplete run are added, then the reports are written.

An exit status alone is invisible to JUnit. Therefore a lost worker, and a run that compared nothing
although an audit was asked for, become failing reports of their own.
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.plugin.gathering import Gathering

if TYPE_CHECKING:
    from pytest_injectivity.results.run_results import RunResults

Sentence = tuple[str, str]
"""A title and a text on what makes a run incomplete."""

_NOTHING_COMPARED = (
    "an audit was asked for ({asked}) and no test measured or judged anything: run tests that use the"
    " injx fixtures, such as example_suites/quantization_gate"
)


def incomplete(
    audited: AuditConfig, gathering: Gathering, lost_workers: Sequence[str], *, named: bool
) -> Iterator[Sentence]:
    """Why a run cannot count as complete.

    Args:
        audited: what was to be audited.
        gathering: what the tests found.
        lost_workers: the workers that pytest-xdist lost.
        named: whether an audit was asked for explicitly (see `session.Run`).
    """
    if lost_workers and (named or gathering.compared):
        workers = ", ".join(lost_workers)
        yield "the run was incomplete", f"pytest-xdist lost {workers}: some checks did not run"
    if named and not gathering.compared and not gathering.wrong_use:
        asked = audited.command_line() or "--injx-require"
        yield "nothing was compared", _NOTHING_COMPARED.format(asked=asked)


def fail(session: pytest.Session, sentence: Sentence) -> None:
    """Add a failing report that belongs to no test."""
    title, text = sentence
    report = pytest.TestReport(
        nodeid=f"injectivity::{title}",
        location=("injectivity", None, title),
        keywords={},
        outcome="failed",
        longrepr=f"{title}: {text}",
        when="call",
    )
    session.config.hook.pytest_runtest_logreport(report=report)
    if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def write_reports(
    session: pytest.Session, audited: AuditConfig, results: "RunResults"
) -> list[str]:
    """Write the reports that were asked for; returns a sentence for each that cannot be written."""
    from pytest_injectivity.reports.registry import write_report

    said: list[str] = []
    for target in audited.report:
        try:
            write_report(target, replace(results, said=(*results.said, *said)))
        except OSError as error:
            said.append(f"--injx-report={target} was not written: {error}")
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
    return said


def from_here(config: pytest.Config, name: str, root: Path) -> str:
    """Rewrite a test's name relative to ``root`` as relative to the folder pytest was started in."""
    path, *inside = name.split("::")
    return "::".join([os.path.relpath(root / path, config.invocation_params.dir), *inside])


def command(config: pytest.Config, audited: AuditConfig) -> str:
    """The run as a command line: its tests, how they were chosen, and the options of the audit."""
    here = config.invocation_params.dir
    tests = [from_here(config, str(one), here) for one in config.option.file_or_dir]
    chosen = [("-k", config.option.keyword), ("-m", config.option.markexpr)]
    flags = [part for flag, given in chosen if given for part in (flag, given)]
    return f"{shlex.join(['pytest', *tests, *flags])} {audited.command_line()}".rstrip()
