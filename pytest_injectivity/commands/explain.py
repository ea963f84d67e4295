"""``pytest-injectivity explain``: a JSON report in plain sentences."""

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_injectivity.commands.answer import Answer

if TYPE_CHECKING:
    from pytest_injectivity.commands.answer import Commands

_WIDTH = 80


def add_explain(commands: "Commands") -> None:
    """Add the command to the parser's."""
    explain = commands.add_parser(
        "explain",
        help="say in plain sentences what a JSON report found",
        description="Reads a JSON report (--injx-report=json:PATH) and says of each check what it asked,"
        " what was found, why it is red, green or undecided, what would have passed and what to do"
        " next. Exit status: 0, whatever the report found; 4 where it cannot be read.",
    )
    explain.add_argument("report", metavar="REPORT.json", type=Path, help="the report")
    explain.set_defaults(command=_explain)


def _explain(given: argparse.Namespace) -> Answer:
    from pytest_injectivity.reports.explanation import explanation
    from pytest_injectivity.results.saved_runs import read_report

    width = shutil.get_terminal_size((_WIDTH, 0)).columns
    return Answer(explanation(read_report(given.report), width=width))
