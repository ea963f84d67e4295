"""Tests of the challenge set."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.challenge import (
    KINDS,
    TOKEN_EDITS,
    challenge_set,
    text_variants,
    token_variants,
)
from pytest_injectivity.prompts.loading import load_prompts
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.prompts.settings import Settings

BASES = ["the cat sat on the mat.", "a dog, a bone", "def f(x):\n    return x"]
BOS, EOS = 41, 42


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "bases.json"
    path.write_text(json.dumps(BASES))
    return f"builtin:challenge({path})"


def variants_of(prompts: PromptSet, kind: str) -> list[str]:
    assert prompts.kinds is not None
    assert prompts.texts is not None
    return [text for text, made in zip(prompts.texts, prompts.kinds, strict=True) if made == kind]


def test_every_kind_is_made(characters: Any, source: str) -> None:
    """A set made of texts holds its bases and every kind of near-duplicate."""
    prompts = load_prompts(source, characters)

    assert {"base", *KINDS} == set(prompts.kinds or ())
    assert set(BASES) == set(variants_of(prompts, "base"))
    assert "builtin:challenge(bases.json)" == prompts.name


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("a b", "newline", ["a b\n", "a b\n\n"]),
        ("a b", "space", ["a b ", "a b  "]),
        ("a b.", "punctuation", ["a b", "a b!", "a b?"]),
        ("a b", "punctuation", ["a b.", "a b!", "a b?"]),
        ("a B", "case", ["a b", "A B"]),
        ("Ab", "case", ["ab", "AB"]),
        ("no. 5 of 7", "number", ["no. 40 of 7", "no. 41 of 7", "no. 50 of 7"]),
        ("none", "number", ["none 40", "none 41", "none 50"]),
    ],
)
def test_text_variants(text: str, kind: str, expected: list[str]) -> None:
    """Each kind of text variant, by hand; none equals the text itself."""
    made = list(text_variants(text, 40))
    unique = list(dict.fromkeys(variant for found, variant in made if found == kind))

    assert expected == unique
    assert text not in unique


def test_token_variants() -> None:
    """Tokens are repeated at the end and doubled inside, and changed in one place at a time."""
    body = (1, 2, 3, 4)
    made = list(token_variants(body, np.arange(6), np.random.default_rng(0)))

    repeats = [ids for kind, ids in made if kind == "repeat"]
    assert [(*body, *[4] * n) for n in (1, 2, 15, 16)] + [(1, 2, 3, 3, 4)] == repeats
    for kind, place in zip(TOKEN_EDITS, (0, 2, 3), strict=True):
        edited = [ids for found, ids in made if found == kind]
        assert 2 == len(set(edited))
        for ids in edited:
            assert [place] == [i for i in range(4) if ids[i] != body[i]]


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ((1,), {"last-token"}),
        ((1, 2), {"first-token", "last-token"}),
        ((1, 2, 3), set(TOKEN_EDITS)),
    ],
)
def test_short_prompts_have_fewer_places(body: tuple[int, ...], kinds: set[str]) -> None:
    """A place that is first and last at once is changed once, as the last."""
    made = token_variants(body, np.arange(6), np.random.default_rng(0))

    assert kinds == {kind for kind, _ in made} - {"repeat"}


def _variants(prompts: PromptSet) -> tuple[np.ndarray, np.ndarray]:
    """The index of each variant, and of the prompt that it was made from."""
    assert prompts.bases is not None
    place = {digest: at for at, digest in enumerate(prompts.hashes)}
    bases = np.array([place[base] for base in prompts.bases])
    variants = np.flatnonzero(bases != np.arange(len(prompts)))
    return variants, bases[variants]


def test_a_vocabulary_of_one_token_leaves_nothing_to_change() -> None:
    """Where the set holds a single token, only repetitions are made."""
    made = token_variants((1, 1), np.array([1]), np.random.default_rng(0))

    assert {"repeat"} == {kind for kind, _ in made}


@pytest.mark.parametrize("tokenizer", ["characters", "with_bos", "with_both"])
def test_token_edits_are_one_edit_from_their_base(
    request: pytest.FixtureRequest, source: str, tokenizer: str
) -> None:
    """A changed token is exactly one edit away at equal length, special tokens untouched."""
    prompts = load_prompts(source, request.getfixturevalue(tokenizer))
    assert prompts.kinds is not None
    variants, bases = _variants(prompts)
    edits = np.isin(np.array(prompts.kinds)[variants], TOKEN_EDITS)

    distances = PairDistances(PromptMetric.HAMMING, prompts.ids)(variants[edits], bases[edits])

    assert {1.0} == set(distances.tolist())
    assert edits.sum() >= 6 * len(BASES) - 2  # a few may coincide


def test_each_variant_knows_its_base(with_bos: Any, source: str) -> None:
    """Every variant is paired with the base its text was made from."""
    prompts = load_prompts(source, with_bos)
    assert prompts.texts is not None
    assert prompts.kinds is not None

    variants, bases = _variants(prompts)

    assert len(prompts) - len(BASES) == len(variants)
    assert {"base"} == {prompts.kinds[base] for base in bases}
    longer = [
        (prompts.texts[base], prompts.texts[variant].rstrip("\n "))
        for variant, base in zip(variants, bases, strict=True)
        if prompts.kinds[variant] in {"newline", "space"}
    ]
    assert longer
    assert [base for base, _ in longer] == [variant for _, variant in longer]


def test_every_prompt_is_framed(with_both: Any, source: str) -> None:
    """Variants have the special tokens of their bases, and only those."""
    prompts = load_prompts(source, with_both)

    assert prompts.special_tokens
    assert {(BOS, EOS)} == {(ids[0], ids[-1]) for ids in prompts.ids}
    assert 0 == sum(ids[1:-1].count(BOS) for ids in prompts.ids)


def test_a_set_is_reproduced_by_its_seed(characters: Any, source: str) -> None:
    """The same seed makes the same set, another seed another."""
    first, again, other = (load_prompts(source, characters, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert first.hash != other.hash


def test_the_order_of_bases_does_not_matter(characters: Any, tmp_path: Path) -> None:
    """The same bases in another order make the same prompts, even where only some are used."""
    hashes = set()
    for name, texts in (("a", BASES), ("b", BASES[::-1])):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(texts))
        hashes.add(load_prompts(f"builtin:challenge({path})", characters, max_prompts=30).hash)

    assert 1 == len(hashes)


def test_max_prompts_is_the_number_of_prompts(characters: Any, source: str) -> None:
    """A set is made until it has as many prompts as asked for; unused bases are counted."""
    prompts = load_prompts(source, characters, max_prompts=5)

    assert (5, 2) == (len(prompts), prompts.left_out)
    assert ("base", "newline", "newline", "space", "space") == prompts.kinds


def test_variants_fit_the_context(characters: Any, source: str) -> None:
    """No variant is longer than the context, and none is counted as overlong for it."""
    prompts = load_prompts(source, characters, context=max(map(len, BASES)))

    assert prompts.longest <= max(map(len, BASES))
    assert 0 == prompts.dropped_overlong


def test_windows_have_variants_of_their_length(with_bos: Any, source: str) -> None:
    """With a length asked for, bases are windows and every variant has that length too."""
    prompts = load_prompts(source, with_bos, length=6)

    assert {6} == set(prompts.lengths.tolist())
    assert set(TOKEN_EDITS) < set(prompts.kinds or ())


def test_dropped_characters_are_losses(characters: Any, source: str) -> None:
    """A variant that differs in what the tokenizer drops is no prompt, and counted as its loss."""
    prompts = load_prompts(source, characters)

    assert prompts.dropped_indistinguishable > 0
    assert [] == [text for text in variants_of(prompts, "punctuation") if text.endswith("?")]


def test_ids_have_token_kinds_only(tmp_path: Path) -> None:
    """Bases of token ids are repeated and changed; there is no text to vary."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"ids": [1, 2, 3]}\n{"ids": [4, 5, 6]}\n')

    prompts = load_prompts(f"builtin:challenge({path})", None)

    assert {"base", "repeat", *TOKEN_EDITS} == set(prompts.kinds or ())
    assert prompts.texts is None
    assert {1, 2, 3, 4, 5, 6} == {token for ids in prompts.ids for token in ids}


