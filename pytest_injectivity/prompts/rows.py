"""Rows of prompt files: one prompt each, as text, token ids or messages, before it is tokenized."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.conversations import Conversation, as_conversation, is_conversation
from pytest_injectivity.prompts.place import Place
from pytest_injectivity.prompts.shown import shown

Content: TypeAlias = str | tuple[int, ...] | Conversation

_MAX_ID = 2**63 - 1  # prompt hashes are taken of int64


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt of a source: its text, token ids or messages, and the place where it stands."""

    content: Content
    place: Place


def as_content(
    value: object, where: str, beside: Mapping[str, object] | None = None, path: str = ""
) -> Content:
    """The prompt that a value of a file is: a text, a list of token ids or a list of messages.

    Args:
        value: the value.
        where: its place, for errors.
        beside: the object that holds it.
        path: the field that holds it.

    Raises:
        PromptError: the value is none of these.
    """
    if isinstance(value, str):
        return as_text(value, where)
    if is_conversation(value):
        return as_conversation(value, where, beside, path)  # type: ignore[arg-type] # a list
    if isinstance(value, list):
        return _as_ids(value, where)
    raise PromptError(
        f"{where}: holds {shown(value)}: give a string, a list of messages, or a list of token ids"
        " for a model without a tokenizer"
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


def not_a_prompt(value: object, place: Place) -> PromptError:
    """The error for a row that is neither a string nor an object."""
    return PromptError(
        f"{place}: the row is {shown(value)}: give a string, an object with a text field such as"
        ' {"text": "..."}, or {"ids": [...]}'
    )


def _as_ids(values: list[object], where: str) -> tuple[int, ...]:
    ids: list[int] = []
    for index, value in enumerate(values):
        # True is an int to Python, and no token id to anybody.
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_ID:
            raise PromptError(
                f"{where}: entry {index} is {shown(value)}: token ids are integers from 0"
            )
        ids.append(value)
    return tuple(ids)
