"""One pytest run: who audits in this process, what all processes found, and what is made of it.

A test's findings travel to the process that reports as properties of its report (JSON texts, never
pickles), so one worker, four workers and no workers are the same path. Two things are decided at the
end of a run and become failing reports of their own, because a status alone is invisible to JUnit:
that a worker was lost, and that nothing was compared where something was asked for.
"""

import json
import os
import secrets
import shlex
from collections.abc import Generator, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ExceptionRepr

from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import GateFailure, WrongUse
from pytest_injectivity.plugin.failures import Failures
from pytest_injectivity.results.run_results import RunResults

if TYPE_CHECKING:
    from pytest_injectivity.audit.audit import Audit
    from pytest_injectivity.results.outcome import Outcome

_PROPERTY = "injx."
_WRONG_USE = "injx.wrong_use"
_LONGEST = 2000
_NOTHING_COMPARED = (
    "an audit was asked for ({asked}) and no test measured or judged anything: run tests that use the"
    " injx fixtures, such as example_suites/quantization_gate"
)
_NOT_GREEN = (
    "--injx-update-baseline: nothing was written, as the run is not green (exit status {status})"
)
_NOTHING_TO_RECORD = (
    "--injx-update-baseline was given and no test asked for assert_matches_baseline: nothing was"
    " written"
)