def test_kinds_can_be_chosen() -> None:
    """Minimal edits of any set are one call away."""
    base = PromptSet("set", ((1, 2, 3), (4, 5, 6)), None, special_tokens=False)

    prompts = challenge_set(base, None, Settings(), kinds=TOKEN_EDITS)

    assert {"base", *TOKEN_EDITS} == set(prompts.kinds or ())
    assert {3} == set(prompts.lengths.tolist())


def test_the_default_base_is_the_standard_library(
    characters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an argument the bases are the standard library's texts."""
    monkeypatch.setattr("pytest_injectivity.prompts.stdlib.stdlib_texts", lambda: tuple(BASES))

    prompts = load_prompts("builtin:challenge", characters)

    assert set(BASES) == set(variants_of(prompts, "base"))
    assert "builtin:challenge(builtin:stdlib)" == prompts.name


def test_no_challenge_of_a_challenge(characters: Any, source: str) -> None:
    """Variants of variants would have two kinds each: refused."""
    with pytest.raises(PromptError, match="is a challenge set already"):
        load_prompts(f"builtin:challenge({source})", characters)


def test_no_variant_possible() -> None:
    """Bases of which no variant can be made are refused with the limits."""
    base = PromptSet("set", ((1, 2, 3), (4, 5, 6)), None, special_tokens=False)

    with pytest.raises(PromptError, match=r"no near-duplicate of its 2 prompts .* context 3"):
        challenge_set(base, None, Settings(context=3), kinds=["newline", "repeat"])


def test_variants_outside_the_embedding(characters: Any, tmp_path: Path) -> None:
    """A variant may need a token its base did not; an embedding without it is refused."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps(["  \n", "\n "]))  # ids 0 and 1; the full stop is 2

    with pytest.raises(PromptError, match=r"punctuation variant .* token id 2 is outside"):
        load_prompts(f"builtin:challenge({path})", characters, vocab_size=2)
