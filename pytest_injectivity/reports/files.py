"""Writes the reports that were asked for: each kind of ``--injx-report`` has its file here."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_injectivity.config.parsers import ReportTarget
    from pytest_injectivity.results.outcome import Outcome
    from pytest_injectivity.results.run_results import RunResults


def write_report(
    target: "ReportTarget", findings: "RunResults", outcome: "Outcome", *, complete: bool
) -> None:
    """Write one report.

    Args:
        target: its kind and its file.
        findings: what the tests found.
        outcome: how the run ended.
        complete: False when a worker was lost.

    Raises:
        OSError: the file cannot be written.
    """
    if target.kind == "markdown":
        from pytest_injectivity.reports.markdown import write_markdown

        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        write_markdown(target.path, findings, outcome, step_summary=summary)
    elif target.kind == "annotations":
        from pytest_injectivity.core.files import write_whole
        from pytest_injectivity.reports.annotations import annotations

        lines = annotations(outcome, workspace())
        write_whole(Path(target.path), "".join(f"{line}\n" for line in lines))
    else:
        from pytest_injectivity.reports.json import write_json

        write_json(target.path, findings, complete=complete, outcome=outcome)


def workspace() -> Path:
    """The folder that holds the files GitHub knows: the checked-out repository, else this one."""
    return Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd())
