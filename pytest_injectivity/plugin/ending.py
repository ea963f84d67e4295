"""The end of a run: failing reports for an incomplete run are added, then the reports are written.

An exit status alone is invisible to JUnit. Therefore a lost worker, and a run that compared nothing
although an audit was asked for, become failing reports of their own. A run that was interrupted
has none.
"""

import os
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.config.run_models import RunModels
from pytest_injectivity.errors import OptionError
from pytest_injectivity.plugin.audits import Audits
from pytest_injectivity.plugin.stops import Cause, Stop, Stops

if TYPE_CHECKING:
    from pytest_injectivity.plugin.gathering import Gathering
    from pytest_injectivity.results.run_results import RunResults

Sentence = tuple[str, str]
"""A title and a text on what makes a run incomplete."""

_NOTHING_COMPARED = (
    "an audit was asked for ({asked}) and no test measured or judged anything: run tests that use the"
    " injx fixtures, such as example_suites/quantization_gate"
)


class Ended(NamedTuple):
    """What is known of a run whose tests are over.

    Attributes:
        models: the models that were to be audited.
        named: whether an audit was asked for explicitly (see `session.Run`).
        typed: the options that are given on the command line.
        audits: the audits of this process.
        gathering: what the tests found.
        stops: what stopped the run, if anything did.
    """

    models: RunModels
    named: bool
    typed: frozenset[str]
    audits: Audits
    gathering: "Gathering"
    stops: Stops

    @property
    def audited(self) -> AuditConfig:
        """The options that hold for all models."""
        return self.models.common

    @property
    def asked(self) -> bool:
        """Whether an audit was asked for by name, or anything was compared."""
        return self.named or self.gathering.compared


def end(session: pytest.Session, run: Ended) -> "RunResults | None":
    """End a run: add the failures that only its end shows, record a baseline, write the reports.

    Returns:
        The results with the outcome; None where nobody is told of it.
    """
    gathering, stop = run.gathering, run.stops.of(session)
    _settle_status(session, run, stop)
    is_told = bool(run.audited.report) or os.environ.get("GITHUB_ACTIONS") == "true"
    # Taken before the run's own failures are added.
    failed = gathering.failed_tests() if is_told else ()
    sentences = list(incomplete(run, stop))
    for sentence in sentences:
        fail(session, sentence)
    if unused := _unused(session, run, stop):
        fail(session, ("a flag was not used", "; ".join(unused)))
        for told in unused:
            gathering.misused(told)
    if gathering.wrong_use and not _interrupted(stop):
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
    if run.audited.update_baseline:
        from pytest_injectivity.plugin.baseline import update_baseline

        said, failure = update_baseline(session, run.audits)
        gathering.said += said
        if failure is not None:
            fail(session, failure)
            sentences.append(failure)
    if stop is not None and stop.cause is Cause.FAILURE and run.asked:
        gathering.said.append(stop.sentence)
    if not is_told:
        return None
    from pytest_injectivity.core.commits import commit_of
    from pytest_injectivity.results.outcome import Outcome
    from pytest_injectivity.results.run_origin import RunOrigin

    broken_off = _broken_off(run, stop)
    outcome = Outcome(
        exit_status=int(session.exitstatus),
        incomplete=(*broken_off, *(f"{title}: {text}" for title, text in sentences)),
        interrupted=_interrupted(stop),
        wrong_use=gathering.wrong_use,
        failed=failed,
        command=command(session.config, run.models),
    )
    complete = not (run.stops.lost_workers or broken_off)
    results = replace(
        gathering.results(),
        complete=complete,
        outcome=outcome,
        # Not of rootdir: that of the default audit is in this package.
        origin=RunOrigin.now(commit_of(session.config.invocation_params.dir)),
    )
    if any(target.kind == "decision" for target in run.audited.report):
        results = _decided(session, run.audited, results)
    gathering.said += write_reports(session, run.audited, results)
    return results


