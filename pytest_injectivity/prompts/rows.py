"""Rows of prompt files: one prompt each, as text or token ids, before anything is tokenized.

In a table, and in a file of objects, one field holds the prompt, the same field in the whole file. The
user names it, or it is the first there is of ``text``, ``prompt`` and ``ids``, or the only field that
holds a string. A string is a text; a list of integers is token ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pytest_injectivity.errors import PromptError

Content: TypeAlias = str | tuple[int, ...]

_MAX_ID = 2**63 - 1  # prompt hashes are taken of int64


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt of a source: its text or its token ids, and the place where it stands."""

    content: Content
    place: str


@dataclass(frozen=True, slots=True)
class FieldRule:
    """How the field that holds the prompt is found.

    Attributes:
        wanted: the name the user gave, or None to find one.
        prefer_ids: whether ``ids`` comes before ``text`` (for a model without a tokenizer).
    """

    wanted: str | None = None
    prefer_ids: bool = False

    def choose(self, fields: Mapping[str, bool], place: str) -> str:
        """The field that holds the prompt.

        Args:
            fields: the names of the fields there are, and whether each holds a string.
            place: where the fields were read, for the error.

        Raises:
            PromptError: no such field, or none can be found.
        """
        if self.wanted is not None:
            return _known(self.wanted, fields, place)
        names = ("ids", "text", "prompt") if self.prefer_ids else ("text", "prompt", "ids")
        if named := [name for name in names if name in fields]:
            return named[0]
        strings = [name for name, is_string in fields.items() if is_string]
        if len(strings) == 1:
            return strings[0]
        raise PromptError(
            f"{place}: which field holds the prompt? None is named 'text', 'prompt' or 'ids', and"
            f" {len(strings)} hold a string; name one of {_listed(fields)} with --injx-prompt-field"
        )


def field_of(record: Mapping[str, object], field: str, place: str) -> Content:
    """The prompt that a record holds in ``field``.

    Raises:
        PromptError: the record has no such field, or it holds something else than a prompt.
    """
    value = record[_known(field, record, place)]
    where = f"{place}, field {field!r}"
    if isinstance(value, str):
        return as_text(value, where)
    if isinstance(value, list):
        return _as_ids(value, where)
    raise PromptError(
        f"{where}: holds {_shown(value)}: give a string, or a list of token ids for a model"
        " without a tokenizer"
    )


def as_text(value: str, where: str) -> str:
    """The text itself, if it can be written as UTF-8 (JSON can spell half of a character).

    Raises:
        PromptError: it holds a lone surrogate.
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        raise PromptError(
            f"{where}: character {error.start} is the lone surrogate U+{code:04X}:"
            " give valid Unicode"
        ) from None
    return value


def not_a_prompt(value: object, place: str) -> PromptError:
    """The error for a row that is neither a string nor an object."""
    return PromptError(
        f"{place}: the row is {_shown(value)}: give a string, an object with a text field such as"
        ' {"text": "..."}, or {"ids": [...]}'
    )


def _known(field: str, fields: Mapping[str, object], place: str) -> str:
    if field not in fields:
        raise PromptError(f"{place}: there is no field {field!r}; the fields are {_listed(fields)}")
    return field


def _as_ids(values: list[object], where: str) -> tuple[int, ...]:
    ids: list[int] = []
    for index, value in enumerate(values):
        # True is an int to Python, and no token id to anybody.
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_ID:
            raise PromptError(
                f"{where}: entry {index} is {_shown(value)}: token ids are integers from 0"
            )
        ids.append(value)
    return tuple(ids)


def _listed(fields: Mapping[str, object]) -> str:
    return ", ".join(repr(name) for name in fields) or "none"


def _shown(value: object) -> str:
    """A value and its type; the values of containers are the user's prompts and stay out."""
    if value is None or isinstance(value, bool | int | float):
        text = repr(value)
        return f"{text[:40]} ({type(value).__name__})"
    return f"a {type(value).__name__}"
