"""Tests of the built-in prompt sets."""

from typing import Any

import pytest

from pytest_injectivity.errors import OptionError, PromptError
from pytest_injectivity.prompts.builtin import Builtin, parse_builtin
from pytest_injectivity.prompts.loading import load_prompts
from pytest_injectivity.testing import byte_tokenizer

BOS = 41
VOCABULARY = 43


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("prompts.txt", None),
        ("builtin.txt", None),
        ("builtin:stdlib", Builtin("stdlib", None)),
        ("builtin:random", Builtin("random", None)),
        ("builtin:challenge", Builtin("challenge", None)),
        ("builtin:challenge(a (1).txt)", Builtin("challenge", "a (1).txt")),
        ("builtin:challenge(builtin:random)", Builtin("challenge", "builtin:random")),
        ("builtin:challenge(probes)", Builtin("probes", None)),
        ("builtin:challenge(./probes)", Builtin("challenge", "./probes")),
    ],
)
def test_parse(source: str, expected: Builtin | None) -> None:
    """A source names a built-in set only behind the prefix."""
    assert expected == parse_builtin(source)


@pytest.mark.parametrize(
    "source",
    [
        "builtin:",
        "builtin:gpt2-stdlib",
        "builtin:Random",
        "builtin:random(5)",
        "builtin:challenge()",
    ],
)
def test_unknown_sets_list_those_there_are(source: str) -> None:
    """An unknown built-in set is refused with the list of known ones."""
    with pytest.raises(PromptError, match="builtin:stdlib, builtin:random, builtin:challenge"):
        load_prompts(source, None)


def test_random_is_1000_windows_of_32() -> None:
    """Without further wishes there are 1,000 prompts of 32 tokens, and no text."""
    prompts = load_prompts("builtin:random", None, vocab_size=VOCABULARY, context=128)

    assert (1000, {32}) == (len(prompts), set(prompts.lengths.tolist()))
    assert prompts.texts is None


@pytest.mark.parametrize(
    ("arguments", "length"), [({"context": 7}, 7), ({"length": 50}, 50), ({}, 32)]
)
def test_random_length(arguments: dict[str, int], length: int) -> None:
    """Windows have the length asked for, or 32, or the context where that is shorter."""
    prompts = load_prompts(
        "builtin:random", None, vocab_size=VOCABULARY, max_prompts=20, **arguments
    )

    assert (20, {length}) == (len(prompts), set(prompts.lengths.tolist()))


def test_random_draws_no_padding() -> None:
    """Rows of the embedding beyond the tokenizer stand in no text."""
    prompts = load_prompts("builtin:random", byte_tokenizer(), vocab_size=100_000)
    drawn = {token for ids in prompts.ids for token in ids}
    assert set(range(256)) == drawn


def test_random_is_uniform_over_the_embedding() -> None:
    """Every row of the embedding is drawn, and about equally often (chi-squared, p > 1e-6)."""
    prompts = load_prompts("builtin:random", None, vocab_size=VOCABULARY)
    drawn = [token for ids in prompts.ids for token in ids]
    expected = len(drawn) / VOCABULARY
    counts = [drawn.count(token) for token in range(VOCABULARY)]

    # 42 degrees of freedom: the 1 - 1e-6 quantile of chi-squared is 100.
    assert sum((count - expected) ** 2 / expected for count in counts) < 100
    assert len(drawn) == sum(counts)


def test_random_depends_on_the_seed_alone() -> None:
    """A seed gives the same prompts again, another seed others."""
    first, again, other = (
        load_prompts("builtin:random", None, vocab_size=VOCABULARY, seed=seed) for seed in (5, 5, 6)
    )

    assert first == again
    assert first.hash != other.hash


def test_random_with_bos(with_bos: Any) -> None:
    """BOS asked for stands first and is part of the length; left to itself none is added."""
    arguments = {"vocab_size": VOCABULARY, "length": 5, "max_prompts": 50}
    framed = load_prompts("builtin:random", with_bos, special_tokens="yes", **arguments)
    plain = load_prompts("builtin:random", with_bos, **arguments)

    assert {(5, BOS)} == {(len(ids), ids[0]) for ids in framed.ids}
    assert (50, 0) == (len(framed), framed.dropped_tokens)
    assert (True, False) == (framed.special_tokens, plain.special_tokens)
    assert len({ids[0] for ids in plain.ids}) > 1


def test_random_counts_what_repeats() -> None:
    """Draws that repeat are dropped and counted as everywhere."""
    prompts = load_prompts("builtin:random", None, vocab_size=2, length=1)

    assert (2, 998) == (len(prompts), prompts.dropped_duplicates)


def test_random_needs_the_vocabulary() -> None:
    """Without the number of embedding rows nothing can be drawn."""
    with pytest.raises(PromptError, match="give vocab_size"):
        load_prompts("builtin:random", None)


def test_stdlib_needs_a_tokenizer() -> None:
    """Text is of no use without a tokenizer: the error names what is."""
    with pytest.raises(PromptError, match="no tokenizer: give builtin:random"):
        load_prompts("builtin:stdlib", None)


def test_builtin_sets_have_no_fields(characters: Any) -> None:
    """A field named for a built-in set is refused, not ignored."""
    with pytest.raises(OptionError, match="builtin:stdlib has no fields"):
        load_prompts("builtin:stdlib", characters, field="text")


def test_stdlib_is_tokenised(
    characters: Any, encoded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard library's texts become prompts like those of a file."""
    monkeypatch.setattr(
        "pytest_injectivity.prompts.stdlib.stdlib_texts", lambda: ("one text", "two, two")
    )

    prompts = load_prompts("builtin:stdlib", characters)

    assert ("builtin:stdlib", ("one text", "two, two")) == (prompts.name, prompts.texts)
    assert (encoded("one text"), encoded("two, two")) == prompts.ids


@pytest.mark.slow
def test_stdlib_is_real_text(with_bos: Any) -> None:
    """The running Python gives a thousand distinct prompts and more."""
    prompts = load_prompts("builtin:stdlib", with_bos, context=512, overlong="drop")

    assert len(prompts) > 1000
    assert prompts.longest <= 512
