"""The command ``pytest-injectivity``, also ``python -m pytest_injectivity``: work without a test run.

``compare`` holds two saved runs against each other, ``purge`` empties the store, ``suites`` says where
the example suites are. Wrong use of each is exit status 4, as it is of pytest; argparse's own 2 would
be an interrupted run.
"""

import argparse
import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.errors import OptionError, WrongUse

_WORSE = 1
_WRONG_USE = 4
_LONGEST = 2000
_WIDTH = 100


class Answer(NamedTuple):
    """What a command prints, and the exit status."""

    text: str
    status: int = 0


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
        description="Compares saved runs of the audit, empties its store, finds its example suites.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    purge = commands.add_parser(
        "purge",
        help="remove the hidden states and numbers kept between runs",
        description="Removes every entry of the store that no process uses, and then the store. A"
        " store is as sensitive as the prompts its states come from. A folder that is not a store is"
        " left as it is.",
    )
    purge.add_argument(
        "--cache-dir",
        metavar="DIR",
        help="the store, as given to --injx-cache-dir (default: the user's cache folder)",
    )
    purge.set_defaults(command=_purge)
    _add_compare(commands)
    suites = commands.add_parser(
        "suites",
        help="say where the example suites are",
        description="Prints the folder of each example suite, or of the one that is named: run it with"
        ' pytest "$(pytest-injectivity suites quantization_gate)", or copy it and change it.',
    )
    suites.add_argument("suite", nargs="?", metavar="NAME", help="of one suite (default: all)")
    suites.set_defaults(command=_suites)
    given = parser.parse_args(arguments)
    try:
        answer: Answer = given.command(given)
    except WrongUse as error:
        print(f"error: {one_line(str(error), _LONGEST)}", file=sys.stderr)  # noqa: T201 - a command's answer
        return _WRONG_USE
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a log may know no "α"
    print(answer.text)  # noqa: T201 - likewise
    return answer.status


def _purge(given: argparse.Namespace) -> Answer:
    from pytest_injectivity.store.store import Store

    folder = AuditConfig(cache_dir=given.cache_dir).cache_folder
    if folder is None:
        return Answer(
            "nothing to remove: this user has no folder for caches that can be written to"
        )
    if not folder.exists():
        return Answer(f"nothing to remove: {folder} does not exist")
    if not Store.is_at(folder):
        raise OptionError(
            f"--cache-dir {folder} is not a store of this package: nothing was removed"
        )
    removed = Store(folder).purge()
    said = (
        f"removed {number_of(removed.entries, 'entry', 'entries')} ({removed.size:,} bytes) of"
        f" {folder}"
    )
    return Answer(f"{said}; {removed.in_use} in use were left" if removed.in_use else said)


def _suites(given: argparse.Namespace) -> Answer:
    package = Path(__file__).parent
    # In a wheel they are data of the package; in a checkout they stand at the top.
    home = next(
        folder
        for folder in (package / "suites", package.parent / "example_suites")
        if folder.is_dir()
    )
    folders = {ini.parent.name: ini.parent for ini in sorted(home.glob("*/pytest.ini"))}
    if given.suite is None:
        return Answer("\n".join(f"{name}: {folder}" for name, folder in folders.items()))
    if given.suite not in folders:
        raise OptionError(f"{given.suite!r} is not a suite: give one of {', '.join(folders)}")
    return Answer(str(folders[given.suite]))


def _add_compare(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    compare = commands.add_parser(
        "compare",
        help="hold one saved run against another, without a model",
        description="Compares the numbers of two JSON reports (--injx-report=json:PATH), layer by layer"
        " and metric by metric; a baseline may stand for either. Models, dtypes and quantization may"
        " differ; prompts, N, metric and seed may not. Exit status: 0 nothing is worse beyond its"
        " tolerance, 1 something is, 4 the files cannot be read or compared.",
    )
    compare.add_argument("was", metavar="A.json", type=Path, help="the run that was")
    compare.add_argument("now", metavar="B.json", type=Path, help="the run that is held against it")
    compare.add_argument(
        "--tolerance",
        action="append",
        default=[],
        metavar="[METRIC=]SHARE",
        help="how much worse a number may be, as a share of what it was: 0.02 for every metric that is"
        " no count, margin_q=0.05 for one (may be given again)",
    )
    compare.set_defaults(command=_compare)


def _compare(given: argparse.Namespace) -> Answer:
    from pytest_injectivity.reports.comparison import compare, comparison_text, worse
    from pytest_injectivity.results.changes import read_tolerances
    from pytest_injectivity.results.saved_runs import read_recorded

    asked = _tolerances(given.tolerance)
    was, now = read_recorded(given.was), read_recorded(given.now)
    resolution = max(was.resolution, now.resolution)
    layers = compare(was, now, read_tolerances(asked, resolution=resolution))
    size = shutil.get_terminal_size((_WIDTH, 0))
    text = comparison_text(was, now, layers, width=size.columns, color=sys.stdout.isatty())
    return Answer(text, _WORSE if worse(layers) else 0)


def _tolerances(given: Sequence[str]) -> dict[str, float]:
    """Tolerances by metric; a share without a metric holds for every other metric."""
    from pytest_injectivity.results.metrics import recorded

    pairs = [one.rpartition("=") for one in given]
    for_all = [_share(share) for _, equals, share in pairs if not equals]
    every = {} if not for_all else {one.name: for_all[-1] for one in recorded() if not one.counted}
    return every | {name: _share(share) for name, equals, share in pairs if equals}


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise OptionError(
            f"--tolerance {text!r} is not a number: give a share such as 0.02, or margin_q=0.05"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
