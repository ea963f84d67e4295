import pytest

from pytest_injectivity.privacy.evaluation.token_kinds import TokenKind, kinds_of
from pytest_injectivity.testing import byte_tokenizer


def test_tokens_are_sorted_by_their_text() -> None:
    """Bytes of a text, one by one."""
    tokenizer = byte_tokenizer(bos=True)
    ids = tokenizer("aZ7 \n!", add_special_tokens=True).input_ids
    assert (
        TokenKind.SPECIAL,
        TokenKind.WORD,
        TokenKind.NAME,
        TokenKind.NUMBER,
        TokenKind.SPACE,
        TokenKind.SPACE,
        TokenKind.PUNCTUATION,
    ) == kinds_of(tokenizer, ids)


def test_half_a_character_is_unknown() -> None:
    """It is no text by itself."""
    ids = list("é".encode())
    assert (TokenKind.UNKNOWN, TokenKind.UNKNOWN) == kinds_of(byte_tokenizer(), ids)


def test_without_a_tokenizer_nothing_is_known() -> None:
    """Token ids alone say nothing."""
    assert (TokenKind.UNKNOWN,) * 3 == kinds_of(None, [1, 2, 3])


@pytest.mark.parametrize("kind", list(TokenKind))
def test_kinds_have_words(kind: TokenKind) -> None:
    """That reports show."""
    assert kind.words.isalpha()
