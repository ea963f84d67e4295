"""Finds the field of a record that holds its prompt.

In a table, and in a file of objects, one field holds the prompt, the same field in the whole file. The
user names it, with dots into nested objects (``body.messages``), or it is found in the first record:

1. ``text``, ``prompt`` or ``ids``, in this order;
2. the list of messages, at the top or in an object inside (``body.messages`` of an OpenAI batch);
3. ``instruction``, with ``input`` or ``context`` after a blank line where there is one;
4. the only other field that holds a text, if neither its name nor its value is that of an identifier.

What was found among several fields is told.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.conversations import NAMES, is_conversation, is_message
from pytest_injectivity.prompts.id_like import is_id_name, is_id_value
from pytest_injectivity.prompts.place import Place
from pytest_injectivity.prompts.rows import Content, as_content, as_text
from pytest_injectivity.prompts.shown import listed, named, shown

Tell = Callable[[str], None]
"""Called with a sentence on how prompts are read."""

_DEEPEST = 3  # objects in objects that are looked into
_INSTRUCTION, _INPUTS = "instruction", ("input", "context")
_BESIDE = ("tools", "system")  # what belongs to a list of messages


@dataclass(frozen=True, slots=True)
class PromptField:
    """The field that holds the prompt of every record of a file.

    Attributes:
        path: the keys that lead to it; a number leads into a list.
        then: a second field, whose text follows after a blank line; empty: none.
    """

    path: tuple[str, ...]
    then: str = ""

    @property
    def name(self) -> str:
        """The field as ``--injx-prompt-field`` takes it."""
        return ".".join(self.path)

    @property
    def columns(self) -> set[str]:
        """The names at the top of a record that are needed to read the prompt."""
        beside = _BESIDE if len(self.path) == 1 else ()
        return {self.path[0], *filter(None, [self.then]), *beside}

    def content(self, record: Mapping[str, object], place: Place) -> Content:
        """The prompt of a record.

        Raises:
            PromptError: the record has no such field, or it holds something else than a prompt.
        """
        where = f"{place}, field {named(self.name)}"
        parent = _at(record, self.path[:-1], place)
        value = _at(record, self.path, place)
        beside = parent if isinstance(parent, Mapping) else None
        content = as_content(value, where, beside, self.name)
        more = record.get(self.then) if self.then else None
        if isinstance(content, str) and more:
            where = f"{place}, field {named(self.then)}"
            if not isinstance(more, str):
                raise PromptError(f"{where}: is {shown(more)}: give a text, or none")
            return f"{content}\n\n{as_text(more, where)}"
        return content


@dataclass(frozen=True, slots=True)
class FieldRule:
    """How the field that holds the prompt is found.

    Attributes:
        wanted: the name the user gave, or None to find one.
        prefer_ids: whether ``ids`` comes before ``text`` (for a model without a tokenizer).
    """

    wanted: str | None = None
    prefer_ids: bool = False

    def choose(self, record: Mapping[str, object], place: Place, tell: Tell) -> PromptField:
        """The field that holds the prompt.

        Args:
            record: the first of the file.
            place: where the record stands, for errors.
            tell: is told which field is read where the user named none and there are several.

        Raises:
            PromptError: no such field, or none can be found.
        """
        if self.wanted is not None:
            path = (self.wanted,) if self.wanted in record else tuple(self.wanted.split("."))
            _at(record, path, place)
            return PromptField(path)
        found = self._found(record, place)
        if len(record) > 1 or len(found.path) > 1:
            of = f"of {len(record)}" if len(found.path) == 1 else "(nested)"
            field = f"field {named(found.name)}"
            if found.then in record:
                field = (
                    f"fields {named(found.name)} and {named(found.then)}, joined by a blank line,"
                )
            elif found.then:
                field += f", with {named(found.then)} after a blank line where a row has one,"
            tell(f"prompts from {field} {of}")
        return found

    def _found(self, record: Mapping[str, object], place: Place) -> PromptField:
        names = ("ids", "text", "prompt") if self.prefer_ids else ("text", "prompt", "ids")
        # Ids that a table spells as text are no ids.
        known = [one for one in names if one in record and (one, type(record[one])) != ("ids", str)]
        if known:
            return PromptField((known[0],))
        if is_message(record):
            raise PromptError(
                f"{place}: the row is one message: give one conversation a row, as a list of"
                ' messages such as {"messages": [...]}'
            )
        # The first conversation may be empty, which is no prompt.
        empty = [(one,) for one in NAMES if record.get(one) == []]
        conversations = _conversations(record) or empty[:1]
        if len(conversations) == 1:
            return PromptField(conversations[0])
        if conversations:
            held = listed(".".join(path) for path in conversations)
            raise PromptError(
                f"{place}: which field holds the prompt? {held} hold conversations: name one with"
                " --injx-prompt-field"
            )
        if isinstance(record.get(_INSTRUCTION), str):
            # The first row may lack what others have.
            then = next((one for one in _INPUTS if one in record), _INPUTS[0])
            return PromptField((_INSTRUCTION,), then)
        return self._guessed(record, place)

    def _guessed(self, record: Mapping[str, object], place: Place) -> PromptField:
        left_out: list[str] = []
        for depth in range(_DEEPEST):
            strings = [
                (path, value) for path, value in _leaves(record, depth) if isinstance(value, str)
            ]
            known = [path for path, _ in strings if depth and path[-1] in ("text", "prompt")]
            possible = [path for path, value in strings if not _identifies(path[-1], value)]
            left_out += [".".join(path) for path, _ in strings if path not in possible]
            for paths in (known, possible):
                if len(paths) == 1:
                    return PromptField(paths[0])
            if possible:
                raise _ambiguous(record, place, possible, left_out)
        raise _ambiguous(record, place, [], left_out)


def _identifies(name: str, value: str) -> bool:
    # A list of messages that was written into a table's cell is no text either.
    return is_id_name(name) or name.lower() in NAMES or is_id_value(value)


def _ambiguous(
    record: Mapping[str, object], place: Place, possible: list[tuple[str, ...]], left_out: list[str]
) -> PromptError:
    aside = f" ({listed(left_out)} may name or describe the row: not guessed)" if left_out else ""
    choices = listed(".".join(path) for path in possible) if possible else listed(record)
    return PromptError(
        f"{place}: which field holds the prompt? None is named 'text', 'prompt', 'messages',"
        f" 'instruction' or 'ids', and {len(possible)} hold a string{aside}; name one of {choices}"
        " with --injx-prompt-field (dots lead into objects: body.text)"
    )


def _conversations(record: Mapping[str, object]) -> list[tuple[str, ...]]:
    """The paths of lists of messages, at the least depth at which there is one."""
    for depth in range(_DEEPEST):
        paths = [path for path, value in _leaves(record, depth) if is_conversation(value)]
        usual = sorted(
            (path for path in paths if path[-1] in NAMES), key=lambda path: NAMES.index(path[-1])
        )
        if paths:
            return usual[:1] or paths
    return []


def _leaves(record: Mapping[str, object], depth: int) -> Iterator[tuple[tuple[str, ...], object]]:
    """The fields in objects that are ``depth`` objects deep, with their paths."""
    for name, value in record.items():
        if depth == 0:
            yield (name,), value
        elif isinstance(value, Mapping):
            for path, inner in _leaves(value, depth - 1):
                yield (name, *path), inner


def _at(record: Mapping[str, object], path: tuple[str, ...], place: Place) -> object:
    value: object = record
    for depth, key in enumerate(path):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise _missing(record, value, path, depth, place)
    return value


def _missing(
    record: Mapping[str, object], value: object, path: tuple[str, ...], depth: int, place: Place
) -> PromptError:
    wanted = ".".join(path)
    if depth == 0:
        return PromptError(
            f"{place}: there is no field {named(wanted)}; the fields are {listed(record)}"
        )
    inside = ".".join(path[:depth])
    if isinstance(value, Mapping):
        held = f"has the fields {listed(value)}"
    elif isinstance(value, list):
        held = f"is a list of {len(value)}"
    else:
        held = f"is a {type(value).__name__}"
    return PromptError(f"{place}: there is no field {named(wanted)}: {named(inside)} {held}")
