from pytest_injectivity.prompts.known_tokens import known_tokens
from pytest_injectivity.testing import byte_tokenizer


def test_a_tokenizer_says_what_is_a_token() -> None:
    """Rows beyond it are padding, and ids that the model does not take are no tokens."""
    assert list(range(256)) == known_tokens(byte_tokenizer(), 300).tolist()
    assert list(range(40)) == known_tokens(byte_tokenizer(), 40).tolist()


def test_without_a_tokenizer_every_row_is_a_token() -> None:
    """Nothing is known of what is not."""
    assert list(range(40)) == known_tokens(None, 40).tolist()
