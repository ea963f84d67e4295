"""Writes the baseline at the end of a green run (``--injx-update-baseline``)."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError, WrongUse

if TYPE_CHECKING:
    from pytest_injectivity.audit.audit import Audit

_LONGEST = 2000
_NOT_GREEN = (
    "--injx-update-baseline: nothing was written, as the run is not green (exit status {status})"
)
NOTHING_TO_RECORD = (
    "no baseline was recorded",
    "--injx-update-baseline was given, no test asked for assert_matches_baseline: nothing was written",
)
"""The failure of a run that was to record a baseline and measured nothing for it."""


def update_baseline(
    session: pytest.Session, audits: "Iterable[Audit]"
) -> tuple[list[str], tuple[str, str] | None]:
    """Record what was measured of each audit, if the run is green.

    Returns:
        Sentences on what was written or why nothing was, and what makes the run fail, if anything does.
    """
    if session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return [_NOT_GREEN.format(status=int(session.exitstatus))], None
    recording = [one for audit in audits for one in audit.baselines if one.to_record]
    if not recording:
        return [], NOTHING_TO_RECORD
    said: list[str] = []
    written: set[Path] = set()
    for baseline in recording:
        try:
            if baseline.path in written:
                raise OptionError(
                    f"{baseline.path} is the baseline of two models of this run, of which one is"
                    " written: record each in a run, and a folder, of its own"
                )
            written.add(baseline.path)
            said += baseline.update()
        except (OSError, WrongUse) as error:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
            why = one_line(str(error), _LONGEST)
            said.append(f"--injx-update-baseline: nothing was written: {why}")
    return said, None
