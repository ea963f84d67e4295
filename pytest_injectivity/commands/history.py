"""``pytest-injectivity history``: what drifted in many saved runs, without a model."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_injectivity.commands.answer import Answer
from pytest_injectivity.errors import OptionError

if TYPE_CHECKING:
    from pytest_injectivity.commands.answer import Commands
    from pytest_injectivity.results.history.history import History

_RED, _DAMAGED = 1, 4
_WIDTH = 100


def add_history(commands: "Commands") -> None:
    """Add the command to the parser's."""
    history = commands.add_parser(
        "history",
        help="look for drift in many saved runs, without a model",
        description="Reads JSON reports (--injx-report=json:PATH) by date, and holds the last run of"
        " each model against the runs before it, layer by layer and metric by metric. Only runs with"
        " the same model, dtype, quantization, prompts, N, metric and seed are held against each other."
        " Exit status: 0 nothing drifted, or there are too few runs to say; 1 a number drifted or is"
        " gone, a verdict turned red, or the newest report cannot be judged; 4 a file is damaged, or"
        " there is no report.",
    )
    history.add_argument(
        "places",
        nargs="+",
        metavar="DIR",
        type=Path,
        help="a folder whose .json files are read, also those in folders below, or a file",
    )
    history.add_argument(
        "--html",
        type=Path,
        metavar="PATH",
        help="write a page of trends with the bounds (extra html)",
    )
    history.add_argument(
        "--since",
        metavar="DAY|COMMIT",
        help="begin with the runs of a day, such as 2026-11-30, or with the first run of a commit: after"
        " a change that was meant",
    )
    history.set_defaults(command=_history)


def _history(given: argparse.Namespace) -> Answer:
    from pytest_injectivity.reports.history.text import history_text
    from pytest_injectivity.results.history.history import read_history

    history = read_history(given.places, since=given.since)
    if given.html is not None:
        _write_page(given.html, history)
    width = shutil.get_terminal_size((_WIDTH, 0)).columns
    text = history_text(history, width=width, color=sys.stdout.isatty())
    if history.flags:
        return Answer(text, _RED)
    return Answer(text, _DAMAGED if history.damaged or not history.runs else 0)


def _write_page(path: Path, history: "History") -> None:
    from pytest_injectivity.core.files import write_whole
    from pytest_injectivity.reports.history.page import history_html

    try:
        write_whole(path, history_html(history))
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise OptionError(f"--html {path} was not written: {why}") from None
