"""Texts from outside in Markdown: what could be markup becomes character references, which never are."""

import re
from collections.abc import Iterable

from pytest_injectivity.core.text import one_line

_CELL = 300
# What could begin or end markup, wherever it stands; and what only some neighbors make into markup:
# an underscore that is not inside a word, and addresses, which GitHub turns into links.
_MARKUP = re.compile(
    r"[&<>`*{}\[\]\\|~@!$#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=/)|(?<=www)\.", re.IGNORECASE
)


def escaped(text: str) -> str:
    """The text with a character reference for everything that could be markup."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", text)


def cell_text(text: str) -> str:
    """The text of a cell of a table: short, on one line, escaped."""
    return escaped(one_line(text, _CELL))


def table_row(cells: Iterable[str]) -> str:
    """A row of a table, its cells escaped already."""
    return f"| {' | '.join(cells)} |"
