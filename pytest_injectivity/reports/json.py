"""The JSON report: everything the run found, with a schema version, written whole or not at all."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_injectivity.core.files import write_whole

if TYPE_CHECKING:
    from pytest_injectivity.results.outcome import Outcome
    from pytest_injectivity.results.run_results import RunResults

SCHEMA = 1
"""Raised when a field changes its meaning or goes; new fields do not raise it."""


def write_json(
    path: str, findings: "RunResults", *, complete: bool, outcome: "Outcome | None" = None
) -> None:
    """Write the findings; the folder is made, the file replaced only when all is written.

    Args:
        path: of the file.
        findings: what the tests found.
        complete: False when a worker was lost.
        outcome: how the run ended; None: not known.

    Raises:
        OSError: the file cannot be written.
    """
    report = {
        "schema": SCHEMA,
        "tool": "pytest-injectivity",
        "complete": complete,
        "run": findings.run,
        "layers": list(findings.layers.values()),
        "releases": list(findings.releases.values()),
        "comparisons": list(findings.comparisons.values()),
        "verdicts": findings.verdicts,
        "said": findings.said,
        "wrong_use": findings.wrong_use,
        "outcome": None if outcome is None else outcome.to_dict(),
    }
    write_whole(Path(path), json.dumps(report, indent=1, allow_nan=False) + "\n")
