"""The JSON report: everything the run found, with a schema version, written whole or not at all."""

import json
from pathlib import Path

from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.strict_json import plain
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.saved_runs import REPORT_SCHEMA, TOOL


def write_report(path: Path, results: RunResults) -> None:
    """Write the results; the folder is made, the file replaced only when all is written.

    Raises:
        OSError: the file cannot be written.
    """
    report = {"schema": REPORT_SCHEMA, "tool": TOOL} | plain(results)
    write_whole(path, json.dumps(report, indent=1, allow_nan=False) + "\n")
