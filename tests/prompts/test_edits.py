from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.prompts.edits import has_minimal_edit, one_token_changed
from tests.brute_force import levenshtein

_PROMPT = st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple)
_WIDE = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4).map(tuple)


def _one_apart(ids: list[tuple[int, ...]]) -> bool:
    return any(levenshtein(one, other) == 1 for one, other in combinations(ids, 2))


@given(st.lists(_PROMPT, min_size=2, max_size=8, unique=True))
def test_it_finds_what_brute_force_finds(ids: list[tuple[int, ...]]) -> None:
    """Few tokens and short prompts, so that both answers are frequent."""
    assert _one_apart(ids) == has_minimal_edit(ids)


@given(st.lists(_WIDE, min_size=2, max_size=6, unique=True))
def test_ids_may_be_as_large_as_int64(ids: list[tuple[int, ...]]) -> None:
    """Hashes wrap around; answers do not change."""
    assert _one_apart(ids) == has_minimal_edit(ids)


@given(_PROMPT, st.data())
def test_every_single_edit_is_found(prompt: tuple[int, ...], data: st.DataObject) -> None:
    """A substitution, an insertion or a deletion at any place, first and last included."""
    place = data.draw(st.integers(0, len(prompt) - 1))
    token = data.draw(st.integers(0, 9).filter(lambda one: one != prompt[place]))
    edits = [
        (*prompt[:place], token, *prompt[place + 1 :]),
        (*prompt[:place], token, *prompt[place:]),
        (*prompt, token),
    ]
    if len(prompt) > 1:
        edits.append((*prompt[:place], *prompt[place + 1 :]))
    far = (11, 12, 13, 14, 15, 16, 17, 18, 19, 20)
    found = [has_minimal_edit([prompt, far, edited]) for edited in edits]
    found += [has_minimal_edit([edited, far, prompt]) for edited in edits]
    assert [True] * 2 * len(edits) == found


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([(1,), (2,)], True),
        ([(1,), (2, 3)], False),
        ([(0,), (0, 0)], True),
        ([(0, 0), (0, 0, 0, 0)], False),
        ([(1, 2), (2, 1)], False),
        ([(1, 2, 3), (2, 3)], True),
        ([(1, 2, 3), (1, 2)], True),
        ([(1, 2, 3, 4), (1, 4, 3, 2)], False),
        ([(1, 2, 3)], False),
        # A shift has the same tokens but for its ends.
        ([(1, 2, 3, 4, 5), (2, 3, 4, 5, 6)], False),
    ],
)
def test_small_cases_by_hand(ids: list[tuple[int, ...]], expected: bool) -> None:  # noqa: FBT001 - a parameter
    """Lengths 1, repeated tokens, swaps and shifts."""
    assert expected == has_minimal_edit(ids)


def test_one_pair_among_many_is_found() -> None:
    """2,000 random prompts of up to 50 tokens with and without one edited copy."""
    random = np.random.default_rng(0)
    ids = [tuple(random.integers(0, 50_000, 2 + at % 49).tolist()) for at in range(2000)]
    assert not has_minimal_edit(ids)
    assert has_minimal_edit([*ids, (*ids[1234][:20], 7, *ids[1234][21:])])


@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=6), st.integers(2, 9), st.integers(0, 2**32)
)
def test_one_token_is_changed_and_no_other(ids: list[int], vocab: int, seed: int) -> None:
    """The result has the length, differs in one place, and its new token is in the vocabulary."""
    ids = [one % vocab for one in ids]
    edited = one_token_changed(ids, np.arange(vocab), np.random.default_rng(seed))
    assert len(ids) == len(edited)
    assert 1 == sum(one != other for one, other in zip(ids, edited, strict=True))
    assert all(0 <= one < vocab for one in edited)


def test_places_and_tokens_are_drawn_uniformly() -> None:
    """Each of 3 places and 4 other tokens in its share of 6,000 draws."""
    random = np.random.default_rng(0)
    drawn = Counter(one_token_changed((0, 1, 2), np.arange(5), random) for _ in range(6000))
    assert 3 * 4 == len(drawn)
    assert 400 < min(drawn.values()) <= max(drawn.values()) < 600


def test_padding_is_not_drawn() -> None:
    """Of a padded vocabulary the known ids alone, each as often, whatever stood there before."""
    known, random = np.array([1, 4, 5, 9]), np.random.default_rng(0)
    for ids in ((4, 9), (7, 12)):  # the last two are padding, as rows of ids may have it
        drawn = Counter(one_token_changed(ids, known, random) for _ in range(4000))
        new = Counter()
        for edited, count in drawn.items():
            (token,) = [one for one, was in zip(edited, ids, strict=True) if one != was]
            new[token] += count
        assert set(known.tolist()) == set(new)
        assert sum(new.values()) == 4000


def test_without_padding_the_draw_is_a_shift() -> None:
    """By 1 to V - 1 modulo V, as numbers of earlier versions were drawn."""
    edited = one_token_changed((5, 2, 7), np.arange(9), np.random.default_rng(3))
    random = np.random.default_rng(3)
    place, shift = int(random.integers(3)), int(random.integers(1, 9))
    assert ((5, 2, 7)[place] + shift) % 9 == edited[place]


def test_an_insertion_is_no_edit_between_equal_lengths() -> None:
    """The Hamming metric does not compare the two, so they are no minimal edit of its."""
    assert has_minimal_edit([(1, 2), (1, 2, 3)])
    assert not has_minimal_edit([(1, 2), (1, 2, 3)], same_length=True)
    assert has_minimal_edit([(1, 2), (1, 2, 3), (1, 4)], same_length=True)
