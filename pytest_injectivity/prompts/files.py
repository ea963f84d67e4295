r"""Readers of prompt files, each a stream of rows: no file is read twice and nothing is unpickled.

=============  =====================================================================
``.txt``       one prompt a line, without its newline (``\n`` or ``\r\n``)
``.jsonl``     one string or object a line
``.json``      one list of strings or objects
``.csv``       a header, then one prompt a row
``.parquet``   one prompt a row (extra ``parquet``)
a folder       one prompt a ``.txt`` file, the whole file as it is, in the order of names
=============  =====================================================================

Text is UTF-8; a byte order mark at the start of a file is skipped.
"""

import codecs
import csv
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from pytest_injectivity.errors import MissingExtra, OptionError, PromptError
from pytest_injectivity.prompts.rows import FieldRule, Row, as_text, field_of, not_a_prompt

Reader: TypeAlias = Callable[[Path, FieldRule], Iterator[Row]]

_PARQUET_BATCH = 1024  # rows held at once


def read_rows(path: Path, rule: FieldRule) -> Generator[Row, None, None]:
    """The rows of a prompt file or folder, one by one. Close what is returned where rows are left.

    Args:
        path: the file or folder.
        rule: how the field of an object or a table that holds the prompt is found.

    Raises:
        PromptError: the path, its suffix, or something in the file is not accepted.
        OptionError: a field is named for a source without fields.
        MissingExtra: a ``.parquet`` file, and pyarrow is not installed.
    """
    reader = _reader(path)
    if rule.wanted is not None and reader in (_text_lines, _folder):
        raise OptionError(
            f"field {rule.wanted!r} was named, and {path} is plain text without fields"
        )
    try:
        if reader is not _folder and path.stat().st_size == 0:
            raise PromptError(f"{path} is empty: give at least 2 distinct prompts")
        yield from reader(path, rule)
    except OSError as error:
        raise PromptError(f"{path} cannot be read: {error.strerror or error}") from None


def _reader(path: Path) -> Reader:
    accepted = f"a {', '.join(_READERS)} file, or a folder of .txt files"
    try:
        if path.is_dir():
            return _folder
        if not path.is_file():
            raise PromptError(
                f"there is no prompt file {str(path)!r}: give {accepted},"
                " or a built-in set such as builtin:stdlib"
            )
    except OSError as error:  # such as a prompt given in place of a path, too long for one
        raise PromptError(
            f"prompts {str(path)[:60]!r}... name no file ({error.strerror}): give {accepted}"
        ) from None
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise PromptError(f"prompt file {path} has the suffix {path.suffix!r}: give {accepted}")
    return reader


def _text_lines(path: Path, _rule: FieldRule) -> Iterator[Row]:
    with closing(_decoded_lines(path)) as lines:
        for number, line in enumerate(lines, 1):
            yield Row(line.removesuffix("\n").removesuffix("\r"), f"{path.name}, line {number}")


def _folder(path: Path, _rule: FieldRule) -> Iterator[Row]:
    files = sorted(
        (file for file in path.iterdir() if file.suffix.lower() == ".txt" and file.is_file()),
        key=lambda file: file.name,
    )
    if not files:
        raise PromptError(f"folder {path} holds no .txt file: give one prompt a .txt file")
    for file in files:
        # Newlines are kept: the closest natural prompts differ in nothing but trailing newlines.
        yield Row("".join(_decoded_lines(file)), f"{path.name}/{file.name}")


def _json_lines(path: Path, rule: FieldRule) -> Iterator[Row]:
    with closing(_decoded_lines(path)) as lines:
        placed = ((f"{path.name}, line {at}", line) for at, line in enumerate(lines, 1))
        values = ((_parsed(line, place), place) for place, line in placed if line.strip())
        yield from _records(values, rule)


def _json(path: Path, rule: FieldRule) -> Iterator[Row]:
    value = _parsed("".join(_decoded_lines(path)), path.name)
    if not isinstance(value, list):
        raise PromptError(
            f"{path.name} holds a {type(value).__name__}: give a list of strings or of objects"
            " (or a .jsonl file, one a line)"
        )
    places = ((item, f"{path.name}, item {index}") for index, item in enumerate(value))
    return _records(places, rule)


def _parsed(text: str, place: str) -> object:
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise PromptError(
            f"{place}: not valid JSON: {error.msg} ({at}column {error.colno})"
        ) from None
    except (ValueError, RecursionError) as error:  # 5000 digits; 100,000 nested brackets
        raise PromptError(f"{place}: not readable JSON: {error}") from None
    return value


def _records(values: Iterable[tuple[object, str]], rule: FieldRule) -> Iterator[Row]:
    chosen: str | None = None
    for value, place in values:
        if isinstance(value, dict):
            if chosen is None:
                strings = {name: isinstance(held, str) for name, held in value.items()}
                chosen = rule.choose(strings, place)
            yield Row(field_of(value, chosen, place), place)
        elif not isinstance(value, str):
            raise not_a_prompt(value, place)
        elif rule.wanted is not None:
            raise PromptError(f"{place}: there is no field {rule.wanted!r}: the row is a string")
        else:
            yield Row(as_text(value, place), place)


def _csv(path: Path, rule: FieldRule) -> Iterator[Row]:
    with closing(_decoded_lines(path)) as lines:
        table = csv.reader(lines, strict=True)
        try:
            header = next(table, [])
            if len(set(header)) != len(header):
                named = ", ".join(header)
                raise PromptError(f"{path.name}: the header names a field twice: {named}")
            strings = dict.fromkeys(header, True)
            chosen = rule.choose(strings, f"{path.name}, header")
            for cells in table:
                place = f"{path.name}, line {table.line_num}"
                if len(cells) not in (0, len(header)):  # 0: a blank line
                    raise PromptError(
                        f"{place}: the row has {len(cells)} cells, the header {len(header)}"
                    )
                if cells:
                    yield Row(cells[header.index(chosen)], place)
        except csv.Error as error:
            place = f"{path.name}, line {table.line_num}"
            raise PromptError(f"{place}: not valid CSV: {error}") from None


def _parquet(path: Path, rule: FieldRule) -> Iterator[Row]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra(
            f"{path.name}: reading .parquet needs pyarrow:"
            ' pip install "pytest-injectivity[parquet]"'
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            strings = {
                column.name: pa.types.is_string(column.type)
                or pa.types.is_large_string(column.type)
                for column in file.schema_arrow
            }
            chosen = rule.choose(strings, path.name)
            index = 0
            for batch in file.iter_batches(_PARQUET_BATCH, columns=[chosen]):
                for record in batch.to_pylist():
                    place = f"{path.name}, row {index}"
                    yield Row(field_of(record, chosen, place), place)
                    index += 1
    except pa.ArrowException as error:
        raise PromptError(f"{path.name} is not a readable parquet file: {error}") from None


def _decoded_lines(path: Path) -> Generator[str, None, None]:
    r"""The lines of a UTF-8 file, each with its newline (``\n`` alone ends a line), without BOM."""
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            skipped = len(codecs.BOM_UTF8) if offset == 0 and raw.startswith(codecs.BOM_UTF8) else 0
            try:
                line = raw[skipped:].decode("utf-8")
            except UnicodeDecodeError as error:
                at = skipped + error.start
                raise PromptError(
                    f"{path.name}, line {number}: not UTF-8: byte 0x{raw[at]:02x} at offset"
                    f" {offset + at} of the file ({error.reason}): save the file as UTF-8"
                ) from None
            yield line
            offset += len(raw)


_READERS: dict[str, Reader] = {
    ".txt": _text_lines,
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
