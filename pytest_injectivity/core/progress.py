"""The protocol by which an audit reports sentences and progress, independent of a terminal."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]
"""Called with the number of steps done so far."""


class Watcher(Protocol):
    """Receives what an audit reports while it works."""

    def announce(self, sentence: str) -> None:
        """Receive a sentence for people: something was changed or could not be done."""

    def progress(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """Enter the context of a long piece of work, which is left when the work is done."""


class Silent:
    """A watcher that ignores everything."""

    def announce(self, sentence: str) -> None:
        """Ignore the sentence."""

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Advance]:  # noqa: ARG002 - ignored
        """Ignore the progress."""
        yield lambda _done: None
