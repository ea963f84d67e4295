"""The JSON report: everything the run found, with a schema version, written whole or not at all."""

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_injectivity.findings import Findings
    from pytest_injectivity.outcome import Outcome

SCHEMA = 1
"""Raised when a field changes its meaning or goes; new fields do not raise it."""


def write_json(
    path: str, findings: "Findings", *, complete: bool, outcome: "Outcome | None" = None
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


def write_whole(path: Path, text: str) -> None:
    """Write a text file through a temporary one beside it, so that no half file is ever seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile, whose files nobody else may read: a report has the mode of any other file.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
