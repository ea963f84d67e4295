"""Tokenizers of one token a character, small enough to check by hand."""

import string
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

# Ids 0 to 40; other characters are dropped.
ALPHABET = " \n.,!" + string.ascii_lowercase + string.digits
BOS, EOS = 41, 42


def _characters(template: str | None = None, *, bos: bool = True) -> Any:
    vocabulary = {character: index for index, character in enumerate(ALPHABET)}
    vocabulary |= {"<s>": BOS, "</s>": EOS}
    tokenizer = Tokenizer(BPE(vocabulary, []))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    if template is not None:
        names = [("<s>", BOS), ("</s>", EOS)]
        tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=names)
    special = {"bos_token": "<s>", "eos_token": "</s>"} if bos else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


@pytest.fixture(scope="session")
def characters() -> Any:
    """A tokenizer without special tokens; it drops what is not in its alphabet."""
    return _characters(bos=False)


@pytest.fixture(scope="session")
def with_bos() -> Any:
    """A tokenizer that puts BOS before every text, as Llama's does."""
    return _characters("<s> $A")


@pytest.fixture(scope="session")
def knows_bos() -> Any:
    """A tokenizer that has a BOS and does not add it, as GPT-2's."""
    return _characters()


@pytest.fixture(scope="session")
def with_both() -> Any:
    """A tokenizer that puts BOS before and EOS after every text."""
    return _characters("<s> $A </s>")


@pytest.fixture(scope="session")
def encoded() -> Any:
    """The ids of a text, one a character, by hand."""
    return lambda text: tuple(ALPHABET.index(character) for character in text)
