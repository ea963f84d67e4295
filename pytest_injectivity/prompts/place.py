"""Places of prompts in their source, for messages."""

from typing import NamedTuple


class Place(NamedTuple):
    """Where a prompt stands.

    Attributes:
        source: the name of the file, folder or built-in set.
        unit: what its parts are called: ``line``, ``row``, ``file``.
        number: the number of the part.
        file: of a part that is a file, its name.

    >>> str(Place("a.jsonl", "line", 3)), str(Place("texts", "file", 2, "b.txt"))
    ('a.jsonl, line 3', 'texts/b.txt')
    """

    source: str
    unit: str
    number: int
    file: str = ""

    def __str__(self) -> str:
        return f"{self.source}/{self.file}" if self.file else f"{self.source}, {self.part}"

    @property
    def part(self) -> str:
        """The part alone."""
        return f"{self.unit} {self.number}"

    def at(self, number: int) -> "Place":
        """Another part of the same source."""
        return Place(self.source, self.unit, number)
