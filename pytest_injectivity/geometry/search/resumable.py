"""Callables by which geometry asks for numbers that a caller may keep, without knowing any file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pytest_injectivity.core.number_keys import NumberKey

T = TypeVar("T")
P = TypeVar("P")

Remember = Callable[[NumberKey, Callable[[], Any]], Any]
"""``remember(key, compute)`` returns what ``compute()`` returns (frozen dataclasses of arrays and plain
data), or the number kept under this key. The key holds every argument of the computation."""


@dataclass(frozen=True)
class SearchPart:
    """One of the parts that a long search is divided into.

    Attributes:
        number: which, counted from 1.
        parts: how many there are.
    """

    number: int
    parts: int


RememberPart = Callable[[SearchPart, Callable[[], Any]], Any]
"""Like `Remember`, for what one search has found after each of its parts."""


def forgetful(key: object, compute: Callable[[], T]) -> T:  # noqa: ARG001 - keeps nothing under any key
    """Computes every number: a `Remember` and a `RememberPart` that keep nothing."""
    return compute()


def in_parts(
    parts: Sequence[P],
    look: Callable[[P], T],
    take: Callable[[T], None],
    remember: RememberPart,
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
        take(work() if len(parts) == 1 else remember(SearchPart(at, len(parts)), work))
