"""The protocol by which parts of an audit are handed to whatever runs them side by side."""

from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeVar

Part = TypeVar("Part")
Done = TypeVar("Done")


class Executor(Protocol):
    """Runs a job on parts, in workers of which each may be another process or machine."""

    @property
    def count(self) -> int:
        """How many parts it runs side by side."""

    def map(self, job: Callable[[Part], Done], parts: Iterable[Part]) -> Generator[Done]:
        """Runs a job on each part and gives what it returns, in the order of the parts.

        What a job raises is raised here. A part may be run again where its worker died.

        Args:
            job: is pickled, and so is what it takes and returns.
            parts: taken as there are workers for them.
        """
