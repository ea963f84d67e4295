"""Readers of tables in text, with a header: ``.csv`` and ``.tsv``."""

import csv
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.fields import FieldRule, PromptField, Tell
from pytest_injectivity.prompts.files.cells import Record, records
from pytest_injectivity.prompts.files.delimiter import DELIMITERS, find_delimiter
from pytest_injectivity.prompts.files.header import refuse_no_header
from pytest_injectivity.prompts.files.lines import decoded_lines
from pytest_injectivity.prompts.place import Place
from pytest_injectivity.prompts.rows import Row

_HEAD = 64  # lines by which the delimiter is found


def csv_rows(path: Path, rule: FieldRule, tell: Tell) -> Iterator[Row]:
    """One prompt a record, between commas, tabs, semicolons or bars.

    Raises:
        PromptError: there is no header, or the file is no table.
    """
    return _rows(path, rule, tell, ",")


def tsv_rows(path: Path, rule: FieldRule, tell: Tell) -> Iterator[Row]:
    """As `csv_rows`; tabs are expected."""
    return _rows(path, rule, tell, "\t")


def _rows(path: Path, rule: FieldRule, tell: Tell, usual: str) -> Iterator[Row]:
    with closing(decoded_lines(path)) as lines:
        head = list(islice(lines, _HEAD))
        delimiter = find_delimiter(head, usual, path.name)
        if delimiter != usual:
            tell(f"cells separated by {DELIMITERS[delimiter]}")
        try:
            yield from _prompts(records(chain(head, lines), delimiter), path.name, rule, tell)
        except csv.Error as error:
            raise PromptError(f"{path.name}, {error}") from None


def _prompts(table: Iterator[Record], name: str, rule: FieldRule, tell: Tell) -> Iterator[Row]:
    header = [cell.strip() for cell in next(table, Record([], 0)).cells]
    refuse_no_header(header, rule.wanted, name)
    chosen: PromptField | None = None
    for record in _whole(table, len(header), name):
        place = Place(name, "line", record.line)
        fields = dict(zip(header, record.cells, strict=True))
        chosen = chosen or rule.choose(fields, Place(name, "line", 1), tell)
        yield Row(chosen.content(fields, place), place)


def _whole(table: Iterable[Record], width: int, name: str) -> Iterator[Record]:
    for record in table:
        if len(record.cells) != width:
            raise PromptError(
                f"{name}, line {record.line}: the row has {len(record.cells)} cells, the header {width}"
            )
        yield record
