"""Plans of whole audits, from the calls of checks."""

from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import Audit
from pytest_injectivity.audit.planning.needs import Asked
from pytest_injectivity.audit.planning.plan_audit import plan_audit
from pytest_injectivity.results.plan import Plan
from pytest_injectivity.testing import tiny_decoder
from tests.audits import audit_of

IDS = [[1, 2, 3], [3, 4], [5], [7, 8]]


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """Of a tiny model, whose machine is stated, so that nothing is timed."""
    return audit_of(tmp_path, tiny_decoder("llama", hidden=8, layers=3), IDS, tflops=1.0)


def _plan(audit: Audit, check: str, **arguments: Any) -> Plan:
    return plan_audit(audit.config, [Asked(check, arguments)])


@pytest.mark.parametrize("tolerance", [{"margin_q": 0.1}, {}, 0.1])
def test_tolerances_by_metric_name_no_layers(audit: Audit, tolerance: object) -> None:
    """The layers of the config are compared with the baseline, as the check does."""
    plan = _plan(audit, "matches_baseline", tolerance=tolerance)
    assert plan == _plan(audit, "matches_baseline")
    assert "4 prompts at 4 layers" in [one.what for one in plan.phases]


def test_checkpoints_that_are_none_are_said_not_to_be_known(audit: Audit) -> None:
    """A plan goes on: the run says what is accepted."""
    (said,) = _plan(audit, "stable_along_training", within=2.0, checkpoints=5).unforeseen
    assert "checkpoints=5: give a folder" in said
