"""Values in the text of an ini file, replaced or added; every other line stays as it is."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError

_SECTION = re.compile(r"\[(.*)\]\s*([#;].*)?$")


@dataclass(frozen=True, kw_only=True)
class IniValue:
    """A value of an ini file.

    Attributes:
        name: its name.
        lines: its value; several lines are written below the name, indented.
        comment: lines above it, without ``#``; they replace the comment that stands directly above the
            value of this name. Empty: what stands there stays.
    """

    name: str
    lines: tuple[str, ...]
    comment: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for line in self.lines:
            if line != line.strip() or not line or len(line.splitlines()) != 1 or "\0" in line:
                raise OptionError(
                    f"{self.name}: {one_line(line)!r} cannot be written into an ini: give one line of"
                    " text without spaces around it"
                )
            if len(self.lines) > 1 and line[0] in "#;":
                raise OptionError(f"{self.name}: {one_line(line)!r} would be a comment in an ini")

    def written(self) -> list[str]:
        """The lines of the file that hold the comment and the value."""
        said = [f"# {line}".rstrip() for line in self.comment]
        if len(self.lines) == 1:
            return [*said, f"{self.name} = {self.lines[0]}"]
        return [*said, f"{self.name} =", *(f"    {line}" for line in self.lines)]


def with_values(text: str, values: Iterable[IniValue], section: str = "pytest") -> str:
    r"""The text of an ini file with these values in a section; everything else stays as it is.

    A value that is there is replaced where it stands, with the comment directly above it where a new
    one is given; others are added at the end of the section.

    Args:
        text: of the file.
        values: what is written.
        section: the section that holds them; it is added at the end where there is none.

    Example:
        >>> print(with_values("[pytest]\naddopts = -q\n", [IniValue(name="a", lines=("1",))]), end="")
        [pytest]
        addopts = -q
        a = 1
    """
    ending = "\r" if "\r\n" in text else ""
    lines = text.removesuffix("\n").split("\n") if text else []
    for value in values:
        first, end = _section(lines, section)
        found = _found(lines, value.name, first, end)
        if found is None:
            at = _last_filled(lines, first, end)
            space = [ending] if value.comment and at > first else []
            lines[at:at] = [*space, *(line + ending for line in value.written())]
        else:
            start, stop = found
            if value.comment:
                while start > first and _is_comment(lines[start - 1]):
                    start -= 1
            lines[start:stop] = [line + ending for line in value.written()]
    return "\n".join([*lines, ""])


def _section(lines: list[str], section: str) -> tuple[int, int]:
    """The lines of a section, from the first below its head to its end; it is added if need be."""
    heads = [(at, found[1]) for at, line in enumerate(lines) if (found := _SECTION.match(line))]
    for number, (at, name) in enumerate(heads):
        if name == section:
            return at + 1, heads[number + 1][0] if number + 1 < len(heads) else len(lines)
    lines += [*([""] if lines else []), f"[{section}]"]
    return len(lines), len(lines)


def _found(lines: Sequence[str], name: str, first: int, end: int) -> tuple[int, int] | None:
    """The lines of a value: the one with its name, and those below that go on with it."""
    for at in range(first, end):
        if re.match(rf"{re.escape(name)}\s*[=:]", lines[at]):
            stop = at + 1
            for below in range(at + 1, end):
                if lines[below][:1].isspace() and not lines[below].isspace():
                    stop = below + 1
                elif lines[below].strip() and not _is_comment(lines[below]):
                    break
            return at, stop
    return None


def _last_filled(lines: Sequence[str], first: int, end: int) -> int:
    """The place after the last line of a section that is not empty."""
    while end > first and not lines[end - 1].strip():
        end -= 1
    return end


def _is_comment(line: str) -> bool:
    return line.lstrip()[:1] in {"#", ";"}
