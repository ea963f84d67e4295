"""What an audit tells while it works: sentences and progress. Silent unless somebody watches."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]
"""Called with the number of steps done so far."""


class Watcher(Protocol):
    """Somebody who watches an audit."""

    def announce(self, sentence: str) -> None:
        """A sentence a person should see: something was changed or could not be done."""

    def progress(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """A long piece of work begins; the context is left when it is done."""


class Silent:
    """Nobody watches."""

    def announce(self, sentence: str) -> None:
        """Say nothing."""

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Advance]:  # noqa: ARG002 - nobody looks
        """Show nothing."""
        yield lambda _done: None
