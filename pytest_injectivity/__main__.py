"""Chores of the store: ``python -m pytest_injectivity purge``."""

import argparse
import sys
from collections.abc import Sequence

from pytest_injectivity.errors import OptionError, WrongUse
from pytest_injectivity.options import AuditConfig
from pytest_injectivity.text import one_line

_WRONG_USE = 2  # as argparse's own


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    Args:
        arguments: the command and its options; those of the process by default.
    """
    parser = argparse.ArgumentParser(prog="python -m pytest_injectivity", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    purge = commands.add_parser(
        "purge",
        help="remove the hidden states and numbers kept between runs",
        description="Removes every entry of the store that no process uses, and then the store. A"
        " store is as sensitive as the prompts its states come from. A folder that is no store is"
        " left as it is.",
    )
    purge.add_argument(
        "--cache-dir",
        metavar="DIR",
        help="the store, as given to --injx-cache-dir (default: the user's cache folder)",
    )
    purge.set_defaults(command=_purge)
    given = parser.parse_args(arguments)
    try:
        print(given.command(given))  # noqa: T201 - a command's answer
    except WrongUse as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)  # noqa: T201 - likewise
        return _WRONG_USE
    return 0


def _purge(given: argparse.Namespace) -> str:
    from pytest_injectivity.states.store import Store

    folder = AuditConfig(cache_dir=given.cache_dir).cache_folder
    if not folder.exists():
        return f"nothing to remove: {folder} does not exist"
    if not Store.is_at(folder):
        raise OptionError(f"--cache-dir {folder} is no store of this package: nothing was removed")
    removed = Store(folder).purge()
    said = f"removed {removed.entries} entries ({removed.size:,} bytes) of {folder}"
    return f"{said}; {removed.in_use} in use were left" if removed.in_use else said


if __name__ == "__main__":
    sys.exit(main())
