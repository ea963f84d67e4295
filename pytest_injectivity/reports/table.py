"""A table without a medium: the terminal, the Markdown report and others draw the same one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_injectivity.core.html import element, emphasis, words

Tone = Literal["", "bad", "good"]

MISSING = "–"
"""What a cell without a number says."""
WORST = "◄"
"""Marks the worst number of a column; a character, and not only a color, because logs have none."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what it says.
        mark: a character behind it, where the table has marks.
        tone: what it means for the reader; drawn as a color or as emphasis.
    """

    text: str
    mark: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its heading.
        number: whether its cells are numbers, which are aligned at the right.
    """

    title: str
    number: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of cells, and the sentences that explain them.

    Attributes:
        columns: one for each cell of a row.
        rows: the cells.
        title: of the table; may be empty.
        notes: sentences below it.
        marks: whether numbers leave room for a mark, so that they stay aligned.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    notes: tuple[str, ...] = ()
    marks: bool = False

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        titles = [_aligned("th", words(one.title), one) for one in self.columns]
        head = element("thead", element("tr", *titles))
        rows = [
            element(
                "tr",
                *(
                    _aligned("td", _html(cell), one)
                    for cell, one in zip(row, self.columns, strict=True)
                ),
            )
            for row in self.rows
        ]
        caption = element("caption", words(self.title)) if self.title else ""
        table = element("table", caption, head, element("tbody", *rows))
        return element("div", table, *(element("p", words(note)) for note in self.notes))


def _aligned(tag: str, inside: str, column: Column) -> str:
    return element(tag, inside, style=f"text-align:{'right' if column.number else 'left'}")


def _html(cell: Cell) -> str:
    text = f"{cell.text}{cell.mark}"
    return emphasis(text, good=cell.tone == "good") if cell.tone else words(text)


def facts(rows: Sequence[tuple[str, str]]) -> Table:
    """A table of two columns without headings: a name on the left, what it is on the right."""
    columns = (Column("", number=False), Column("", number=False))
    return Table(columns, tuple((Cell(name), Cell(text)) for name, text in rows))


def worst_of(text: str, *, worst: bool) -> Cell:
    """A cell that is marked where it is the worst of its column."""
    return Cell(text, WORST, "bad") if worst else Cell(text)
