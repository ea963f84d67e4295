"""One pytest run: the audit of this process, and the hooks that pytest calls while tests run.

A test's findings travel to the process that reports as properties of its report (JSON texts, never
pickles), so one worker, four workers and no workers are the same path.

Pytest imports this file on every start. What gathers findings and ends a run is imported when the first
test has run.
"""

import os
import shlex
from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ExceptionRepr

from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.config.run_models import RunModels
from pytest_injectivity.errors import GateFailure, OptionError, WrongUse
from pytest_injectivity.plugin import properties
from pytest_injectivity.plugin.audits import Audits
from pytest_injectivity.plugin.stops import Stops

if TYPE_CHECKING:
    from pytest_injectivity.audit.audit import Audit
    from pytest_injectivity.plugin.gathering import Gathering
    from pytest_injectivity.results.run_results import RunResults
    from pytest_injectivity.scale.ray_workers import RayWorkers

_LONGEST = 2000
_HOMELESS = (
    "injectivity: nothing is kept between runs, because this user has no folder for caches that can be"
    " written to (HOME, XDG_CACHE_HOME); --injx-cache-dir=DIR names one"
)


class Run:
    """The state and the hooks of one pytest run.

    Args:
        config: pytest's config.
        models: the models of the run, with what is audited of each and how.
        named: whether an audit was asked for explicitly (a model on the command line, or
            ``--injx-require``), so that comparing nothing is a failure.
        typed: the options that are given on the command line.
    """

    def __init__(
        self,
        config: pytest.Config,
        models: RunModels,
        *,
        named: bool,
        typed: frozenset[str] = frozenset(),
    ) -> None:
        self.config = config
        self.models = models
        self.audited = models.common
        self.named = named
        self.typed = typed
        self._used: set[str] = set()
        self._told_used: set[str] = set()
        self.stops = Stops()
        self._results: RunResults | None = None  # with the outcome of the run, where it is reported
        self._places: dict[str, int] = {}
        self._announced: list[str] = []
        self.audits = Audits(models, self._make_audit)
        self._gathering: Gathering | None = None
        self._test = ""
        self._ran = False
        worker: dict[str, Any] = getattr(config, "workerinput", {})
        self._is_worker = bool(worker)
        self.key = bytes.fromhex(worker["injx_key"]) if worker else self.audited.key()
        self.name: str = worker["injx_run"] if worker else os.urandom(8).hex()

    @property
    def gathering(self) -> "Gathering":
        """What the tests found, in the process that reports."""
        if self._gathering is None:
            from pytest_injectivity.plugin.gathering import Gathering

            self._gathering = Gathering(self.config.rootpath)
        return self._gathering

    def _make_audit(self, config: AuditConfig, name: str) -> "Audit":
        from pytest_injectivity.audit.audit import Audit
        from pytest_injectivity.reports.progress import TerminalWatcher

        worker: dict[str, Any] = getattr(self.config, "workerinput", {})
        watcher = TerminalWatcher(
            self._announced.append, self.config, worker=worker.get("workerid", "")
        )
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        audit = Audit(
            config,
            watcher=watcher,
            workers=workers,
            executor=self.executor,
            key=self.key,
            run=self.name,
            scratch=self.scratch,
            name=name,
            command=self.models.command_line(),
            used=self._used,
        )
        audit.target.where = self._where()
        return audit

    @cached_property
    def executor(self) -> "RayWorkers | None":
        """The workers of ``--injx-workers``."""
        if (asked := self.audited.workers) is None:
            return None
        from pytest_injectivity.scale.ray_workers import RayWorkers

        return RayWorkers(asked)

    @cached_property
    def scratch(self) -> Path | None:
        """Where nothing is kept between runs, the folder of this run, which its workers share."""
        if self.audited.kept_folder is not None:
            return None
        if self._is_worker:
            return Path(self.config.workerinput["injx_scratch"])  # type: ignore[attr-defined] # xdist's
        import tempfile

        return Path(tempfile.mkdtemp(prefix="pytest-injectivity-"))

    @pytest.hookimpl
    def pytest_report_header(self) -> list[str]:
        """Print a line on what is about to be audited, where an audit was asked for.

        And one where no folder can be found that numbers could be kept in.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_report_header
        """
        said = self.models.command_line()
        if not said and not self.named:
            return []
        lines = [f"injectivity: {said}"]
        if self.audited.kept_folder is None and not self.audited.no_cache:
            lines.append(_HOMELESS)
        return list(map(_one_line, lines))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give each worker the hash key and the store's folder (a hook of pytest-xdist)."""
        node.workerinput["injx_key"] = self.key.hex()
        node.workerinput["injx_run"] = self.name
        if self.scratch is not None:
            node.workerinput["injx_scratch"] = str(self.scratch)

    def config_of(self, model: str | None) -> AuditConfig:
        """The config of a model of the run, by its name; None: of the only one.

        Raises:
            OptionError: the run has several models and none is named.
        """
        if model is None and (names := self.models.names):
            raise OptionError(
                f"this run has several models ({', '.join(names)}): name injx, or the fixture that"
                " uses it, as an argument of the test, so that the test runs for each"
            )
        return self.models.configs[model or ""]

    def use(self, option: str) -> None:
        """Remember that a test used the value of an option."""
        self._used.add(option)

    def number(self, items: list[pytest.Item]) -> None:
        """Number the collected tests, which are the same in every worker, to put findings in order."""
        self._places = {item.nodeid: at for at, item in enumerate(items)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the tests of each model together, so that each model is loaded once.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_collection_modifyitems
        """
        if not (names := self.models.names):
            return
        from pytest_injectivity.plugin.parameters import model_of

        order: dict[str | None, int] = {name: at for at, name in enumerate(names)}
        items.sort(key=lambda item: order.get(model_of(item), -1))

    def shorten(self, report: pytest.CollectReport, error: BaseException) -> None:
        """Shorten wrong use during collection to one paragraph; other errors stay as they are."""
        if not isinstance(error, WrongUse):
            return
        report.longrepr = _paragraph(error)
        # Further attributes of a report travel with it from a worker.
        report.__dict__[properties.WRONG_USE] = _paragraph(error)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        """Remove the verdicts of an earlier attempt at the test, and gather what setup finds.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtest_setup
        """
        properties.forget_earlier_attempt(item)
        return (yield from self._telling(item, "setup"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        """Add what the test found to its report.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtest_call
        """
        return (yield from self._telling(item, "call"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None]:
        """Add what fixtures found in teardown to the test's report, because gates may be in fixtures.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtest_teardown
        """
        return (yield from self._telling(item, "teardown"))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record wrong use during collection, here or in a worker.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_collectreport
        """
        if properties.WRONG_USE in report.__dict__:
            self.gathering.misused(str(report.__dict__[properties.WRONG_USE]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Shorten wrong use to one paragraph without frames, and a failed gate's line to its verdict.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtest_makereport
        """
        report = yield
        report.__dict__[properties.AT] = self._places.get(item.nodeid, len(self._places))
        error = None if call.excinfo is None else call.excinfo.value
        if isinstance(error, WrongUse) and report.failed:
            report.longrepr = _paragraph(error, _line(call.excinfo, item))
            report.user_properties.append((properties.WRONG_USE, _paragraph(error)))
        elif isinstance(error, GateFailure) and isinstance(report.longrepr, ExceptionRepr):
            # The short summary shows this line and cuts it; the class name would take half of it.
            crash = report.longrepr.reprcrash
            if crash is not None:
                crash.message = str(error).partition("\n")[0]
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather what the tests found, in the one process that reports.

        Called before pytest's own reporters, which print wrong use in full for the first test only.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtest_logreport
        """
        self.gathering.take(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Note that tests run, unlike with ``--fixtures``, ``--collect-only`` or ``--setup-plan``.

        With ``--injx-plan`` the plan is printed instead, and no test runs.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_runtestloop
        """
        option = self.config.option
        if self.audited.plan and not session.testsfailed and not option.collectonly:
            from pytest_injectivity.plugin.plan import print_plan

            print_plan(session, self.audits)
            return True
        self._ran = not (self._is_worker or option.collectonly or option.setuponly)
        return None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Add failures that only the end of a run can show, then write the reports.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_sessionfinish
        """
        if not self._ran or self._nothing_happened():
            return
        from pytest_injectivity.plugin.ending import Ended, end

        ended = Ended(self.models, self.named, self.typed, self.audits, self.gathering, self.stops)
        self._results = end(session, ended)

    def pytest_unconfigure(self) -> None:
        """Remove the folder kept for this run only and end its workers, however the run ended.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_unconfigure
        """
        try:
            if (executor := self.__dict__.get("executor")) is not None:
                executor.close()
        finally:
            self._remove_scratch()

    def _remove_scratch(self) -> None:
        if self._is_worker or "scratch" not in self.__dict__ or self.scratch is None:
            return
        import shutil

        shutil.rmtree(self.scratch, ignore_errors=True)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int
    ) -> None:
        """Print red or green and why, the tables, and the sentences a person should see.

        https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_terminal_summary
        """
        if self._is_worker or self._gathering is None:
            return
        ended, gathering = self._results, self.gathering
        if gathering.anything or (ended is not None and ended.outcome is not None):
            from pytest_injectivity.plugin.summary import print_summary

            print_summary(terminalreporter, gathering, ended, exitstatus, self.audited.report)

    def _telling(self, item: pytest.Item, phase: str) -> Generator[None]:
        """Run a phase of a test: name the test in its verdicts, and add its findings to its report."""
        self._test = item.nodeid
        for audit in self.audits:
            audit.target.where = self._where()
        try:
            return (yield)
        finally:
            verdicts: list[properties.Property] = []
            others: list[properties.Property] = []
            for audit in self.audits:
                news = audit.news()
                verdicts += properties.verdict_properties(news)
                others += properties.properties_of(news, audit.target.name)
            others += map(properties.sentence, self._announced)
            self._announced.clear()
            others += map(properties.used, sorted(self._used - self._told_used))
            self._told_used |= self._used
            properties.tell(item, phase, verdicts, others)

    def _where(self) -> str:
        """The name of the running test, from the folder pytest was started in, quoted for a shell."""
        from pytest_injectivity.plugin.ending import from_here

        return shlex.quote(from_here(self.config, self._test, self.config.rootpath))

    def _nothing_happened(self) -> bool:
        """Whether no test ran and nothing was asked for."""
        asked = self.named or bool(self.models.command_line())
        return self._gathering is None and not self.stops.lost_workers and not asked


def _paragraph(error: WrongUse, where: str = "") -> str:
    """The message on one line, escaped, because it may quote files that are not to be trusted."""
    return f"{type(error).__name__}: {_one_line(str(error))}{where}"


def _one_line(text: str) -> str:
    from pytest_injectivity.core.text import one_line

    return one_line(text, _LONGEST)


def _line(excinfo: Any, item: pytest.Item) -> str:
    """The line of the test's file at which the wrong use happened; empty where there is none."""
    lines = [entry.lineno + 1 for entry in excinfo.traceback if entry.path == item.path]
    return f" ({item.path.name}, line {lines[-1]})" if lines else ""
