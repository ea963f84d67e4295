"""The protocol by which parts of an audit are handed to whatever runs them side by side."""

from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeVar, runtime_checkable

Part = TypeVar("Part")
Done = TypeVar("Done")


@runtime_checkable
class Executor(Protocol):
    """Runs a job on parts, in workers of which each may be another process or machine."""

    @property
    def count(self) -> int:
        """How many parts it runs side by side."""

    @property
    def threads(self) -> int:
        """On how many threads they compute, all together."""

    def map(self, job: Callable[[Part], Done], parts: Iterable[Part]) -> Generator[Done]:
        """Runs a job on each part and gives what it returns, in the order of the parts.

        What a job raises is raised here. A part may be run again where its worker died.

        Args:
            job: is pickled, best once for all parts, and so is what it takes and returns.
            parts: taken as there are workers for them.
        """
