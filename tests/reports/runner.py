"""GitHub's runner as far as it reads commands from a log, written after its source (ActionCommand.cs).

A line that begins with ``::`` after blanks is a command of today; else ``##[`` anywhere in it begins one
of the old kind, which is still obeyed.
"""

from typing import NamedTuple

_REGISTERED = {
    *("add-mask", "add-matcher", "add-path", "debug", "echo", "endgroup", "error", "group"),
    *("notice", "remove-matcher", "save-state", "set-env", "set-output", "stop-commands"),
    "warning",
}


class Command(NamedTuple):
    """What the runner was told."""

    name: str
    properties: dict[str, str]
    data: str


def heard(line: str) -> Command | None:
    """The command that a line is, if it is one."""
    return _today(line) or _old(line)


def commands(text: str) -> list[Command]:
    """The commands in what a step prints; a carriage return ends a line as well."""
    found = [heard(line) for line in text.replace("\r", "\n").split("\n")]
    return [one for one in found if one is not None]


def obeyed(text: str) -> list[Command]:
    """The commands that the runner obeys: it can be told not to listen until it hears a word again."""
    found, word = [], None
    for line in text.replace("\r", "\n").split("\n"):
        one = heard(line)
        if word is not None:
            word = None if line.strip() == f"::{word}::" else word
        elif one is not None and one.name == "stop-commands":
            word = one.data
        elif one is not None:
            found.append(one)
    return found


def _today(line: str) -> Command | None:
    line = line.lstrip()
    if not line.startswith("::") or "::" not in line[2:]:
        return None
    info, _, data = line[2:].partition("::")
    return _command(info, data, ",", {"%0D": "\r", "%0A": "\n"}, {"%3A": ":", "%2C": ","})


def _old(line: str) -> Command | None:
    _, prefix, rest = line.partition("##[")
    if not prefix or "]" not in rest:
        return None
    info, _, data = rest.partition("]")
    return _command(info, data, ";", {"%3B": ";", "%0D": "\r", "%0A": "\n", "%5D": "]"}, {})


def _command(
    info: str, data: str, separator: str, escapes: dict[str, str], of_properties: dict[str, str]
) -> Command | None:
    name, _, said = info.partition(" ")
    if name.lower() not in _REGISTERED:
        return None
    pairs = [one.partition("=") for one in said.strip().split(separator) if one]
    known = {key: _unescaped(text, escapes | of_properties) for key, _, text in pairs if text}
    return Command(name, known, _unescaped(data, escapes))


def _unescaped(text: str, escapes: dict[str, str]) -> str:
    for escape, character in escapes.items():
        text = text.replace(escape, character)
    return text.replace("%25", "%")
