"""Tests of probes: texts that end in the same tokens."""

from typing import Any

import pytest

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.loading import load_prompts
from pytest_injectivity.prompts.probes import ENDINGS, probe_set
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.prompts.settings import Settings
from pytest_injectivity.testing import byte_tokenizer

TEXTS = ("the cat sat", "a dog", "x = 1")
SOURCE = "builtin:challenge(probes)"
BOS, EOS = 41, 42


@pytest.fixture
def base(encoded: Any) -> PromptSet:
    ids = tuple(encoded(text.replace("=", "")) for text in TEXTS)
    return PromptSet("texts", ids, TEXTS, special_tokens=False)


@pytest.fixture
def few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_injectivity.prompts.stdlib.stdlib_texts", lambda: TEXTS)


@pytest.mark.usefixtures("few_texts")
def test_each_text_has_every_ending() -> None:
    """A set holds each text with each ending, and no text alone."""
    prompts = load_prompts(SOURCE, byte_tokenizer())

    assert SOURCE == prompts.name
    assert {one + ending for one in TEXTS for ending in ENDINGS.values()} == set(
        prompts.texts or ()
    )


@pytest.mark.usefixtures("few_texts")
def test_a_kind_ends_in_the_same_tokens() -> None:
    """The last tokens of a kind are those of its ending, encoded by itself."""
    tokenizer = byte_tokenizer()
    prompts = load_prompts(SOURCE, tokenizer)
    ends = {
        kind: tuple(tokenizer(ENDINGS[kind], add_special_tokens=False)["input_ids"])
        for kind in ENDINGS
    }

    assert prompts.kinds is not None
    assert len(ENDINGS) * len(TEXTS) == len(prompts)
    assert all(
        ends[kind] == ids[-len(ends[kind]) :]
        for kind, ids in zip(prompts.kinds, prompts.ids, strict=True)
    )


def test_bases_are_the_texts(characters: Any, base: PromptSet) -> None:
    """A probe's base is the hash of the text that it continues."""
    prompts = probe_set(base, characters, Settings())

    assert set(base.hashes) == set(prompts.bases or ())


@pytest.mark.usefixtures("few_texts")
def test_special_tokens_stand_around_the_whole(with_both: Any) -> None:
    """A text and its ending have one frame."""
    prompts = load_prompts(SOURCE, with_both)

    assert {(BOS, EOS)} == {(ids[0], ids[-1]) for ids in prompts.ids}
    assert 0 == sum(BOS in ids[1:-1] or EOS in ids[1:-1] for ids in prompts.ids)


@pytest.mark.usefixtures("few_texts")
def test_windows_make_room_for_the_ending(characters: Any) -> None:
    """With a length asked for, every probe has it, and longer endings are left out."""
    prompts = load_prompts(SOURCE, characters, length=4)

    assert {4} == set(prompts.lengths.tolist())
    assert {"blank-line"} == set(prompts.kinds or ())


def test_no_probe_exceeds_the_context(characters: Any, base: PromptSet) -> None:
    """A probe that is too long is not made; its text's shorter ones are."""
    prompts = probe_set(base, characters, Settings(context=14))

    assert prompts.longest <= 14
    assert "blank-line" in set(prompts.kinds or ())


@pytest.mark.usefixtures("few_texts")
def test_max_prompts_is_the_number_of_probes() -> None:
    """A set is made until it has as many probes as asked for."""
    prompts = load_prompts(SOURCE, byte_tokenizer(), max_prompts=4)

    assert (4, 2) == (len(prompts), prompts.left_out)
    assert tuple(ENDINGS)[:4] == prompts.kinds


def test_where_no_ending_fits_that_is_an_error(characters: Any, base: PromptSet) -> None:
    """A set without a probe is refused."""
    with pytest.raises(PromptError, match="no probe of its 3 prompts can be made within length 1"):
        probe_set(base, characters, Settings(length=1))


def test_probes_need_a_tokenizer(base: PromptSet) -> None:
    """Endings are texts."""
    with pytest.raises(PromptError, match="there is no tokenizer"):
        probe_set(base, None, Settings())


def test_ids_beyond_the_embedding_are_refused(characters: Any, base: PromptSet) -> None:
    """A model with a smaller embedding than its tokenizer cannot take the endings."""
    with pytest.raises(PromptError, match="after prompt"):
        probe_set(base, characters, Settings(vocab_size=20))
