"""Holm's correction: textbook decisions and its definition."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_injectivity import stats

fractions = st.floats(0, 1)
inner = st.floats(0.001, 0.999)


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [
        ((), ()),
        ((0.05,), (True,)),
        ((0.051,), (False,)),
        ((0.01, 0.04, 0.03, 0.005), (True, False, False, True)),
        ((0.02, 0.025), (True, True)),
        ((0.03, 0.001), (True, True)),
        ((0.03, 0.03), (False, False)),
        ((0.001, 0.9, 0.04), (True, False, False)),
    ],
)
def test_holm_known_decisions(p_values: tuple[float, ...], rejected: tuple[bool, ...]) -> None:
    """At 5 %; the third line is the textbook's."""
    assert rejected == stats.holm(p_values, 0.05)


@given(p_values=st.lists(fractions, max_size=12), alpha=inner)
def test_holm_by_its_definition(p_values: list[float], alpha: float) -> None:
    """Sorted, each one and all before it lie under alpha over the number left."""
    expected = [
        all(
            smaller <= alpha / (len(p_values) - rank)
            for rank, smaller in enumerate(sorted(p_values)[: sorted(p_values).index(p) + 1])
        )
        for p in p_values
    ]
    # Equal p-values share their fate only where the last of them would: ranks break the tie.
    assume(len(set(p_values)) == len(p_values))
    assert tuple(expected) == stats.holm(p_values, alpha)


@given(p_values=st.lists(fractions, min_size=1, max_size=12), alpha=inner)
def test_holm_lies_between_bonferroni_and_no_correction(
    p_values: list[float], alpha: float
) -> None:
    """It rejects what Bonferroni does, and nothing that a single test would keep."""
    found = stats.holm(p_values, alpha)
    bonferroni = [p <= alpha / len(p_values) for p in p_values]
    alone = [p <= alpha for p in p_values]
    assert len(p_values) == len(found)
    assert all(least <= rejected for least, rejected in zip(bonferroni, found, strict=True))
    assert all(rejected <= most for rejected, most in zip(found, alone, strict=True))


@pytest.mark.parametrize("at", [0, 1])
def test_holm_never_rejects_a_nan(at: int) -> None:
    """What could not be computed proves nothing, alone or beside another, first or last."""
    p_values = [1e-9, 1e-9]
    p_values[at] = math.nan
    assert not stats.holm(p_values, 0.05)[at]
    assert (False,) == stats.holm([math.nan], 0.05)
