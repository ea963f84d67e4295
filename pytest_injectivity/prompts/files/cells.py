"""Records of tables in text: lines become lists of cells."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LONGEST = 2**31 - 1  # characters of a cell: the largest that the csv module takes on every system


@dataclass(frozen=True, slots=True)
class Record:
    """The cells of one record, and the number of the line at which it ends."""

    cells: list[str]
    line: int


def records(lines: Iterable[str], delimiter: str) -> Iterator[Record]:
    """The records of a table, blank lines left out; quoted cells may hold delimiters and newlines.

    Raises:
        csv.Error: the lines are no table; its message names the line.
    """
    table = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            cells = _next(table)
        except csv.Error as error:
            raise csv.Error(f"line {table.line_num}: not valid CSV: {error}") from None
        if cells is None:
            return
        if cells:
            yield Record(cells, table.line_num)


def _next(table: Iterator[list[str]]) -> list[str] | None:
    # The limit is one of the whole process, and 128 KiB by default: others find it as they left it.
    before = csv.field_size_limit(_LONGEST)
    try:
        return next(table, None)
    finally:
        csv.field_size_limit(before)
