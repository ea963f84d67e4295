"""``--injx-plan``: prints what the collected tests would measure, and runs none of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_injectivity.audit.bound_checks import CHECKS
from pytest_injectivity.audit.planning.needs import Asked
from pytest_injectivity.audit.planning.plan_audit import plan_audit
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.errors import InjectivityError
from pytest_injectivity.plugin.audits import Audits
from pytest_injectivity.plugin.parameters import model_of
from pytest_injectivity.plugin.reading.collected import read_tests
from pytest_injectivity.reports.plan_table import plan_lines

if TYPE_CHECKING:
    from pytest_injectivity.audit.audit import Audit


def print_plan(session: pytest.Session, audits: Audits) -> None:
    """Print the plan of the collected tests, for each model.

    Args:
        session: pytest's, whose tests are collected.
        audits: what is audited and how; nothing is measured of it.

    Raises:
        pytest.UsageError: a model or the prompts cannot be audited.
    """
    for name in audits.models.configs:
        items = [one for one in session.items if (model_of(one) or "") == name]
        try:
            _print_plan(session, items, audits.of_model(name))
        except InjectivityError as error:
            raise pytest.UsageError(str(error)) from None
    if reports := audits.models.common.report:
        paths = ", ".join(one_line(target.path) for target in reports)
        _reporter(session).write_line(f"not written, because nothing was measured: {paths}")


def _reporter(session: pytest.Session) -> Any:
    return session.config.pluginmanager.getplugin("terminalreporter")


def _print_plan(session: pytest.Session, items: Sequence[pytest.Item], audit: "Audit") -> None:
    """Print the plan of some tests, which are of one model."""
    reporter = _reporter(session)
    known = {"n_layers": audit.n_layers, "layers": audit.layers}
    read = read_tests(items, CHECKS, known)
    asked = [Asked(name, given) for name, given in read.calls]
    plan = plan_audit(audit.config, asked, watcher=audit.watcher)
    of_model = f" of {audit.target.name}" if audit.target.name else ""
    reporter.section(f"injectivity: plan{of_model}")
    reporter.write_line(
        f"{number_of(len(items), 'test')} collected, {read.tests} of them with checks,"
        f" {len(read.calls)}"
        " calls of checks; read from their source"
    )
    for line in plan_lines(plan):
        reporter.write_line(line)
    for sentence in read.unforeseen:
        reporter.write_line(f"not foreseen: {sentence}")
