"""Numbers that somebody else may know already: geometry asks, and knows no file."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
P = TypeVar("P")

Remember = Callable[[str, Callable[[], Any]], Any]
"""``remember(name, compute)`` gives what ``compute()`` gives, frozen dataclasses of arrays and plain
data, from elsewhere if it is known there by this name. The name says every argument."""


def forgetful(name: str, compute: Callable[[], T]) -> T:  # noqa: ARG001 - knows no name
    """Remembers nothing: every number is computed."""
    return compute()


def in_parts(
    parts: Sequence[P],
    look: Callable[[P], T],
    take: Callable[[T], None],
    remember: Remember,
) -> None:
    """A long search, part by part, so that one that is ended goes on after the last part it finished.

    Args:
        parts: in order.
        look: searches a part and gives all that was found so far.
        take: goes on from what was found, here or by a run that was ended.
        remember: keeps what was found after each part; not asked where there is but one, whose search is
            remembered whole.
    """
    for at, part in enumerate(parts, 1):
        work = partial(look, part)
        take(work() if len(parts) == 1 else remember(f"part {at} of {len(parts)}", work))
