"""The protocol by which an audit reports sentences and progress, independent of a terminal."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]
"""Called with the number of steps done so far."""

UNCOUNTED = 0
"""The total of a piece of work whose steps are not counted."""


class Steps:
    """How many steps of a piece of work are done: never more than there are, nor fewer than before.

    Whoever counts may count wrong, or a second time from the beginning; a person never reads of 13 of
    12 steps, of 108 %, or of time left that is negative.

    Args:
        total: the number of steps; `UNCOUNTED` where they are not counted.

    >>> steps = Steps(12)
    >>> for done in (3, 13, 5):
    ...     steps.advance(done)
    ...     print(steps.done)
    3
    12
    12
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0

    def advance(self, done: int) -> None:
        """Take the number of steps done so far."""
        most = done if self.total == UNCOUNTED else min(done, self.total)
        self.done = max(self.done, most)


class Watcher(Protocol):
    """Receives what an audit reports while it works."""

    def announce(self, sentence: str) -> None:
        """Receive a sentence for people: something was changed or could not be done."""

    def foretell(self, sentence: str) -> None:
        """Receive a sentence on long work that is about to begin, to be shown before it does."""

    def progress(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """Enter the context of a long piece of work, which is left when the work is done.

        Args:
            label: names the work.
            total: its number of steps; `UNCOUNTED` where they are not counted.
        """


class Labeled:
    """A watcher that says which part of a longer work it is told of.

    Args:
        watcher: told everything, with the label in front.
        label: names the part.
    """

    def __init__(self, watcher: Watcher, label: str) -> None:
        self._watcher = watcher
        self._label = label

    def announce(self, sentence: str) -> None:
        """Hand a sentence on."""
        self._watcher.announce(f"{self._label}: {sentence}")

    def foretell(self, sentence: str) -> None:
        """Hand a sentence on."""
        self._watcher.foretell(f"{self._label}: {sentence}")

    def progress(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """Enter the context of a piece of work of this part."""
        return self._watcher.progress(f"{self._label}: {label}", total)


class Silent:
    """A watcher that ignores everything."""

    def announce(self, sentence: str) -> None:
        """Ignore the sentence."""

    def foretell(self, sentence: str) -> None:
        """Ignore the sentence."""

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Advance]:  # noqa: ARG002 - ignored
        """Ignore the progress."""
        yield lambda _done: None
