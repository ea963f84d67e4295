r"""Reads prompt files as streams of rows: no file is read twice and nothing is unpickled.

=======================  =====================================================================
``.txt``                 one prompt a line, without its newline (``\n`` or ``\r\n``)
``.jsonl`` ``.ndjson``   one string, object or list of messages a line
``.json``                one list of them
``.csv`` ``.tsv``        a header, then one prompt a row
``.parquet``             one prompt a row (extra ``parquet``)
a folder                 one prompt a ``.txt`` file, the whole file, in the order of names
=======================  =====================================================================

Text is UTF-8; a byte order mark at the start of a file is skipped. Each but ``.parquet`` may be
compressed by gzip (``.jsonl.gz``).
"""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeAlias

from pytest_injectivity.errors import OptionError, PromptError
from pytest_injectivity.prompts.fields import FieldRule, Tell
from pytest_injectivity.prompts.files.csv_rows import csv_rows, tsv_rows
from pytest_injectivity.prompts.files.json_rows import json_line_rows, json_rows
from pytest_injectivity.prompts.files.lines import COMPRESSED
from pytest_injectivity.prompts.files.parquet_rows import parquet_rows
from pytest_injectivity.prompts.files.plain import folder_rows, text_rows
from pytest_injectivity.prompts.rows import Row

Reader: TypeAlias = Callable[[Path, FieldRule, Tell], Iterator[Row]]


def read_rows(
    path: Path, rule: FieldRule, tell: Tell = lambda _sentence: None
) -> Generator[Row, None, None]:
    """The rows of a prompt file or folder, one by one. Close what is returned where rows are left.

    Args:
        path: the file or folder.
        rule: how the field of an object or a table that holds the prompt is found.
        tell: is told how the file is read, where that was not said by its name and the rule.

    Raises:
        PromptError: the path, its suffix, or something in the file is not accepted.
        OptionError: a field is named for a source without fields.
        MissingExtra: a ``.parquet`` file, and pyarrow is not installed.
    """
    reader = _reader(path)
    if rule.wanted is not None and reader in (text_rows, folder_rows):
        raise OptionError(
            f"field {rule.wanted!r} was named, and {path} is plain text without fields"
        )
    try:
        if reader is not folder_rows and path.stat().st_size == 0:
            raise PromptError(f"{path} is empty: give at least 2 distinct prompts")
        yield from reader(path, rule, tell)
    except OSError as error:
        raise PromptError(f"{path} cannot be read: {error.strerror or error}") from None


def _reader(path: Path) -> Reader:
    accepted = f"a {', '.join(_READERS)} file (also with .gz), or a folder of .txt files"
    try:
        if path.is_dir():
            return folder_rows
        if not path.is_file():
            raise PromptError(
                f"there is no prompt file {str(path)!r}: give {accepted},"
                " or a built-in set such as builtin:stdlib"
            )
    except OSError as error:  # such as a prompt given in place of a path, too long for one
        raise PromptError(
            f"prompts {str(path)[:60]!r}... name no file ({error.strerror}): give {accepted}"
        ) from None
    is_compressed = path.suffix.lower() == COMPRESSED
    kind = (path.with_suffix("") if is_compressed else path).suffix.lower()
    reader = _READERS.get(kind)
    if reader is None or (is_compressed and reader is parquet_rows):
        suffix = (
            path.name.removeprefix(path.stem.partition(".")[0]) if is_compressed else path.suffix
        )
        raise PromptError(f"prompt file {path} has the suffix {suffix!r}: give {accepted}")
    return reader


_READERS: dict[str, Reader] = {
    ".txt": text_rows,
    ".jsonl": json_line_rows,
    ".ndjson": json_line_rows,
    ".json": json_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".parquet": parquet_rows,
}
