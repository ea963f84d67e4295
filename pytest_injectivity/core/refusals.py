"""Remembers that something was refused, so that it is not tried again for every test."""

from collections.abc import Callable
from typing import TypeVar

from pytest_injectivity.errors import WrongUse

T = TypeVar("T")


def refusing_again(make: Callable[[], T]) -> Callable[[], T]:
    """A function that makes what ``make`` does; once refused, it is refused again without an attempt.

    A file that cannot be read takes as long to refuse as one that can be: a suite of fifty tests would
    read it fifty times.

    Args:
        make: makes the thing, or raises `WrongUse`.

    >>> def refuse():
    ...     print("tried")
    ...     raise WrongUse("no such file")
    >>> make = refusing_again(refuse)
    >>> for _ in range(2):
    ...     try:
    ...         make()
    ...     except WrongUse as error:
    ...         print(error)
    tried
    no such file
    no such file
    """
    refused: list[WrongUse] = []

    def made() -> T:
        if refused:
            raise refused[0].with_traceback(None)
        try:
            return make()
        except WrongUse as error:
            refused.append(error)
            raise

    return made
