"""Writes conversations as text by the chat template of the model's tokenizer.

The default, ``"prompt"``, writes what the model sees before it answers: the messages without the model's
own at the end, and the template's generation prompt (``add_generation_prompt``). ``"whole"`` writes all
messages and no generation prompt.

A template is a program that comes with the checkpoint. transformers runs it in jinja's sandbox, where it
reaches no file and no attribute of Python's. Whatever it raises is an error of the prompts, as is a text
out of all proportion. A loop without an end cannot be stopped from here.
"""

from collections.abc import Callable
from typing import Any, Protocol, cast

from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.conversations import Conversation
from pytest_injectivity.prompts.place import Place
from pytest_injectivity.prompts.settings import Conversations

# No template writes so much around a message: a loop that never meant to end does.
MOST_ADDED = 2**20  # characters beside the messages' own
MOST_TIMES = 16  # times that a message may be repeated

_LONGEST_REASON = 200


class Templated(Protocol):
    """The part of a transformers tokenizer that writes conversations."""

    chat_template: object

    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> Any:
        """The text of a conversation."""


def template_writer(
    tokenizer: object, which: Conversations, first: Conversation, place: Place
) -> "Callable[[Conversation, Place], str]":
    """A function that writes conversations, each with its place for errors, as texts.

    The text of a conversation of which nothing comes before the answer is empty.

    Args:
        tokenizer: the model's; None where it has none.
        which: what of a conversation is written.
        first: the first conversation, which the error is about.
        place: where it stands.

    Raises:
        PromptError: the tokenizer has no chat template.
    """
    if getattr(tokenizer, "chat_template", None) is None:
        missing = "tokenizer" if tokenizer is None else "chat template"
        named = (
            f", or name one message's text: --injx-prompt-field={first.first_text}"
            if first.first_text and tokenizer is not None
            else ""
        )
        raise PromptError(
            f"{place}: holds a conversation, and this model has no {missing} to write it with: give"
            f" {'token ids' if tokenizer is None else 'texts'}{named}"
        )
    templated = cast("Templated", tokenizer)

    def write(conversation: Conversation, place: Place) -> str:
        asked = conversation.before_answer() if which == "prompt" else conversation
        return _written(templated, asked, place, which) if asked.messages else ""

    return write


def writes_today(tokenizer: object) -> bool:
    """Whether the chat template asks for the date, so that prompts differ from day to day."""
    template = getattr(tokenizer, "chat_template", None)
    return "strftime_now" in str(template)


def _written(
    tokenizer: Templated, conversation: Conversation, place: Place, which: Conversations
) -> str:
    messages = [message.for_template() for message in conversation.messages]
    try:
        text = tokenizer.apply_chat_template(
            messages,
            tools=[dict(tool) for tool in conversation.tools] or None,
            add_generation_prompt=which == "prompt",
            tokenize=False,
        )
    except Exception as error:  # noqa: BLE001 - a template is a foreign program, and raises anything
        reason = one_line(f"{type(error).__name__}: {error}", _LONGEST_REASON)
        raise PromptError(
            f"{place}: the model's chat template cannot write this conversation ({reason})"
        ) from None
    if not isinstance(text, str):
        raise PromptError(f"{place}: the model's chat template gave a {type(text).__name__}")
    held = len(repr(messages)) + len(repr(conversation.tools))
    if len(text) > MOST_ADDED + MOST_TIMES * held:
        raise PromptError(
            f"{place}: the model's chat template wrote {len(text):,} characters for a conversation"
            f" of {held:,}: no prompt is meant"
        )
    return text
