"""Conversations: lists of messages as chat exports hold them, read into one form.

==============  =====================================================================
OpenAI          ``{"role": "user", "content": "..."}``; content may be a list of text parts
ShareGPT        ``{"from": "human", "value": "..."}``
==============  =====================================================================

A ``system`` text beside the list is the first message, unless the list has one. What else a message
holds (``tool_calls``, ``tool_call_id``, ``name``) goes to the chat template as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.shown import shown

NAMES = (
    "messages",
    "conversations",
    "conversation",
    "dialog",
    "dialogue",
    "dialogs",
    "chat",
    "turns",
)
"""Names of fields that hold conversations, those tried first of several at the front."""

ANSWERS = "assistant"
"""The role of the model's own messages."""

_FORMS = (("role", "content"), ("from", "value"))
# What exports call the roles that chat templates know; other names are the template's to accept.
_ROLES = {
    "human": "user",
    "prompter": "user",
    "gpt": ANSWERS,
    "chatgpt": ANSWERS,
    "bot": ANSWERS,
    "bing": ANSWERS,
    "bard": ANSWERS,
    "model": ANSWERS,
    "function_call": ANSWERS,
    "observation": "tool",
}
_SHAREGPT_ROLES = {"user", ANSWERS, "system", "tool", "developer", *_ROLES}
_TEXT_PARTS = {"text", "input_text", "output_text"}


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: who speaks: ``user``, ``assistant``, ``system``, ``tool`` or another that the chat template
            of the model knows.
        content: the text.
        others: what else the message holds, such as ``tool_calls``.
    """

    role: str
    content: str
    others: Mapping[str, object] = field(default_factory=dict)

    def for_template(self) -> dict[str, Any]:
        """The message as chat templates take it."""
        return {"role": self.role, "content": self.content, **self.others}


@dataclass(frozen=True, slots=True)
class Conversation:
    """The messages of one conversation, and the tools that stood beside them.

    Attributes:
        messages: the messages, in their order.
        tools: descriptions of functions that the model may call.
        first_text: the path to the text of the first message in its row, as ``--injx-prompt-field``
            takes it; empty where the row is the list itself.

    >>> talk = as_conversation([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}], "a")
    >>> [(message.role, message.content) for message in talk.before_answer().messages]
    [('user', 'Hi')]
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, object], ...] = ()
    first_text: str = ""

    def before_answer(self) -> "Conversation":
        """The conversation without the model's messages at its end."""
        kept = len(self.messages)
        while kept and self.messages[kept - 1].role == ANSWERS:
            kept -= 1
        return replace(self, messages=self.messages[:kept])


def is_message(value: object) -> bool:
    """Whether a value has the fields of a message."""
    return isinstance(value, Mapping) and _form(value) is not None


def is_conversation(value: object) -> bool:
    """Whether a value is a list that begins with a message."""
    return isinstance(value, list) and bool(value) and is_message(value[0])


def as_conversation(
    value: Sequence[object], where: str, beside: Mapping[str, object] | None = None, path: str = ""
) -> Conversation:
    """Reads a list of messages.

    Args:
        value: the list.
        where: its place, for errors.
        beside: the object that holds it, perhaps with ``tools`` and ``system``; None where none does.
        path: the field that holds it.

    Raises:
        PromptError: an entry is no message, or has content that is no text.
    """
    messages = [
        _message(one, f"{where}, message {index} of {len(value)}")
        for index, one in enumerate(value, 1)
    ]
    form = _form(value[0]) if isinstance(value[0], Mapping) else None
    first_text = f"{path}.0.{form[1]}" if path and form else ""
    beside = beside or {}
    system = beside.get("system")
    if system and messages[0].role != "system":
        messages.insert(0, Message("system", _content(system, f"{where}, 'system' beside it")))
    return Conversation(tuple(messages), _tools(beside.get("tools"), where), first_text)


def _form(message: Mapping[str, object]) -> tuple[str, str] | None:
    return next((form for form in _FORMS if form[0] in message and form[1] in message), None)


def _message(value: object, where: str) -> Message:
    if not isinstance(value, Mapping):
        raise PromptError(f"{where}: is {shown(value)}: give an object of role and content")
    # The content of a message that calls tools may be left out.
    form = _FORMS[0] if "role" in value and "tool_calls" in value else _form(value)
    if form is None:
        fields = ", ".join(repr(name) for name in value) or "none"
        raise PromptError(
            f"{where}: has the fields {fields}: give role and content, or from and value"
        )
    role = value[form[0]]
    if not isinstance(role, str) or (form[0] == "from" and role.lower() not in _SHAREGPT_ROLES):
        raise PromptError(
            f"{where}: its {form[0]!r} is {shown(role, text=True)}: give human, gpt, system or tool"
            " (or user and assistant)"
        )
    others = {name: held for name, held in value.items() if name not in form and held is not None}
    content = _content(value.get(form[1]), f"{where}, {form[1]!r}", may_lack="tool_calls" in others)
    return Message(_ROLES.get(role.lower(), role), content, others)


def _content(value: object, where: str, *, may_lack: bool = False) -> str:
    if isinstance(value, str):
        return value
    if value is None and may_lack:
        return ""
    if not isinstance(value, list):
        raise PromptError(f"{where}: is {shown(value)}: give a text, or a list of parts of text")
    return "\n".join(_part(part, f"{where}, part {at}") for at, part in enumerate(value, 1))


def _part(part: object, where: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping) or part.get("type", "text") not in _TEXT_PARTS:
        kind = shown(part.get("type"), text=True) if isinstance(part, Mapping) else shown(part)
        raise PromptError(
            f"{where}: is of type {kind}: only text is audited: give parts of type 'text'"
        )
    text = part.get("text")
    if not isinstance(text, str):
        raise PromptError(f"{where}: its 'text' is {shown(text)}: give a text")
    return text


def _tools(value: object, where: str) -> tuple[Mapping[str, object], ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise PromptError(
            f"{where}: the 'tools' beside it are {shown(value)}: give a list of objects that"
            " describe functions"
        )
    return tuple(value)
