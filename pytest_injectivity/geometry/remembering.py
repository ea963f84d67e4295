"""Numbers that somebody else may know already: geometry asks, and knows no file."""

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

Remember = Callable[[str, Callable[[], Any]], Any]
"""``remember(name, compute)`` gives what ``compute()`` gives, frozen dataclasses of arrays and plain
data, from elsewhere if it is known there by this name. The name says every argument."""


def forgetful(name: str, compute: Callable[[], T]) -> T:  # noqa: ARG001 - knows no name
    """Remembers nothing: every number is computed."""
    return compute()