def _decided(session: pytest.Session, audited: AuditConfig, results: "RunResults") -> "RunResults":
    """The results with the decision; a run that is green and decides not to ship fails."""
    from pytest_injectivity.plugin.deciding import decide, read_evaluations
    from pytest_injectivity.results.decision import Choice, Decision

    try:
        decision = decide(results, audited.decision, read_evaluations(audited))
    except OptionError as error:  # the files were there before the first test
        decision = Decision(obstacles=(str(error),))
    if decision.choice is Choice.SHIP or session.exitstatus != pytest.ExitCode.OK:
        return replace(results, decision=decision)
    failure = ("the decision is not to ship", decision.line)
    fail(session, failure)
    assert results.outcome is not None  # noqa: S101 - set by `end`
    outcome = replace(
        results.outcome,
        exit_status=int(session.exitstatus),
        incomplete=(*results.outcome.incomplete, ": ".join(failure)),
    )
    return replace(results, decision=decision, outcome=outcome)


def incomplete(run: Ended, stop: Stop | None) -> Iterator[Sentence]:
    """Why a run that was not interrupted cannot count as complete."""
    lost_workers = run.stops.lost_workers
    if lost_workers and run.asked:
        workers = ", ".join(lost_workers)
        yield "the run was incomplete", f"pytest-xdist lost {workers}: some checks did not run"
    if stop is None and run.named and not (run.gathering.compared or run.gathering.wrong_use):
        asked = run.models.command_line() or "--injx-require"
        yield "nothing was compared", _NOTHING_COMPARED.format(asked=asked)


def _unused(session: pytest.Session, run: Ended, stop: Stop | None) -> list[str]:
    """A sentence for each typed flag that no test used, where all tests ran and passed.

    Where some were left out it is only said: one of them may be what the flag is for.
    """
    unused = run.typed - run.gathering.used
    if stop is not None or not unused or session.exitstatus != pytest.ExitCode.OK:
        return []
    from pytest_injectivity.plugin.unused_flags import some_left_out, unused_flags

    told = unused_flags(run.audited, unused)
    if run.gathering.skipped or run.stops.deselected or some_left_out(session.config):
        run.gathering.said += [f"{sentence} (some tests did not run)" for sentence in told]
        return []
    return told


def _settle_status(session: pytest.Session, run: Ended, stop: Stop | None) -> None:
    """Have the exit status of an audit say what stopped the run.

    Under pytest-xdist the status of a run that stopped at a failed test is that of an interruption,
    and a test may end a run with a status of its choice, also with that of success.
    """
    if stop is None or not run.asked:
        return
    if stop.cause is Cause.FAILURE:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.INTERRUPTED


def _broken_off(run: Ended, stop: Stop | None) -> tuple[str, ...]:
    """What broke the run off, for the outcome: a failed test or wrong use says it itself."""
    if stop is None or stop.cause is Cause.FAILURE:
        return ()
    if stop.cause is Cause.COLLECTION and run.gathering.wrong_use:
        return ()
    return (stop.sentence,)


def _interrupted(stop: Stop | None) -> bool:
    return stop is not None and stop.cause is Cause.INTERRUPTION


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
    """Write the reports that were asked for.

    Returns:
        A sentence for each that cannot be written, and one that names the others, for whoever reads on.
    """
    from pytest_injectivity.reports.registry import write_report

    said: list[str] = []
    written: list[str] = []
    for target in audited.report:
        try:
            write_report(target, replace(results, said=(*results.said, *said)))
        except OSError as error:
            said.append(f"--injx-report={target} was not written: {error}")
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        else:
            written.append(target.path)
    return [*said, f"written: {', '.join(written)}"] if written else said


def from_here(config: pytest.Config, name: str, root: Path) -> str:
    """Rewrite a test's name relative to ``root`` as relative to the folder pytest was started in."""
    path, *inside = name.split("::")
    return "::".join([os.path.relpath(root / path, config.invocation_params.dir), *inside])


def command(config: pytest.Config, models: RunModels) -> str:
    """The run as a command line: its tests, how they were chosen, and the options of the audit."""
    here = config.invocation_params.dir
    tests = [from_here(config, str(one), here) for one in config.option.file_or_dir]
    chosen = [("-k", config.option.keyword), ("-m", config.option.markexpr)]
    flags = [part for flag, given in chosen if given for part in (flag, given)]
    return f"{shlex.join(['pytest', *tests, *flags])} {models.command_line()}".rstrip()
