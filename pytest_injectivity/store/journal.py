"""Records which runs computed the numbers that this run asked its store for."""

import secrets
from dataclasses import dataclass, field


@dataclass
class Journal:
    """The name of the writing process, and the runs whose numbers were asked for.

    Attributes:
        run: a name that the processes of one run share.
        writer: this process, in records.
        sources: the runs that computed what was asked for.
    """

    run: str = field(default_factory=lambda: secrets.token_hex(8))
    writer: str = ""
    sources: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.writer = f"{self.run}:{secrets.token_hex(4)}"

    def note(self, writer: str) -> None:
        """Notes that a number was asked for that this writer computed."""
        self.sources.add(writer.partition(":")[0])

    @property
    def origin(self) -> str:
        """Where the numbers of this run came from: ``computed``, ``from the store``, or both."""
        stored, computed = bool(self.sources - {self.run}), self.run in self.sources
        if stored and computed:
            return "computed, in part from the store"
        return "from the store" if stored else "computed"