class Run:
    """The state and the hooks of one pytest run.

    Args:
        config: pytest's.
        audited: what to audit.
        named: whether somebody asked for an audit in so many words (a model on the command line, or
            ``--injx-require``), so that comparing nothing is a failure.
    """

    def __init__(self, config: pytest.Config, audited: AuditConfig, *, named: bool) -> None:
        self.config = config
        self.audited = audited
        self.named = named
        self.findings = RunResults()
        self.lost_workers: list[str] = []
        self._failures = Failures(config.rootpath)
        self._outcome: Outcome | None = None  # how the run ended, where somebody is to be told
        self._announced: list[str] = []
        self._where = ""
        self._ran = False
        worker: dict[str, Any] = getattr(config, "workerinput", {})
        self._is_worker = bool(worker)
        self.key = bytes.fromhex(worker["injx_key"]) if worker else audited.key()
        self.name: str = worker["injx_run"] if worker else secrets.token_hex(8)

    @cached_property
    def audit(self) -> "Audit":
        """The audit of this process, made when the first test asks for it."""
        from pytest_injectivity.audit.audit import Audit
        from pytest_injectivity.reports.progress import TerminalWatcher

        watcher = TerminalWatcher(self._announced.append, None if self._is_worker else self.config)
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        audit = Audit(
            self.audited,
            watcher=watcher,
            workers=workers,
            key=self.key,
            run=self.name,
            scratch=self.scratch,
        )
        audit.where = self._where
        return audit

    @cached_property
    def scratch(self) -> Path | None:
        """With ``--injx-no-cache``, the folder of this run, which its workers share."""
        if not self.audited.no_cache:
            return None
        if self._is_worker:
            return Path(self.config.workerinput["injx_scratch"])  # type: ignore[attr-defined] # xdist's
        import tempfile

        return Path(tempfile.mkdtemp(prefix="pytest-injectivity-"))

    @pytest.hookimpl
    def pytest_report_header(self) -> str | None:
        """One line on what is about to be audited, where somebody said so.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_report_header
        """
        said = self.audited.command_line()
        return one_line(f"injectivity: {said}", _LONGEST) if said or self.named else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Workers name prompts by the same keyed hashes and share a store (a hook of pytest-xdist)."""
        node.workerinput["injx_key"] = self.key.hex()
        node.workerinput["injx_run"] = self.name
        if self.scratch is not None:
            node.workerinput["injx_scratch"] = str(self.scratch)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A lost worker makes the run incomplete (a hook of pytest-xdist)."""
        if error:
            self.lost_workers.append(str(node.gateway.id))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        """Verdicts name the test that reproduces them; what a test found goes with its report.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtest_setup
        """
        self._where = shlex.quote(_from_here(self.config, item.nodeid, self.config.rootpath))
        if "audit" in self.__dict__:
            self.audit.where = self._where
        try:
            return (yield)
        finally:
            item.user_properties.extend(self._news())

    # A gate may stand in a fixture as well as in a test.
    pytest_runtest_call = pytest_runtest_teardown = pytest_runtest_setup

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self,
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Wrong use while tests are collected (``injx_layer``) is one paragraph as well.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_make_collect_report
        """
        report = yield
        excinfo = getattr(getattr(report, "call", None), "excinfo", None)
        if excinfo is not None and isinstance(excinfo.value, WrongUse):
            report.longrepr = _paragraph(excinfo.value)
            # What a report holds beside its fields travels with it from a worker.
            report.__dict__[_WRONG_USE] = _paragraph(excinfo.value)
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Wrong use while tests were collected, here or by a worker.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_collectreport
        """
        if _WRONG_USE in report.__dict__:
            self.findings.wrong_use.append(str(report.__dict__[_WRONG_USE]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Wrong use is one paragraph, without our frames; a gate's short line is its verdict.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtest_makereport
        """
        report = yield
        error = None if call.excinfo is None else call.excinfo.value
        if isinstance(error, WrongUse) and report.failed:
            report.longrepr = _paragraph(error, _line(call.excinfo, item))
            report.user_properties.append((_WRONG_USE, _paragraph(error)))
        elif isinstance(error, GateFailure) and isinstance(report.longrepr, ExceptionRepr):
            # The short summary shows this line and cuts it; the class name would take half of it.
            crash = report.longrepr.reprcrash
            if crash is not None:
                crash.message = str(error).partition("\n")[0]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather what the tests found, in the one process that reports.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtest_logreport
        """
        # Every report of a test carries all its properties; the last one is the complete one.
        for name, text in report.user_properties:
            if name == _WRONG_USE:
                self.findings.wrong_use.append(str(text))
                self._failures.misused(report.nodeid, str(text))
            elif report.when == "teardown" and str(name).startswith(_PROPERTY):
                self.findings.take(name.removeprefix(_PROPERTY), str(text))
                if name == f"{_PROPERTY}verdict":
                    self._failures.judged(report.nodeid, self.findings.verdicts[-1])
        self._failures.take(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Tests are about to run: this is no ``--fixtures``, ``--collect-only`` or ``--setup-plan``.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtestloop
        """
        option = self.config.option
        self._ran = not (self._is_worker or option.collectonly or option.setuponly)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Decide what only the end of a run can tell, then write the reports.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_sessionfinish
        """
        if not self._ran:
            return
        told = bool(self.audited.report) or os.environ.get("GITHUB_ACTIONS") == "true"
        failed = self._failures.tests if told else ()  # before failures of the run's own are added
        incomplete = list(self._incomplete())
        for title, text in incomplete:
            self._fail(session, title, text)
        if self.findings.wrong_use:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        incomplete += self._update_baseline(session)
        if not told:
            return
        from pytest_injectivity.results.outcome import Outcome

        self._outcome = Outcome(
            exit_status=int(session.exitstatus),
            incomplete=tuple(f"{title}: {text}" for title, text in incomplete),
            wrong_use=tuple(dict.fromkeys(self.findings.wrong_use)),
            failed=failed,
            command=_command(self.config, self.audited),
        )
        self._write_reports(session, self._outcome)

    def pytest_unconfigure(self) -> None:
        """What was kept for this run only is removed, however the run ended.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_unconfigure
        """
        if self._is_worker or "scratch" not in self.__dict__ or self.scratch is None:
            return
        import shutil

        shutil.rmtree(self.scratch, ignore_errors=True)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table of layers, and the sentences a person should see.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_terminal_summary
        """
        if self._is_worker:
            return
        if self.findings.compared or self.findings.said:
            from pytest_injectivity.reports.terminal import write_summary

            terminalreporter.section("injectivity")
            write_summary(self.findings, terminalreporter)
        self._annotate(terminalreporter)

    def _news(self) -> Iterator[tuple[str, str]]:
        if "audit" not in self.__dict__:
            return
        news = self.audit.news()
        if news.run is not None:
            yield f"{_PROPERTY}run", _json(news.run.to_dict())
        for layer in news.layers:
            yield f"{_PROPERTY}layer", _json(layer.to_dict())
        for comparison in news.comparisons:
            yield f"{_PROPERTY}comparison", _json(comparison.to_dict())
        for release in news.releases:
            yield f"{_PROPERTY}release", _json(release.to_dict())
        for verdict in news.verdicts:
            yield f"{_PROPERTY}verdict", _json(verdict.to_dict())
            for reason in verdict.reasons:
                # For people and CI pages that read JUnit: one number a layer and check.
                yield f"{verdict.check}.{reason.where}", f"{reason.value!r} {reason.status}"
        while self._announced:
            yield f"{_PROPERTY}said", self._announced.pop(0)

    def _incomplete(self) -> Iterator[tuple[str, str]]:
        if self.lost_workers and (self.named or self.findings.compared):
            workers = ", ".join(self.lost_workers)
            yield "the run was incomplete", f"pytest-xdist lost {workers}: some checks did not run"
        if self.named and not self.findings.compared and not self.findings.wrong_use:
            asked = self.audited.command_line() or "--injx-require"
            yield "nothing was compared", _NOTHING_COMPARED.format(asked=asked)

    def _fail(self, session: pytest.Session, title: str, text: str) -> None:
        report = pytest.TestReport(
            nodeid=f"injectivity::{title}",
            location=("injectivity", None, title),
            keywords={},
            outcome="failed",
            longrepr=f"{title}: {text}",
            when="call",
        )
        self.config.hook.pytest_runtest_logreport(report=report)
        if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _update_baseline(self, session: pytest.Session) -> list[tuple[str, str]]:
        """Record what was measured, if the run is green; else say why nothing was written."""
        if not self.audited.update_baseline:
            return []
        if session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            self.findings.said.append(_NOT_GREEN.format(status=int(session.exitstatus)))
            return []
        audit = self.__dict__.get("audit")
        if audit is None or not audit.to_record:
            nothing = ("no baseline was recorded", _NOTHING_TO_RECORD)
            self._fail(session, *nothing)
            return [nothing]
        try:
            self.findings.said += audit.update_baseline()
        except (OSError, WrongUse) as error:
            said = one_line(str(error), _LONGEST)
            self.findings.said.append(f"--injx-update-baseline: nothing was written: {said}")
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        return []

    def _annotate(self, terminalreporter: pytest.TerminalReporter) -> None:
        """In a GitHub workflow, one line for each red verdict, unless a file of them was asked for."""
        asked = any(target.kind == "annotations" for target in self.audited.report)
        if self._outcome is None or asked:
            return
        from pytest_injectivity.reports.annotations import annotations, in_workflow
        from pytest_injectivity.reports.files import workspace

        for line in annotations(self._outcome, workspace()) if in_workflow() else ():
            terminalreporter.write_line(line)

    def _write_reports(self, session: pytest.Session, outcome: "Outcome") -> None:
        if not self.audited.report:
            return
        from pytest_injectivity.reports.files import write_report

        for target in self.audited.report:
            try:
                write_report(target, self.findings, outcome, complete=not self.lost_workers)
            except OSError as error:
                self.findings.said.append(f"--injx-report={target} was not written: {error}")
                session.exitstatus = pytest.ExitCode.USAGE_ERROR


def _from_here(config: pytest.Config, name: str, root: Path) -> str:
    """A test's name, counted from ``root``, as it is given on the command line: seen from here."""
    path, *inside = name.split("::")
    return "::".join([os.path.relpath(root / path, config.invocation_params.dir), *inside])


def _command(config: pytest.Config, audited: AuditConfig) -> str:
    """The run as a command line: its tests, how they were chosen, and the options of the audit."""
    here = config.invocation_params.dir
    tests = [_from_here(config, str(one), here) for one in config.option.file_or_dir]
    chosen = [("-k", config.option.keyword), ("-m", config.option.markexpr)]
    flags = [part for flag, given in chosen if given for part in (flag, given)]
    return f"{shlex.join(['pytest', *tests, *flags])} {audited.command_line()}".rstrip()


def _paragraph(error: WrongUse, where: str = "") -> str:
    """The message on one line: it may quote files that are not to be trusted."""
    return f"{type(error).__name__}: {one_line(str(error), _LONGEST)}{where}"


def _line(excinfo: Any, item: pytest.Item) -> str:
    """The line of the test's file that asked for it, where there is one."""
    lines = [entry.lineno + 1 for entry in excinfo.traceback if entry.path == item.path]
    return f" ({item.path.name}, line {lines[-1]})" if lines else ""


def _json(plain: dict[str, Any]) -> str:
    return json.dumps(plain, allow_nan=False)
