"""``pytest-injectivity completion``: a script that has a shell complete commands and options.

The script is made from the parser, so it knows each option as soon as there is one. It holds words only
and starts no Python.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pytest_injectivity.commands.answer import Answer

if TYPE_CHECKING:
    from pytest_injectivity.commands.answer import Commands

_PROGRAM = "pytest-injectivity"
_INSTALL = {
    "bash": f'eval "$({_PROGRAM} completion bash)" in ~/.bashrc',
    "zsh": f'eval "$({_PROGRAM} completion zsh)" in ~/.zshrc, after compinit',
    "fish": f"{_PROGRAM} completion fish > ~/.config/fish/completions/{_PROGRAM}.fish",
}


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        flags: its names.
        valued: whether a value follows.
        words: the values, where they are known.
        explained: its help in a line.
    """

    flags: tuple[str, ...]
    valued: bool
    words: tuple[str, ...]
    explained: str


@dataclass(frozen=True)
class Command:
    """A command as a shell completes it.

    Attributes:
        name: of the command.
        explained: its help in a line.
        options: those that the help shows.
        words: what its argument may be, where that is known; else it is a file.
    """

    name: str
    explained: str
    options: tuple[Option, ...]
    words: tuple[str, ...]


def add_completion(commands: "Commands") -> None:
    """Add the command to the parser's."""
    completion = commands.add_parser(
        "completion",
        help="print a script that has your shell complete commands and options",
        description="Prints a script for a shell. bash: "
        + "; ".join(f"{shell}: {how}" for shell, how in _INSTALL.items()).removeprefix("bash: ")
        + '. Options of pytest, those of this plugin too, are completed by argcomplete: eval "$('
        'register-python-argcomplete pytest)".',
    )
    completion.add_argument("shell", choices=tuple(_INSTALL), help="the shell")
    completion.set_defaults(command=partial(_completion, commands))


def _completion(commands: "Commands", given: argparse.Namespace) -> Answer:
    return Answer(_SCRIPTS[given.shell](read_commands(commands)))


def read_commands(commands: "Commands") -> list[Command]:
    """The commands of the parser, in its order."""
    explained = {one.dest: one.help or "" for one in commands._choices_actions}  # noqa: SLF001 - argparse names no public way
    return [
        Command(
            name,
            _line(explained.get(name, "")),
            tuple(_options(parser)),
            tuple(str(word) for one in _arguments(parser) for word in one.choices or ()),
        )
        for name, parser in commands.choices.items()
    ]


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:  # noqa: SLF001 - likewise
        if action.option_strings and action.help is not argparse.SUPPRESS:
            words = tuple(map(str, action.choices or ()))
            # The long names that pytest has are taken too; to see both would be to see everything twice.
            flags = tuple(one for one in action.option_strings if not one.startswith("--injx-"))
            yield Option(flags, action.nargs != 0, words, _line(action.help or ""))


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (one for one in parser._actions if not one.option_strings)  # noqa: SLF001 - likewise


def _line(text: str) -> str:
    """The first words of a help text."""
    return text.replace("%%", "%").partition(" (")[0].partition(";")[0].partition(": ")[0]


def _bash(commands: list[Command]) -> str:
    cases = []
    for one in commands:
        flags = " ".join(flag for option in one.options for flag in option.flags)
        cases.append(f'    {one.name}) flags="{flags}" words="{" ".join(one.words)}" ;;')
    names = " ".join(one.name for one in commands)
    return "\n".join(
        [
            "_pytest_injectivity() {",
            '  local current=${COMP_WORDS[COMP_CWORD]} flags="" words=""',
            '  case "${COMP_WORDS[1]}" in',
            *cases,
            "  esac",
            f'  if [ "$COMP_CWORD" -eq 1 ]; then words="{names}"; flags="--help"; fi',
            '  case "$current" in -*) words=$flags ;; esac',
            "  # Without words the shell completes names of files.",
            '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "}",
            f"complete -o default -F _pytest_injectivity {_PROGRAM}",
        ]
    )


def _zsh(commands: list[Command]) -> str:
    return f"autoload -U +X bashcompinit && bashcompinit\n{_bash(commands)}"


def _fish(commands: list[Command]) -> str:
    start = f"complete -c {_PROGRAM}"
    lines = []
    for one in commands:
        explained = _quoted(one.explained)
        lines.append(f"{start} -n __fish_use_subcommand -f -a {one.name} -d {explained}")
        within = f"{start} -n '__fish_seen_subcommand_from {one.name}'"
        if one.words:
            lines.append(f"{within} -f -a {_quoted(' '.join(one.words))}")
        for option in one.options:
            names = " ".join(
                f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                for flag in option.flags
            )
            valued = " -r" if option.valued else ""
            words = f" -f -a {_quoted(' '.join(option.words))}" if option.words else ""
            lines.append(f"{within} {names}{valued}{words} -d {_quoted(option.explained)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """The text for fish, whose quotes know two escapes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_SCRIPTS: dict[str, Callable[[list[Command]], str]] = {"bash": _bash, "fish": _fish, "zsh": _zsh}
