"""The command ``pytest-injectivity``, also ``python -m pytest_injectivity``: work without a test run.

Each command is a file of `pytest_injectivity.commands`. Wrong use of each is exit status 4 and an
interrupted command 2, as they are of pytest; argparse's own 2 for wrong use is not.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from pytest_injectivity.commands.answer import Answer
from pytest_injectivity.commands.audit import add_audit
from pytest_injectivity.commands.calibrate import add_calibrate
from pytest_injectivity.commands.compare import add_compare
from pytest_injectivity.commands.completion import add_completion
from pytest_injectivity.commands.explain import add_explain
from pytest_injectivity.commands.history import add_history
from pytest_injectivity.commands.init import add_init
from pytest_injectivity.commands.purge import add_purge
from pytest_injectivity.commands.suites import add_suites
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import WrongUse

_INTERRUPTED, _WRONG_USE = 2, 4
_LONGEST = 2000


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(_WRONG_USE, f"error: {one_line(message, _LONGEST)}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    Args:
        arguments: the command and its options; those of the process by default.
    """
    parser: argparse.ArgumentParser = _Parser(
        prog="pytest-injectivity",
        description="Audits a model without a test file, copies an example suite into your project,"
        " calibrates its thresholds, compares saved runs, looks for drift in many of them, empties the"
        " store.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        add_audit,
        add_init,
        add_calibrate,
        add_compare,
        add_explain,
        add_history,
        add_purge,
        add_suites,
        add_completion,
    ):
        add(commands)
    given = parser.parse_args(arguments)
    try:
        answer: Answer = given.command(given)
    except WrongUse as error:
        print(f"error: {one_line(str(error), _LONGEST)}", file=sys.stderr)  # noqa: T201 - a command's answer
        return _WRONG_USE
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)  # noqa: T201 - likewise
        return _INTERRUPTED
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a log may know no "α"
    if answer.text:
        _print(answer.text)
    return answer.status


def _print(text: str) -> None:
    """Print a text, of which a reader such as ``head`` may want the beginning alone."""
    try:
        print(text, flush=True)  # noqa: T201 - a command's answer
    except BrokenPipeError:
        # Python would complain at its end that it cannot write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
