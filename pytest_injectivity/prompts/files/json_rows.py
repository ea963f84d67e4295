"""Readers of JSON: a value a line, or a list of values."""

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.conversations import as_conversation, is_conversation, is_message
from pytest_injectivity.prompts.fields import FieldRule, PromptField, Tell
from pytest_injectivity.prompts.files.lines import decoded_lines
from pytest_injectivity.prompts.place import Place
from pytest_injectivity.prompts.rows import Row, as_text, not_a_prompt
from pytest_injectivity.prompts.shown import named


def json_line_rows(path: Path, rule: FieldRule, tell: Tell) -> Iterator[Row]:
    """One string, object or list of messages a line; blank lines are none."""
    with closing(decoded_lines(path)) as lines:
        placed = ((Place(path.name, "line", at), line) for at, line in enumerate(lines, 1))
        values = ((_parsed(line, place), place) for place, line in placed if line.strip())
        yield from _records(values, rule, tell)


def json_rows(path: Path, rule: FieldRule, tell: Tell) -> Iterator[Row]:
    """One list of strings, objects or lists of messages.

    Raises:
        PromptError: the file holds no list, or the messages of one conversation.
    """
    value = _parsed("".join(decoded_lines(path)), path.name)
    if not isinstance(value, list):
        raise PromptError(
            f"{path.name} holds a {type(value).__name__}: give a list of strings or of objects"
            " (or a .jsonl file, one a line)"
        )
    if is_message(value[0] if value else None) and rule.wanted is None:
        raise PromptError(
            f"{path.name} holds the messages of one conversation: give a list of conversations"
        )
    places = ((item, Place(path.name, "item", index)) for index, item in enumerate(value))
    return _records(places, rule, tell)


def _parsed(text: str, place: object) -> object:
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


def _records(values: Iterable[tuple[object, Place]], rule: FieldRule, tell: Tell) -> Iterator[Row]:
    chosen: PromptField | None = None
    for value, place in values:
        if isinstance(value, dict):
            chosen = chosen or rule.choose(value, place, tell)
            yield Row(chosen.content(value, place), place)
        elif rule.wanted is not None and isinstance(value, str | list):
            kind = "string" if isinstance(value, str) else "list"
            raise PromptError(
                f"{place}: there is no field {named(rule.wanted)}: the row is a {kind}"
            )
        elif is_conversation(value):
            yield Row(as_conversation(value, str(place)), place)  # type: ignore[arg-type] # a list
        elif isinstance(value, str):
            yield Row(as_text(value, str(place)), place)
        else:
            raise not_a_prompt(value, place)
