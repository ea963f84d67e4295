"""Draws tables as lines of a terminal, by rich."""

from collections.abc import Iterator

from rich import table as rich_table
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from pytest_injectivity.reports.table import Cell, Table, Tone

WIDEST = 1000
"""Columns of a table that is not to be wrapped: half a number is another number."""

_STYLES: dict[Tone, str] = {"": "", "bad": "bold red", "good": "green"}


def table_lines(table: Table, width: int, *, color: bool) -> Iterator[str]:
    """A table, as wide as its numbers are; its title and its notes within ``width`` columns."""
    if table.title:
        yield from printed(Text(table.title, style="italic"), width, color=color)
    yield from printed(draw(table), WIDEST, color=color)
    for note in table.notes:
        yield from printed(Text(note, style="dim"), width, color=color)


def width_of(table: Table) -> int:
    """The columns of a terminal that a table takes, without its title and its notes."""
    return max(map(cell_len, printed(draw(table), WIDEST, color=False)))


def draw(table: Table) -> rich_table.Table:
    """A table as rich prints it, without its title and its notes."""
    if not any(column.title for column in table.columns):
        drawn = rich_table.Table.grid(padding=(0, 2))
    else:
        drawn = rich_table.Table(
            box=None,
            pad_edge=False,
            # A table with a title has cells of several numbers and little room.
            padding=(0, 1, 0, 0) if table.title else (0, 1),
            header_style="bold",
        )
    for column in table.columns:
        justify = "right" if column.number else "left"
        drawn.add_column(Text(column.title), justify=justify)  # type: ignore[arg-type] # one of two
    for row in table.rows:
        cells = zip(row, table.columns, strict=True)
        drawn.add_row(*(_drawn(cell, table.marks and column.number) for cell, column in cells))
    return drawn


def printed(part: RenderableType, width: int, *, color: bool) -> list[str]:
    """What rich makes of a part, as lines of at most ``width`` columns."""
    console = Console(width=width, force_terminal=color, color_system="standard" if color else None)
    with console.capture() as captured:
        console.print(part)
    return captured.get().rstrip("\n").split("\n")


def _drawn(cell: Cell, marks: bool) -> Text:  # noqa: FBT001 - private
    text = f"{cell.text}{cell.mark or ' '}" if marks else cell.text
    return Text(text, style=_STYLES[cell.tone])
