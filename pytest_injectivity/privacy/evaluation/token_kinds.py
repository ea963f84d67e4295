"""Kinds of tokens, so that reports can say what was read without showing any text."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any


class TokenKind(IntEnum):
    """What the text of a token is made of."""

    SPECIAL = 0
    """A special token of the tokenizer, without text."""
    SPACE = 1
    """White space only."""
    NUMBER = 2
    """Text with a digit."""
    NAME = 3
    """Text with a capital letter and no digit."""
    WORD = 4
    """Text with letters, all of them small."""
    PUNCTUATION = 5
    """Text without letters and digits."""
    UNKNOWN = 6
    """Bytes that are no text by themselves, or any token where there is no tokenizer."""

    @property
    def words(self) -> str:
        """The name in reports."""
        return self.name.lower()


def kinds_of(tokenizer: Any, ids: Sequence[int]) -> tuple[TokenKind, ...]:
    """The kind of each token, by the text that it decodes to by itself.

    Args:
        tokenizer: the model's tokenizer; None: every kind is unknown.
        ids: the token ids.
    """
    if tokenizer is None:
        return (TokenKind.UNKNOWN,) * len(ids)
    special = set(tokenizer.all_special_ids)
    return tuple(
        TokenKind.SPECIAL if token in special else _kind(tokenizer.decode([token])) for token in ids
    )


def _kind(text: str) -> TokenKind:
    if not text or "\ufffd" in text:
        return TokenKind.UNKNOWN
    if text.isspace():
        return TokenKind.SPACE
    if any(character.isdigit() for character in text):
        return TokenKind.NUMBER
    if any(character.isupper() for character in text):
        return TokenKind.NAME
    return (
        TokenKind.WORD if any(character.isalpha() for character in text) else TokenKind.PUNCTUATION
    )
