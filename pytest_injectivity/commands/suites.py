"""``pytest-injectivity suites``: says where the example suites are."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_injectivity.commands.answer import Answer
from pytest_injectivity.errors import OptionError

if TYPE_CHECKING:
    from pytest_injectivity.commands.answer import Commands


def add_suites(commands: "Commands") -> None:
    """Add the command to the parser's."""
    suites = commands.add_parser(
        "suites",
        help="say where the example suites are",
        description="Prints the folder of each example suite, or of the one that is named. To have a"
        " suite of your own: pytest-injectivity init.",
    )
    suites.add_argument("suite", nargs="?", metavar="NAME", help="of one suite (default: all)")
    suites.set_defaults(command=_suites)


def suite_folders() -> dict[str, Path]:
    """The folder of each example suite, by its name.

    Example:
        >>> list(suite_folders())
        ['default_audit', 'paper_figures', 'privacy_audit', 'quantization_gate', 'training_trajectory']
    """
    package = Path(__file__).parents[1]
    # In a wheel they are data of the package; in a checkout they stand at the top.
    home = next(
        folder
        for folder in (package / "suites", package.parent / "example_suites")
        if folder.is_dir()
    )
    return {ini.parent.name: ini.parent for ini in sorted(home.glob("*/pytest.ini"))}


def suite_folder(name: str) -> Path:
    """The folder of one example suite.

    Args:
        name: its name.

    Raises:
        OptionError: there is no such suite.
    """
    folders = suite_folders()
    if name not in folders:
        raise OptionError(f"{name!r} is not a suite: give one of {', '.join(folders)}")
    return folders[name]


def _suites(given: argparse.Namespace) -> Answer:
    if given.suite is not None:
        return Answer(str(suite_folder(given.suite)))
    return Answer("\n".join(f"{name}: {folder}" for name, folder in suite_folders().items()))
