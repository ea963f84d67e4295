"""JSON from outside, read strictly: within a size, no twins, no NaN, the type of every value checked.

Messages quote what is in a file on one line, with control characters escaped. Standard library only.
"""

import json
from pathlib import Path
from typing import Any, NoReturn

from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError

LARGEST = 16 * 2**20
"""Bytes of a file that is read; the report of 100 layers at 8 numbers of bits has under one MiB."""

_HIGHEST = 1e308
_SHORT = 60


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        OptionError: there is no such file, it is too large or damaged, or it holds something else.
    """
    try:
        if not path.is_file():
            raise OptionError("there is no such file")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise OptionError(f"it cannot be read ({error.strerror or type(error).__name__})") from None
    if len(content) > LARGEST:
        raise OptionError(f"it has more than {LARGEST:,} bytes")
    try:
        plain = json.loads(content, parse_constant=_refuse, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"it is damaged, cut short or no JSON ({one_line(str(error))})") from None
    return mapping("it", plain)


def said(value: object) -> str:
    """A value as a message quotes it; of a list no more than that it is one."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and abs(value) > _HIGHEST:
        return "an integer beyond all floats"
    return one_line(repr(value), _SHORT)


def mapping(name: str, value: object) -> dict[str, Any]:
    """The value, an object."""
    if isinstance(value, dict):
        return value
    raise OptionError(f"{name} is {said(value)}, which is no JSON object")


def text(name: str, value: object) -> str:
    """The value, a text, on one line."""
    if isinstance(value, str):
        return one_line(value)
    raise OptionError(f"{name} is {said(value)}, which is no text")


def text_or_none(name: str, value: object) -> str | None:
    """The value, a text on one line, or nothing."""
    return None if value is None else text(name, value)


def texts(name: str, value: object) -> dict[str, str]:
    """The value, an object of texts; nothing is an empty one."""
    given = mapping(name, {} if value is None else value)
    return {one_line(key): text(name, one) for key, one in given.items()}


def truth(name: str, value: object) -> bool:
    """The value, true or false."""
    if isinstance(value, bool):
        return value
    raise OptionError(f"{name} is {said(value)}, which is neither true nor false")


def whole(name: str, value: object) -> int:
    """The value, a whole number of at least 0."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _HIGHEST:
        return value
    raise OptionError(f"{name} is {said(value)}, which is no whole number of at least 0")


def number(name: str, value: object) -> float:
    """The value, a finite number of at least 0; integers stay integers."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if known and 0 <= value <= _HIGHEST:  # type: ignore[operator] # known to be a number
        return value  # type: ignore[return-value] # likewise
    raise OptionError(f"{name} is {said(value)}, which is no finite number of at least 0")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these; one that names a thing twice, as after a merge, says nothing of it."""
    plain: dict[str, Any] = {}
    for name, value in pairs:
        if name in plain:
            raise ValueError(f"{name!r} is there twice")
        plain[name] = value
    return plain
