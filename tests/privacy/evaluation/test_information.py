"""The lower bound of what an attacker has of a token, held against channels that are known."""

import math

import numpy as np
import pytest

from pytest_injectivity.core.shapes import Bool, Float64, Int64
from pytest_injectivity.privacy.evaluation.information import token_bits

VOCAB = 32
SHAPE = (100, 20)


def _drawn(seed: int) -> Int64[np.ndarray, "prompts tokens"]:
    return np.random.default_rng(seed).integers(0, VOCAB, SHAPE)


def _bits(
    tokens: Int64[np.ndarray, "prompts tokens"],
    ranks: Int64[np.ndarray, "prompts tokens"],
    left_out: Bool[np.ndarray, "prompts tokens"] | None = None,
) -> Float64[np.ndarray, " two"]:
    """Bits of a token and of its place, on average."""
    none, every = np.zeros(SHAPE, dtype=bool), np.ones(SHAPE, dtype=bool)
    missed = none if left_out is None else left_out
    token, place = token_bits(tokens, ranks, missed, every, VOCAB)
    return np.array([token.sum(), place.sum()]) / tokens.size


def test_of_tokens_that_are_always_first_all_is_shown() -> None:
    """Five bits of a token that is one of 32, less what is not known of so few places."""
    token, place = _bits(_drawn(0), np.ones(SHAPE, dtype=np.int64))
    assert 4.97 < token < 5.0
    assert 0.0 < place < 0.03


def test_of_places_that_are_all_alike_nothing_is_shown() -> None:
    """An attacker that guesses has no bit, and the bound does not say that it has."""
    token, place = _bits(_drawn(0), _drawn(1) + 1)
    assert -0.1 < token - place <= 0.0


@pytest.mark.parametrize("right", [0.1, 0.5, 0.9])
def test_it_is_no_more_than_there_is(right: float) -> None:
    """A channel that gives the token, or any other one at random: its information has a formula."""
    draw = np.random.default_rng(2)
    ranks = np.where(draw.random(SHAPE) < right, 1, draw.integers(2, VOCAB + 1, SHAPE))
    token, place = _bits(_drawn(0), ranks)
    other = (1 - right) / (VOCAB - 1)
    true = math.log2(VOCAB) + right * math.log2(right) + (1 - right) * math.log2(other)
    assert true - 0.12 < token - place < true


def test_a_prompt_is_not_coded_by_its_own_places() -> None:
    """Else a few prompts would show more than there is."""
    asked = np.ones((2, 1), dtype=bool)
    ranks = np.array([[1], [9]])
    _, place = token_bits(np.zeros((2, 1), dtype=np.int64), ranks, ~asked, asked, VOCAB)
    # Seven groups: half a count each, and one more in the other prompt's; eight places in the second.
    assert [-math.log2(0.5 / 4.5), -math.log2(0.5 / 4.5 / 8)] == pytest.approx(place.tolist())


def test_a_token_that_was_not_compared_may_have_any_place() -> None:
    """It costs the logarithm of the vocabulary, however many were compared."""
    few = np.full(SHAPE, 3)
    left_out = np.random.default_rng(3).random(SHAPE) < 0.5
    _, place = _bits(_drawn(0), few, left_out)
    # A bit for which of both, a bit for place 3 or 4, and five for any of 32.
    assert 1 + 0.5 * 1 + 0.5 * 5 == pytest.approx(place, abs=0.05)


def test_tokens_that_are_not_asked_for_count_for_nothing() -> None:
    """Known tokens, and the ends of short prompts."""
    asked = np.ones(SHAPE, dtype=bool)
    asked[:, 0] = False
    asked[0] = False
    tokens, ranks = _drawn(0), _drawn(1) + 1
    none = np.zeros(SHAPE, dtype=bool)
    whole = token_bits(tokens, ranks, none, asked, VOCAB)
    cut = token_bits(
        tokens[1:, 1:], ranks[1:, 1:], none[1:, 1:], np.ones((99, 19), dtype=bool), VOCAB
    )
    assert [0.0, 0.0] == [one[0] for one in whole]
    assert np.allclose([one[1:] for one in whole], cut)
