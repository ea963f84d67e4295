"""``pytest-injectivity init``: copies an example suite into a folder of one's own."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from pytest_injectivity.commands.answer import Answer
from pytest_injectivity.commands.suites import suite_folder
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.ini_text import IniValue, with_values
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError

if TYPE_CHECKING:
    from pytest_injectivity.commands.answer import Commands

_INI = "pytest.ini"
_COPIED = {".ini", ".md", ".py"}
_SUITE, _FOLDER = "quantization_gate", "injectivity"
_MODELS = ("model", "reference", "prompts")


def add_init(commands: "Commands") -> None:
    """Add the command to the parser's."""
    init = commands.add_parser(
        "init",
        help="copy an example suite into your project",
        description="Copies an example suite into a folder, to be changed and committed, and names the"
        " next command. No file is overwritten: where one is in the way nothing is copied.",
    )
    init.add_argument(
        "folder",
        nargs="?",
        default=_FOLDER,
        metavar="DIR",
        type=_folder,
        help=f"where the suite goes (default: {_FOLDER})",
    )
    init.add_argument(
        "--suite",
        default=_SUITE,
        metavar="NAME",
        help=f"one of those that pytest-injectivity suites lists (default: {_SUITE})",
    )
    for name in _MODELS:
        init.add_argument(
            f"--{name}",
            metavar=name.upper(),
            help=f"written into the suite's {_INI} as injx_{name}, as --injx-{name} takes it",
        )
    init.set_defaults(command=_init)


def _folder(text: str) -> Path:
    if not text:  # as of a variable of a shell that is not set
        raise argparse.ArgumentTypeError("an empty name is no folder: give one, or leave it out")
    return Path(text)


def _init(given: argparse.Namespace) -> Answer:
    named = {name: getattr(given, name) for name in _MODELS if getattr(given, name) is not None}
    AuditConfig(**named)  # refuses what is no value of these options
    source = suite_folder(given.suite)
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(source.iterdir())
        if path.is_file() and path.suffix in _COPIED
    }
    values = [IniValue(name=f"injx_{name}", lines=(value,)) for name, value in named.items()]
    texts[_INI] = with_values(texts[_INI], values)
    folder: Path = given.folder
    try:
        _write_all(folder, texts)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OptionError(
            f"{one_line(str(error.filename or folder))}: {reason}: nothing was copied"
        ) from None
    shown = quote(str(folder))
    lines = [f"copied {given.suite} to {folder}: {', '.join(texts)}", f"next: pytest {shown}"]
    if given.suite == _SUITE:
        lines += _more(shown, named)
    return Answer("\n".join(lines))


def _more(folder: str, named: Mapping[str, str]) -> list[str]:
    """The commands that the user of a gate may want after the first."""
    parent, child = quote(named.get("reference", "PARENT")), quote(named.get("model", "CHILD"))
    calibrate = f"pytest-injectivity calibrate {parent} {child} --suite={folder}"
    judge = (
        []
        if named.get("model")
        else [f"pytest {folder} --injx-model=CHILD --injx-reference=PARENT"]
    )
    return [f"      {one}" for one in (*judge, f"{calibrate}  # thresholds from models you trust")]


def _write_all(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files into a folder, all of them or none; none that exists is written over."""
    for name in texts:
        path = folder / name
        if path.exists() or path.is_symlink():
            raise OptionError(
                f"{one_line(str(path))} exists: nothing was copied; give another folder"
            )
    with _undone_on_failure() as written:
        for missing in [one for one in (folder, *folder.parents) if not one.exists()][::-1]:
            missing.mkdir()
            written.append(missing)
        for name, text in texts.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                written.append(folder / name)
                file.write(text)


@contextmanager
def _undone_on_failure() -> Iterator[list[Path]]:
    """Removes the files and folders that were noted, the last one first, where something fails."""
    written: list[Path] = []
    try:
        yield written
    except BaseException:
        for path in reversed(written):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
        raise
