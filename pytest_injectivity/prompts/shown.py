"""Values as errors show them: a prompt's text never is, the rest is by value and type."""

from collections.abc import Iterable

from pytest_injectivity.core.text import one_line

_LONGEST = 40


def shown(value: object, *, text: bool = False) -> str:
    """A value and its type; what containers and texts hold are the user's prompts and stay out.

    Args:
        value: the value.
        text: show a text too, because it is a name and no prompt.
    """
    if value is None or isinstance(value, bool | int | float) or (text and isinstance(value, str)):
        return f"{one_line(repr(value), _LONGEST)} ({type(value).__name__})"
    return f"a {type(value).__name__}"


def listed(names: Iterable[str]) -> str:
    """Names of fields, quoted and each of bounded length; "none" where there are none."""
    return ", ".join(map(named, names)) or "none"


def named(name: str) -> str:
    """The name of a field as a message shows it: quoted, escaped and of bounded length."""
    return one_line(repr(name), _LONGEST)
