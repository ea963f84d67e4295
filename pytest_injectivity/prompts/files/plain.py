r"""Readers of plain text: a prompt a line, or a folder with a prompt a file."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.fields import FieldRule, Tell
from pytest_injectivity.prompts.files.lines import decoded_lines
from pytest_injectivity.prompts.place import Place
from pytest_injectivity.prompts.rows import Row


def text_rows(path: Path, _rule: FieldRule, _tell: Tell) -> Iterator[Row]:
    r"""One prompt a line, without its newline (``\n`` or ``\r\n``)."""
    with closing(decoded_lines(path)) as lines:
        for number, line in enumerate(lines, 1):
            yield Row(line.removesuffix("\n").removesuffix("\r"), Place(path.name, "line", number))


def folder_rows(path: Path, _rule: FieldRule, _tell: Tell) -> Iterator[Row]:
    """One prompt a ``.txt`` file, the whole file as it is, in the order of names.

    Raises:
        PromptError: there is none.
    """
    files = sorted(
        (file for file in path.iterdir() if file.suffix.lower() == ".txt" and file.is_file()),
        key=lambda file: file.name,
    )
    if not files:
        raise PromptError(f"folder {path} holds no .txt file: give one prompt a .txt file")
    for number, file in enumerate(files, 1):
        # Newlines are kept: the closest natural prompts differ in nothing but trailing newlines.
        yield Row("".join(decoded_lines(file)), Place(path.name, "file", number, file.name))
