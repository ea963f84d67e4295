"""Writes the baseline at the end of a green run (``--injx-update-baseline``)."""

from typing import TYPE_CHECKING

import pytest

from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import WrongUse
from pytest_injectivity.plugin.ending import Sentence

if TYPE_CHECKING:
    from pytest_injectivity.audit.audit import Audit

_LONGEST = 2000
_NOT_GREEN = (
    "--injx-update-baseline: nothing was written, as the run is not green (exit status {status})"
)
NOTHING_TO_RECORD: Sentence = (
    "no baseline was recorded",
    "--injx-update-baseline was given, no test asked for assert_matches_baseline: nothing was written",
)
"""The failure of a run that was to record a baseline and measured nothing for it."""


def update_baseline(
    session: pytest.Session, audit: "Audit | None"
) -> tuple[list[str], Sentence | None]:
    """Record what was measured, if the run is green.

    Returns:
        Sentences on what was written or why nothing was, and what makes the run fail, if anything does.
    """
    if session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return [_NOT_GREEN.format(status=int(session.exitstatus))], None
    if audit is None or not audit.baseline.to_record:
        return [], NOTHING_TO_RECORD
    try:
        return list(audit.baseline.update()), None
    except (OSError, WrongUse) as error:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
        why = one_line(str(error), _LONGEST)
        return [f"--injx-update-baseline: nothing was written: {why}"], None
