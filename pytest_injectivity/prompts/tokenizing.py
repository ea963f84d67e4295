"""Turns the rows of a source, which are all of one kind, into token ids without special tokens.

Conversations are written as text by the model's chat template first. Such a text has all special tokens
that the template wants in it, so the tokenizer adds none, and a BOS is not doubled.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from pytest_injectivity.errors import OptionError, PromptError
from pytest_injectivity.prompts.bounded import encode_up_to
from pytest_injectivity.prompts.chat_template import template_writer, writes_today
from pytest_injectivity.prompts.conversations import Conversation
from pytest_injectivity.prompts.fields import Tell
from pytest_injectivity.prompts.framing import (
    PROBED,
    Frame,
    Tokenizer,
    ids_frame,
    text_frame,
)
from pytest_injectivity.prompts.losses import Restoring
from pytest_injectivity.prompts.place import Place
from pytest_injectivity.prompts.rows import Row
from pytest_injectivity.prompts.settings import Settings

_PROBE = 2000  # characters of a text on which the frame is verified


class Tokenized(NamedTuple):
    """A row as token ids.

    Attributes:
        body: its ids without special tokens.
        text: its text; None where the source gave ids.
        place: where it stands.
        whole: False where only its beginning was tokenized, which is longer than the context.
    """

    body: tuple[int, ...]
    text: str | None
    place: Place
    whole: bool = True


@dataclass
class RowTokenizer:
    """Tokenizes the rows of one source.

    Args:
        name: the source's name.
        first: its first rows, which tell what kind its rows are of.
        tokenizer: the model's; None where it has none.
        settings: those of `load_prompts`.
        tell: is told what the chat template adds, and of texts that begin with BOS themselves.

    Attributes:
        frame: the special tokens that are put around each row.
        restoring: how many texts come back from their ids.
        doubled: rows whose text begins with the BOS that the tokenizer adds.
    """

    name: str
    first: list[Row]
    tokenizer: Tokenizer | None
    settings: Settings
    tell: Tell
    frame: Frame = field(init=False)
    restoring: Restoring = field(init=False)
    doubled: int = 0
    _kind: str = field(init=False)
    _write: Callable[[Conversation, Place], str] | None = None

    def __post_init__(self) -> None:
        kinds = (_kind(row) for row in self.first)
        self._kind = next((kind for kind in kinds if kind), "token ids")
        self.restoring = Restoring(self._decode)
        if self._kind == "a conversation":
            self._begin_conversations()
        self.frame = self._frame()
        length = self.settings.length
        if length is not None and length <= len(self.frame):
            raise OptionError(
                f"length {length} leaves no room beside {len(self.frame)} special token(s): give at"
                f" least {len(self.frame) + 1}, or --injx-special-tokens=no"
            )

    @property
    def templated(self) -> bool:
        """Whether the rows are conversations, which a chat template writes."""
        return self._write is not None

    def rows(self, batch: list[Row]) -> list[Tokenized]:
        """The rows of a batch as token ids.

        Raises:
            PromptError: a row is of another kind than the first one, or the chat template cannot write
                it.
        """
        for row in batch:
            if (kind := _kind(row)) not in ("", self._kind):
                raise PromptError(
                    f"{row.place}: holds {kind}, and the first row {self._kind}: give one kind"
                )
        if self._kind == "token ids":
            return [self._of_ids(row) for row in batch]
        texts = [self._text(row) for row in batch]
        # Windows are cut from whole texts.
        context = self.settings.context if self.settings.length is None else None
        assert self.tokenizer is not None  # noqa: S101 - `_frame` refuses texts without one
        encoded = encode_up_to(self.tokenizer, texts, context)
        return [
            self._of_text(row.place, text, *one)
            for row, text, one in zip(batch, texts, encoded, strict=True)
        ]

    def _of_ids(self, row: Row) -> Tokenized:
        assert isinstance(row.content, tuple)  # noqa: S101 - rows of other kinds were refused
        return Tokenized(self.frame.inside(row.content), None, row.place)

    def _of_text(self, place: Place, text: str, ids: tuple[int, ...], whole: bool) -> Tokenized:  # noqa: FBT001 - fields of a tuple
        if whole and ids:
            self.restoring.look_at(text, ids, place)
        if self._write is not None:  # BOS asked for stands first once, as before rows of ids
            ids = self.frame.inside(ids)
        elif self.frame.prefix and ids[:1] == self.frame.prefix[:1]:
            self.doubled += 1
        return Tokenized(ids, text, place, whole)

    def _text(self, row: Row) -> str:
        if isinstance(row.content, Conversation) and self._write is not None:
            return self._write(row.content, row.place)
        return row.content if isinstance(row.content, str) else ""

    def _begin_conversations(self) -> None:
        talk, place = next(
            (row.content, row.place) for row in self.first if isinstance(row.content, Conversation)
        )
        self._write = template_writer(self.tokenizer, self.settings.conversations, talk, place)
        what = {
            "prompt": "up to the model's last answer, with its generation prompt",
            "whole": "whole",
        }[self.settings.conversations]
        self.tell(f"conversations written by the model's chat template, {what}")
        if writes_today(self.tokenizer):
            self.tell("the chat template may write today's date: other prompts tomorrow")

    def _frame(self) -> Frame:
        if self._kind != "a text":
            return ids_frame(self.tokenizer, self.settings.special_tokens)
        if self.tokenizer is None:
            raise PromptError(
                f'{self.name} holds texts and this model has no tokenizer: give {{"ids": [...]}} rows,'
                " or builtin:random"
            )
        texts = [
            row.content[:_PROBE] for row in self.first[:PROBED] if isinstance(row.content, str)
        ]
        return text_frame(self.tokenizer, self.settings.special_tokens, texts)

    def _decode(self, body: tuple[int, ...]) -> str:
        assert self.tokenizer is not None  # noqa: S101 - texts have one
        return self.tokenizer.decode(
            list(body), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )


def _kind(row: Row) -> str:
    """What a row holds; empty for one without anything, which is of every kind."""
    if isinstance(row.content, str):
        return "a text"
    if isinstance(row.content, Conversation):
        return "a conversation"
    return "token ids" if row.content else ""
