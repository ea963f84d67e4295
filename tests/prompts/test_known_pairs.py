"""Tests of the table of distances that were computed before."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.prompts.known_pairs import KnownPairs

PROMPTS = 9
batches = st.lists(
    st.lists(st.tuples(*[st.integers(0, PROMPTS - 1)] * 2), min_size=1, max_size=12), max_size=8
)


def distance(left: int, right: int) -> float:
    """Another one for each pair, the same both ways."""
    return float(100 * min(left, right) + max(left, right))


@given(batches, st.sampled_from([1, 2, 8, 64, None]))
def test_what_is_known_is_what_was_kept(
    found: list[list[tuple[int, int]]], places: int | None
) -> None:
    """However many pairs share a place, and on which side a prompt stands."""
    known = KnownPairs(PROMPTS, places)
    for batch in found:
        left, right = (np.array(side) for side in zip(*batch, strict=True))
        known.keep(known.names(left, right), np.array([distance(*pair) for pair in batch]))
    left, right = (side.ravel() for side in np.indices((PROMPTS, PROMPTS)))
    there, distances = known.look_up(known.names(right, left))
    kept = {tuple(sorted(pair)) for batch in found for pair in batch}
    pairs = [
        tuple(sorted(pair))
        for pair in zip(left[there].tolist(), right[there].tolist(), strict=True)
    ]
    assert set(pairs) <= kept
    assert [distance(*pair) for pair in pairs] == distances[there].tolist()


def test_a_table_with_room_knows_all() -> None:
    """Of the pairs kept last, all are known where the table has a place for each."""
    known = KnownPairs(100, 2**20)
    left, right = np.triu_indices(40, 1)
    names = known.names(left, right)
    known.keep(names, names.astype(np.float64))
    there, distances = known.look_up(known.names(right, left))
    assert 770 <= there.sum() <= len(left) == 780
    assert names[there].tolist() == distances[there].tolist()


def test_nothing_is_known_at_first() -> None:
    """Not even the pair of the first prompt with itself, whose number is 0."""
    known = KnownPairs(3)
    there, _ = known.look_up(known.names(np.array([0, 0, 1]), np.array([0, 1, 2])))
    assert [False] * 3 == there.tolist()
