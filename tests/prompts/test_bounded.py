"""Tests of encoding no more of a text than shows that it is overlong."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.bounded import Encoded, encode_up_to
from pytest_injectivity.prompts.framing import encode
from pytest_injectivity.prompts.loading import load_prompts
from pytest_injectivity.testing import byte_tokenizer

SHARED = Path(__file__).parents[3] / "shared"


class Counting:
    """A tokenizer of one token a character that counts the characters it was given."""

    bos_token_id = None

    def __init__(self, every: int = 1) -> None:
        self.characters = 0
        self.every = every

    def __call__(self, text: list[str], **_: Any) -> Any:
        """The ids of texts."""
        self.characters += sum(map(len, text))
        return {"input_ids": [[ord(one) % 64 for one in each[:: self.every]] for each in text]}

    def decode(self, token_ids: list[int], **_: Any) -> str:
        """Some text."""
        return "".join(map(chr, token_ids))


def test_a_long_text_is_encoded_in_part() -> None:
    """Of 24 million characters some thousands are looked at."""
    tokenizer = Counting()

    found = encode_up_to(tokenizer, ["a" * 24_000_000, "b"], context=256)

    assert [False, True] == [one.whole for one in found]
    assert len(found[0].ids) > 256
    assert 0 < tokenizer.characters < 10_000


def test_a_tokenizer_that_takes_many_characters_a_token_is_given_more() -> None:
    """The beginning grows until its tokens exceed the context, or the text ends."""
    tokenizer = Counting(every=1000)

    long, short = encode_up_to(tokenizer, ["a" * 10**7, "a" * 10**5], context=256)

    assert not long.whole
    assert 2 * 256 < len(long.ids) < 10**4
    assert Encoded((ord("a") % 64,) * 100, whole=True) == short
    assert tokenizer.characters < 4 * 10**6


def test_without_a_context_texts_are_encoded_whole() -> None:
    """No text is too long then."""
    (found,) = encode_up_to(Counting(), ["a" * 10**6], context=None)

    assert found.whole
    assert 10**6 == len(found.ids)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5), st.integers(1, 40))
def test_texts_that_fit_are_as_the_tokenizer_makes_them(texts: list[str], context: int) -> None:
    """Short texts are not touched, however small the context is."""
    tokenizer = byte_tokenizer()

    found = encode_up_to(tokenizer, texts, context)

    assert [Encoded(ids, whole=True) for ids in encode(tokenizer, texts, framed=False)] == found


@pytest.mark.parametrize("model", ["qwen3-1m", "stories260k-llama", "slm4096-gpt2"])
def test_a_text_whose_beginning_is_overlong_is_overlong(model: str) -> None:
    """On real tokenizers, of words, of one letter again and again, and of letters at random."""
    from transformers import AutoTokenizer

    if not (SHARED / "models" / model).is_dir():
        pytest.skip(f"needs {model} of the shared folder, which is not here")
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "models" / model)
    random = Random(7)  # noqa: S311 - no secrets
    texts = [
        "the cat sat on a mat, " * 5000,
        " " * 50_000,
        "a" * 50_000,
        "".join(random.choices("etaoin shrdlu\n", k=50_000)),
        "".join(random.choices("aab", k=50_000)),
    ]

    found = encode_up_to(tokenizer, texts, context=100)
    whole = encode(tokenizer, texts, framed=False)

    assert len(texts) == len(found)
    for part, ids in zip(found, whole, strict=True):
        # All but the last tokens of a beginning are those of the text.
        kept = len(part.ids) - 8
        assert part.ids == ids if part.whole else part.ids[:kept] == ids[:kept]


@pytest.mark.parametrize("overlong", ["refuse", "drop"])
def test_a_line_of_24_mb_is_counted_as_overlong(tmp_path: Path, overlong: Any) -> None:
    """It is refused, or dropped and counted, and takes no longer than a short one."""
    path = tmp_path / "a.jsonl"
    rows = ["one", "two", "words and more " * 1_600_000]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer: Any = Counting()
    if overlong == "refuse":
        with pytest.raises(PromptError, match=r"1 of its prompts .* the longest has at least \d+"):
            load_prompts(path, tokenizer, context=64, special_tokens="no")
    else:
        prompts = load_prompts(path, tokenizer, context=64, overlong="drop")
        assert (2, 1) == (len(prompts), prompts.dropped_overlong)
    assert tokenizer.characters < 20_000
