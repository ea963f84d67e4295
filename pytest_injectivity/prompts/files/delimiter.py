"""Finds the character between the cells of a table, by its header and the records after it.

`csv.Sniffer` guesses from the frequencies of all characters and is not used: it takes the space between
words for the delimiter of a column of text.
"""

import csv
from collections.abc import Sequence
from itertools import islice

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.files.cells import records

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
"""The delimiters that are looked for, and what they are called."""

_COMPARED = 20  # records


def find_delimiter(head: Sequence[str], usual: str, name: str) -> str:
    """The delimiter of a table.

    A delimiter divides the header. Of several, the right one divides the records after it into as many
    cells.

    Args:
        head: the first lines of the file.
        usual: the delimiter that the name of the file promises; also that of a single column.
        name: the file's name, for errors.

    Raises:
        PromptError: several are possible.

    >>> find_delimiter(["id;prompt", "1;Who, and when?"], ",", "a.csv")
    ';'
    """
    widths = {delimiter: _widths(head, delimiter) for delimiter in DELIMITERS}
    dividing = [one for one, counts in widths.items() if counts[:1] > [1]]
    if len(dividing) > 1:
        even = [one for one in dividing if len(widths[one]) > 1 and len(set(widths[one])) == 1]
        dividing = even or dividing
    if len(dividing) == 1:
        return dividing[0]
    if not dividing or usual in dividing:
        return usual
    found = " or ".join(DELIMITERS[one] for one in dividing)
    raise PromptError(f"{name}: its cells may be separated by {found}: use {DELIMITERS[usual]}")


def _widths(head: Sequence[str], delimiter: str) -> list[int]:
    """The numbers of cells of the first records."""
    widths: list[int] = []
    try:
        for record in islice(records(head, delimiter), _COMPARED):
            widths.append(len(record.cells))  # noqa: PERF401 - those before an error are kept
    except csv.Error:  # the last record may go on after the head
        pass
    return widths
