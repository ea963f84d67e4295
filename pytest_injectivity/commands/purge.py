"""``pytest-injectivity purge``: empties the store."""

import argparse
from typing import TYPE_CHECKING

from pytest_injectivity.commands.answer import Answer
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.text import number_of
from pytest_injectivity.errors import OptionError

if TYPE_CHECKING:
    from pytest_injectivity.commands.answer import Commands


def add_purge(commands: "Commands") -> None:
    """Add the command to the parser's."""
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
