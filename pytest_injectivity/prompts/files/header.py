"""Tells a header, which names the columns of a table, from a first row without one.

Where a table has no header its first prompt would be taken for one, and be lost without a word.
"""

from collections.abc import Sequence

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.id_like import is_id_name
from pytest_injectivity.prompts.shown import listed

USUAL = (
    "text",
    "prompt",
    "question",
    "query",
    "instruction",
    "input",
    "content",
    "sentence",
    "message",
    "title",
    "body",
)
"""Names of columns that hold texts: one of them, also in the plural, makes a first line a header."""

_WORDS = 4  # a name of a column has fewer, a sentence seldom
_LONGEST = 48  # characters of a name of a column
_SENTENCE_ENDS = (".", "?", "!", "\N{IDEOGRAPHIC FULL STOP}", "\N{FULLWIDTH QUESTION MARK}", "…")


def refuse_no_header(header: Sequence[str], wanted: str | None, name: str) -> None:
    """Refuse a table whose first line is not certainly a header.

    Args:
        header: the cells of its first line.
        wanted: the column that the user named, which makes the line that has it a header.
        name: the file's name.

    Raises:
        PromptError: the first line reads like a prompt, or has no name that is known.
    """
    if len(set(header)) != len(header):
        raise PromptError(f"{name}: the header names a field twice: {listed(header)}")
    known = {cell.lower().removesuffix("s") for cell in header}
    if wanted in header or not known.isdisjoint(USUAL):
        return
    reads = next((at for at, cell in enumerate(header, 1) if _reads_like_data(cell)), None)
    if reads is not None:
        raise PromptError(
            f"{name}, line 1: reads like a row, not like a header (cell {reads} of {len(header)}): put"
            " a line before it that names the columns, such as text"
        )
    if not any(map(is_id_name, header)) and wanted is None:
        raise PromptError(
            f"{name}, line 1: is it a header? It names no column that is known ({listed(header)}): name"
            " one with --injx-prompt-field, or put a line before it that names the columns, such as"
            f" {', '.join(USUAL[:3])}"
        )


def _reads_like_data(cell: str) -> bool:
    is_number = cell.replace(".", "", 1).removeprefix("-").isdecimal()
    is_long = len(cell) > _LONGEST or len(cell.split()) >= _WORDS or "\n" in cell
    return is_number or is_long or cell.endswith(_SENTENCE_ENDS)
