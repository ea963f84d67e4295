"""Tests of telling identifiers from prompts."""

import pytest

from pytest_injectivity.prompts.id_like import is_id_name, is_id_value


@pytest.mark.parametrize(
    "name",
    [
        "id", "_id", "ID", "uuid", "conversation_id", "conversationId", "custom_id", "promptHash",
        "sha256", "md5", "index", "Unnamed: 0", "", "source", "source_url", "imageURL", "model", "lang",
        "label", "role", "created-at date", "file_name", "timestamp", "license", "completion", "chosen",
        "split",
    ],
)  # fmt: skip
def test_names_of_identifiers_and_facts(name: str) -> None:
    """However their words are joined."""
    assert is_id_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "question", "text", "body", "user_input", "sourceText", "model_input", "問題", "idea",
        "review",
    ],
)  # fmt: skip
def test_names_that_may_hold_prompts(name: str) -> None:
    """Words that only contain those of identifiers are none."""
    assert not is_id_name(name)


@pytest.mark.parametrize(
    "value",
    [
        "conv-1", "17", "-3.5", "chatcmpl-9x8Y", "3f2a77c0-1111-4222-8333-0123456789ab",
        "abcdefabcdefabcdef",
        "https://example.org/a", "ftp://x", "2026-11-29T14:00:00", "data/train_003.json", " q7 ",
    ],
)  # fmt: skip
def test_values_of_identifiers(value: str) -> None:
    """One word with a digit, a hash, an address."""
    assert is_id_value(value)


@pytest.mark.parametrize(
    "value", ["", "river", "what is 2?", "Wo ist Zimmer 7", "第3章を要約して", "x = 1", "see https://a.b"]
)  # fmt: skip
def test_values_that_may_be_prompts(value: str) -> None:
    """Several words, one without a digit, other scripts."""
    assert not is_id_value(value)
