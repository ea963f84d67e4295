"""Kinds of tokens: what of a prompt was read, in words that give nothing of it away."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any


class TokenKind(IntEnum):
    """What a token's text is made of."""

    SPECIAL = 0
    """The tokenizer's own: no text."""
    SPACE = 1
    """Nothing but white space."""
    NUMBER = 2
    """With a digit in it."""
    NAME = 3
    """A word, or the piece of one, with a capital letter."""
    WORD = 4
    """Any other letters."""
    PUNCTUATION = 5
    """Neither letters nor digits."""
    UNKNOWN = 6
    """Bytes that are no text by themselves, or there is no tokenizer."""

    @property
    def words(self) -> str:
        """As reports name it."""
        return self.name.lower()


def kinds_of(tokenizer: Any, ids: Sequence[int]) -> tuple[TokenKind, ...]:
    """The kind of each token, by the text it stands for by itself.

    Args:
        tokenizer: the model's; None: every kind is unknown.
        ids: tokens.
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
